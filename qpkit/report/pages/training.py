"""The report of a training on one page: curves, scores, thresholds, tiles, what was shown, settings, origin."""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap, label_colors
from qpkit.files import replace_file
from qpkit.ops.scores.baselines import baseline_scores, best_baseline
from qpkit.ops.scores.confusion import accuracy, class_scores, mean_score, row_normalized
from qpkit.ops.scores.probability_levels import calibration_error, reliability, scores_at_thresholds
from qpkit.ops.scores.ranking import ranking_of
from qpkit.report.figures.scores import draw_confusion, draw_thresholds
from qpkit.report.figures.tiles import shaded
from qpkit.report.figures.training import draw_curves, draw_scores_over_thresholds
from qpkit.report.pages.augmentations import sampler_table
from qpkit.report.pages.html import picture, png_picture, render
from qpkit.report.values.tiles import RunEvaluation, ScoredTile

SIDE_PX: Final = 224
_SECTIONS: Final = (
    ("scores", "Scores"), ("curves", "Curves"), ("confusion", "Confusion"), ("thresholds", "Thresholds"),
    ("tiles", "Tiles"), ("shown", "Training tiles shown"), ("settings", "Settings"), ("origin", "Where it comes from"),
)  # fmt: skip

Table = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts:
    """What a run folder says, and what a look at its tiles adds.

    Args:
        run: run.json, as plain values.
        history: One row per epoch, as state.json has them.
        confusion: (classes, classes) int64 of the best epoch; rows are the truth.
        labels: What mask values mean.
        names: Of the classes, background included.
        evaluation: Of the best weights, tile by tile; None if the tiles could not be read.
        missing: Why there is no evaluation; "" if there is one.
    """

    run: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    confusion: NDArray[np.int64]
    labels: LabelMap
    names: tuple[str, ...]
    evaluation: RunEvaluation | None
    missing: str


def write_training_report(facts: TrainingFacts, page: Path) -> None:
    """Write the page; it needs nothing beside it.

    Raises:
        OutputError: The page cannot be written.
    """
    with warnings.catch_warnings():  # letters that the font lacks are boxes; the tables beside the pictures have them
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        text = _page(facts)
    replace_file(page, text.encode())


def _page(facts: TrainingFacts) -> str:
    evaluated = facts.evaluation
    return render(
        "training",
        title=f"Training {facts.run['id']}",
        subtitle=_subtitle(facts.run),
        sections=[part for part in _SECTIONS if evaluated or part[0] not in ("thresholds", "tiles")],
        notes=[*facts.run["notes"], *([facts.missing] if facts.missing else [])],
        legend=[(facts.labels.name_of(value), rgb) for value, rgb in label_colors(facts.labels).items()],
        where=_where(facts.run),
        scores=_scores(facts),
        curves=png_picture(draw_curves(facts.history, facts.names, best_epoch=facts.run["best_epoch"])),
        confusion=png_picture(_confusion(facts)),
        evaluated=None if evaluated is None else _evaluated(evaluated, facts.labels),
        probabilities=[(name, _figure(probability)) for name, probability in facts.run["thresholds"].items()],
        shown=_shown(facts.run["sampler"]),
        settings=_settings(facts.run["recipe"]),
        origin=_origin(facts),
    )


def _subtitle(run: Mapping[str, Any]) -> str:
    epochs = f"{run['epochs']} epoch(s), the best is {run['best_epoch']}"
    state = "" if run["status"] == "finished" else f", {run['status']} (not finished)"
    return f"{run['recipe']['name']}: {epochs}; {run['seconds'] / 60:.1f} min on {run['device']}{state}"


def _where(run: Mapping[str, Any]) -> str:
    if run["tiles"]["validated_on"] == "val":
        return "on the validation tiles, which the model has not learned from; the epoch was chosen on them"
    return "on TRAINING tiles: there is no validation split, so these figures are better than the model is"


def _scores(facts: TrainingFacts) -> Table:
    scores = class_scores(facts.confusion, facts.names)
    background = facts.labels.trained_values.index(facts.labels.background)
    rows = []
    for index, score in enumerate(scores):
        baselines = baseline_scores(facts.confusion, index, background=background, name=score.name)
        others = score.iou, score.precision, score.recall, score.specificity
        shown = map(_figure, (score.dice, best_baseline(baselines, "dice"), *others))
        rows.append((score.name, f"{score.support:,}", *shown))
    dice, iou = (_figure(mean_score(scores, metric, background=background)) for metric in ("dice", "iou"))
    rows.append(("mean of the classes", "", dice, "", iou, "", "", ""))
    columns = ("class", "px", "Dice", "Dice of the best baseline", "IoU", "precision", "recall", "specificity")
    return {"columns": columns, "rows": rows, "accuracy": _figure(accuracy(facts.confusion))}


def _ranking(evaluated: RunEvaluation) -> Table:
    rows = []
    for name, counts in zip(evaluated.names, evaluated.levels, strict=True):
        rank = ranking_of(counts)
        values = (rank.auc, rank.average_precision, rank.best_dice, rank.best_threshold, rank.calibration_error)
        rows.append((name, *map(_figure, values)))
    return {
        "columns": ("class", "AUC", "average precision", "highest Dice", "at threshold", "calibration error"),
        "rows": rows,
    }


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _confusion(facts: TrainingFacts) -> bytes:
    fractions = row_normalized(facts.confusion)
    return draw_confusion(facts.confusion.tolist(), fractions.tolist(), facts.names)


def _evaluated(evaluated: RunEvaluation, labels: LabelMap) -> dict[str, Any]:
    """Thresholds and tiles."""
    levels = dict(zip(evaluated.names, evaluated.levels, strict=True))
    there = {name: counts for name, counts in levels.items() if counts[1].any()}
    curves = {name: scores_at_thresholds(counts, name) for name, counts in there.items()}
    tables = {name: reliability(counts) for name, counts in there.items()}
    gone = [name for name in levels if name not in there]
    error = calibration_error(reliability(evaluated.confidence))
    return {
        "over": png_picture(draw_scores_over_thresholds(curves)) if curves else None,
        "other": png_picture(draw_thresholds(curves, tables)) if curves else None,
        "ranking": _ranking(evaluated),
        "gone": gone,
        "calibration": _figure(error),
        "loss": _figure(evaluated.loss),
        "count": len(evaluated.tiles),
        "slides": _by_slide(evaluated),
        "parts": [
            ("Highest loss", "of all measured tiles", [_tile(item, labels) for item in evaluated.worst]),
            (
                "Lowest loss",
                "of the measured tiles that show a class",
                [_tile(item, labels) for item in evaluated.best],
            ),
        ],
    }


def _by_slide(evaluated: RunEvaluation) -> Table:
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for tile, loss in zip(evaluated.tiles, evaluated.losses, strict=True):
        found[tile.slide, tile.group].append(loss)
    rows = [
        (
            slide,
            group,
            f"{len(losses):,}",
            _figure(float(np.mean(losses))),
            _figure(max(losses)),
        )
        for (slide, group), losses in sorted(found.items())
    ]
    return {"columns": ("slide", "group", "tiles", "mean loss of a tile", "highest"), "rows": rows}


def _tile(item: ScoredTile, labels: LabelMap) -> dict[str, Any]:
    unknown = item.truth == labels.ignore
    shown = np.where(unknown, np.uint8(labels.ignore), item.predicted)
    plain = np.full_like(item.truth, labels.background)
    known, place = 1 - float(np.mean(unknown)), f"{item.tile.slide}, {item.tile.x:.0f} {item.tile.y:.0f}"
    dice = ", ".join(f"{name} {value:.2f}" for name, value in item.dice.items() if value is not None)
    return {
        "pictures": [
            (words, picture(shaded(item.image, mask, labels, side=SIDE_PX)))
            for words, mask in (("tile", plain), ("annotated", item.truth), ("predicted", shown))
        ],
        "caption": f"loss {item.loss:.3f}; Dice {dice or '-'}; {known:.0%} known; {place}",
    }


def _shown(sampler: Mapping[str, Any]) -> dict[str, Any]:
    pixels = sampler["pixels_per_epoch"]
    total = max(1, sum(pixels.values()))
    classes = [
        (name, f"{sampler['tiles_with_class'][name]:,}", f"{count:,}", f"{count / total:.2%}")
        for name, count in pixels.items()
    ]
    kinds = [group["name"] for group in sampler["groups"]]
    by_group = [
        (name, *(f"{row[key]:,}" for key in ("tiles", *kinds))) for name, row in sampler.get("by_group", {}).items()
    ]
    return {
        "kinds": sampler_table(dict(sampler)),
        "classes": {"columns": ("class", "tiles drawn", "px (whole tiles)", "of labelled px"), "rows": classes},
        "groups": {"columns": ("patient or slide", "tiles", *(f"{kind} drawn" for kind in kinds)), "rows": by_group},
        "batches": sampler["batches"],
        "left_out": (sampler["unlabelled_tiles_left_out"], sampler["other_tiles_left_out"]),
    }


def _settings(recipe: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Sections with (setting, value) each, the settings without a section first."""
    alone = [(name, _toml(value)) for name, value in recipe.items() if not isinstance(value, Mapping)]
    sections = [(name, value) for name, value in recipe.items() if isinstance(value, Mapping)]
    return [
        ("recipe", alone),
        *((name, [(key, _toml(value)) for key, value in table.items()]) for name, table in sections),
    ]


def _toml(value: Any) -> str:
    """A value as one writes it in a recipe, but for tables, which are one line here."""
    return json.dumps(value, ensure_ascii=False)


def _origin(facts: TrainingFacts) -> list[tuple[str, str]]:
    run, tiles, evaluated = facts.run, facts.run["tiles"], facts.evaluation
    mpp = "not known" if run["mpp"] is None else f"{run['mpp']:.4g}"
    rows = [
        ("run", run["id"]),
        ("state", run["status"]),
        ("tiles", str(tiles["path"])),
        ("sha256 of their table", tiles["sha256"]),
        ("tiles of train, of val", f"{tiles['train']:,}, {tiles['val']:,}"),
        ("tile", f"{run['tile_size_px']} px at {mpp} um/px"),
        ("device, precision", f"{run['device']}, {run['precision']}"),
        ("seconds per step", f"{run['seconds_per_step']:.3f}, {run['waiting_fraction']:.0%} of it waiting for tiles"),
        *((f"version of {name}", version) for name, version in run["versions"].items()),
    ]
    if evaluated is not None:
        rows.append(("this page's figures of tiles", f"{evaluated.device}, {evaluated.precision}, best weights"))
    return rows
