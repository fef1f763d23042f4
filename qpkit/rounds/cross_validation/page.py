"""The page of a cross-validation: scores, a figure, the comparison, the folds, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qpkit.errors import listed
from qpkit.files import replace_file
from qpkit.report.figures.patients import PatientColumn, patients_png
from qpkit.report.pages.html import png_picture, render
from qpkit.rounds.cross_validation.result import MEAN, RecipeComparison, RecipeResult

Table = dict[str, Any]


def write_page(
    root: Path, results: Sequence[RecipeResult], pairs: Sequence[RecipeComparison], notes: Sequence[str]
) -> None:
    """Write cross-validation.html into the folder; it needs nothing beside it."""
    first = results[0]
    unit = first.unit.lower()
    told = [line for result in results for line in result.notes]
    text = render(
        "cross_validation",
        title=f"Cross-validation: {', '.join(result.recipe for result in results)}",
        subtitle=f"{len(first.patients)} {unit}(s), {len(first.folds)} folds",
        unit=unit,
        notes=list(dict.fromkeys([*notes, *told])),
        scores=_scores(results),
        figure=png_picture(_figure(results)),
        compared=_compared(pairs),
        folds=_folds(results),
        commands=[f"qpkit predict {root / result.recipe} PROJECT -o OUT" for result in results],
    )
    replace_file(root / "cross-validation.html", text.encode())


def _scores(results: Sequence[RecipeResult]) -> Table:
    rows = []
    for result in results:
        for name in result.classes:
            means, spread = result.means[name], result.spread(name, "dice")
            rows.append(
                [
                    f"{result.recipe}: {name}",
                    with_ends(means["dice"].mean, means["dice"].low, means["dice"].high),
                    "-" if spread is None else f"{spread[0]:.3f} ± {spread[1]:.3f}",
                    number(result.baselines.get(name)),
                    *(number(means[metric].mean) for metric in ("iou", "precision", "recall", "lesion_f1")),
                    means["dice"].n,
                ]
            )
    unit = results[0].unit.lower()
    columns = ["recipe: class", f"Dice over {unit}s", "folds", "best baseline", "IoU", "precision", "recall"]
    return {"columns": [*columns, "lesion F1", f"{unit}s"], "rows": rows}


def _compared(pairs: Sequence[RecipeComparison]) -> Table | None:
    rows = [
        [
            f"{pair.recipe} minus {pair.against}: {name}",
            with_ends(found.difference.mean, found.difference.low, found.difference.high, signed=True),
            found.better,
            found.worse,
            number(found.p),
        ]
        for pair in pairs
        for name, found in pair.classes.items()
    ]
    return {"columns": ["recipes: class", "Dice", "better on", "worse on", "p"], "rows": rows} if rows else None


def _folds(results: Sequence[RecipeResult]) -> Table:
    names = results[0].classes
    rows = [
        [
            f"{result.recipe} {fold}",
            listed(result.tested[fold]),
            *(number(found[name]["dice"]) for name in names if name in found),
        ]
        for result in results
        for fold, found in result.folds.items()
    ]
    return {"columns": ["fold", "tests", *(f"Dice of {name}" for name in names)], "rows": rows}


def _figure(results: Sequence[RecipeResult]) -> bytes:
    panels = {
        name: [
            PatientColumn(
                name=result.recipe,
                patients={patient: found[name]["dice"] for patient, found in result.patients.items()},
                mean=result.means[name]["dice"].mean,
                low=result.means[name]["dice"].low,
                high=result.means[name]["dice"].high,
            )
            for result in results
        ]
        for name in (MEAN, *(name for name in results[0].classes if name != MEAN))
    }
    return patients_png(panels, results[0].baselines)


def with_ends(mean: float | None, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """A mean and its interval, such as 0.512 [0.430, 0.601]."""
    if mean is None:
        return "-"
    sign = "+" if signed else ""
    ends = "" if low is None or high is None else f" [{low:{sign}.3f}, {high:{sign}.3f}]"
    return f"{mean:{sign}.3f}{ends}"


def number(value: float | None) -> str:
    """Three digits, or "-"."""
    return "-" if value is None else f"{value:.3f}"
