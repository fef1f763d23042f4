"""What a cross-validation says: scores of patients, of folds, and the differences between recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final

import msgspec

from qpkit.errors import FormatError
from qpkit.files import csv_bytes
from qpkit.ops.scores.bootstrap import Interval, bootstrap_mean
from qpkit.ops.scores.paired import PairedDifference, paired_difference
from qpkit.workflows.evaluate.files import INFO_NAME as EVALUATION

MEAN: Final = "mean"
"""Beside the names of classes: the mean over them, background left out."""

METRICS: Final = ("dice", "iou", "precision", "recall", "lesion_f1")


class _Scores(msgspec.Struct):
    dice: float | None
    iou: float | None
    precision: float | None
    recall: float | None


class _Lesions(msgspec.Struct):
    f1: float | None


class _Scope(msgspec.Struct):
    name: str
    mean_dice: float | None
    mean_iou: float | None
    scores: dict[str, _Scores]
    baselines: dict[str, dict[str, _Scores]]
    lesions: dict[str, _Lesions]


class _Patients(msgspec.Struct):
    unit: str


class _Evaluation(msgspec.Struct):
    """What is needed of evaluation.json."""

    slides: list[_Scope]
    groups: dict[str, list[_Scope]]
    pooled: _Scope
    patients: _Patients
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeResult:
    """One recipe over all folds.

    Args:
        recipe: Its name.
        unit: What counts once: the metadata key of the patient, or "slide".
        patients: By name, then by class ("mean" too), then by metric: dice, iou, precision, recall, lesion_f1; each
            from the fold that tested the patient.
        means: By class, then metric: mean over patients with its bootstrap interval.
        folds: By fold ("fold-1"), class and metric: all pixels and lesions of the fold's test slides together.
        tested: By fold: the slides that it tests.
        pooled: By class and metric: all pixels and lesions of all slides together.
        baselines: By class: mean Dice over patients of the best predictor that looks at nothing.
        notes: What the user has to know.
    """

    recipe: str
    unit: str
    patients: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    means: Mapping[str, Mapping[str, Interval]]
    folds: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    tested: Mapping[str, tuple[str, ...]]
    pooled: Mapping[str, Mapping[str, float | None]]
    baselines: Mapping[str, float | None]
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the label map; last "mean"."""
        return tuple(self.pooled)

    def spread(self, name: str, metric: str) -> tuple[float, float] | None:
        """Mean and sample standard deviation over folds; None with fewer than two that have a value."""
        values = [value for fold in self.folds.values() if (value := fold[name][metric]) is not None]
        return (mean(values), stdev(values)) if len(values) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeComparison:
    """One recipe against another on the same patients.

    Args:
        recipe, against: Their names; differences are the first minus the second.
        classes: By class ("mean" too): the difference in Dice.
    """

    recipe: str
    against: str
    classes: Mapping[str, PairedDifference]


def unit_of(evaluations: Sequence[Path]) -> str:
    """What counts once in all of several evaluations: the metadata key of the patient if all have it, else "slide"."""
    units = {_read(path).patients.unit for path in evaluations}
    return units.pop() if len(units) == 1 else "slide"


def result_of(
    recipe: str, whole: Path, folds: Mapping[str, Path], *, unit: str, seed: int, resamples: int
) -> RecipeResult:
    """Put together the evaluations of one recipe.

    Args:
        recipe: Its name.
        whole: Evaluation of all slides, by `unit`.
        folds: Evaluation of each fold's test slides.
        unit: What counts once.
        seed, resamples: Of the bootstrap.

    Raises:
        FormatError: One is missing or damaged.
    """
    every, each = _read(whole), {name: _read(path) for name, path in folds.items()}
    scopes = every.slides if unit == "slide" else every.groups[unit]
    patients = {scope.name: _scores(scope) for scope in scopes}
    pooled = _scores(every.pooled)
    return RecipeResult(
        recipe=recipe,
        unit=unit,
        patients=patients,
        means={
            name: {
                metric: bootstrap_mean([p[name][metric] for p in patients.values()], seed=seed, resamples=resamples)
                for metric in METRICS
            }
            for name in pooled
        },
        folds={name: _scores(found.pooled) for name, found in each.items()},
        tested={name: tuple(slide.name for slide in found.slides) for name, found in each.items()},
        pooled=pooled,
        baselines={name: _best_baseline(scopes, name) for name in every.pooled.baselines},
        notes=tuple(every.notes),
    )


def compared(results: Sequence[RecipeResult], *, seed: int, resamples: int) -> tuple[RecipeComparison, ...]:
    """Compare every recipe with every one before it."""
    return tuple(
        RecipeComparison(
            recipe=one.recipe,
            against=other.recipe,
            classes={
                name: paired_difference(
                    [scores[name]["dice"] for scores in one.patients.values()],
                    [other.patients.get(patient, {}).get(name, {}).get("dice") for patient in one.patients],
                    seed=seed,
                    resamples=resamples,
                )
                for name in one.classes
                if name in other.classes
            },
        )
        for i, other in enumerate(results)
        for one in results[i + 1 :]
    )


def scores_csv(results: Sequence[RecipeResult]) -> bytes:
    """One row per recipe, patient, fold and class; then the means over patients and their ends, and all pixels."""
    rows: list[list[Any]] = [["recipe", "scope", "name", "class", *METRICS]]
    for result in results:
        scopes: list[tuple[str, str, Mapping[str, Mapping[str, float | None]]]] = [
            *((result.unit, name, found) for name, found in result.patients.items()),
            *(("fold", name, found) for name, found in result.folds.items()),
            *((f"over {result.unit}", end, _ends(result, end)) for end in ("mean", "low", "high", "n")),
            ("all", "all", result.pooled),
        ]
        rows += [
            [result.recipe, scope, name, label, *(_rounded(scores[metric]) for metric in METRICS)]
            for scope, name, found in scopes
            for label, scores in found.items()
        ]
    return csv_bytes(rows)


def comparison_csv(comparisons: Sequence[RecipeComparison]) -> bytes:
    """One row per pair of recipes and class: the difference in Dice over patients."""
    rows: list[list[Any]] = [
        ["recipe", "against", "class", "dice_difference", "low", "high", "patients", "better", "worse", "wilcoxon_p"]
    ]
    for pair in comparisons:
        for name, found in pair.classes.items():
            change = found.difference
            ends = [_rounded(value) for value in (change.mean, change.low, change.high)]
            rows.append(
                [pair.recipe, pair.against, name, *ends, change.n, found.better, found.worse, _rounded(found.p)]
            )
    return csv_bytes(rows)


def _best_baseline(scopes: Sequence[_Scope], name: str) -> float | None:
    """The highest mean over patients of one and the same predictor."""
    means = []
    for predictor in scopes[0].baselines[name]:
        known = [dice for scope in scopes if (dice := scope.baselines[name][predictor].dice) is not None]
        means += [mean(known)] if known else []
    return max(means, default=None)


def _ends(result: RecipeResult, end: str) -> dict[str, dict[str, float | None]]:
    return {
        name: {metric: getattr(interval, end) for metric, interval in found.items()}
        for name, found in result.means.items()
    }


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def _scores(scope: _Scope) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for name, score in scope.scores.items():
        lesions = scope.lesions.get(name)
        found[name] = {metric: getattr(score, metric) for metric in METRICS[:-1]}
        found[name]["lesion_f1"] = None if lesions is None else lesions.f1
    found[MEAN] = {**dict.fromkeys(METRICS), "dice": scope.mean_dice, "iou": scope.mean_iou}
    return found


def _read(evaluation: Path) -> _Evaluation:
    file = evaluation / EVALUATION
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Evaluation)
    except (OSError, msgspec.DecodeError) as err:
        raise FormatError(
            f"{file}: cannot be read ({err}); remove {evaluation} and run the same command again"
        ) from err
