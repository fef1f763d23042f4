"""What an evaluation says: scores of slides, groups and all together, as they follow from counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from qpkit.core.labels import LabelMap
from qpkit.ops.scores.baselines import baseline_scores
from qpkit.ops.scores.bootstrap import Interval, bootstrap_mean
from qpkit.ops.scores.confusion import ClassScore, accuracy, class_scores, mean_score, row_normalized
from qpkit.ops.scores.lesions import LesionCounts
from qpkit.ops.scores.probability_levels import (
    calibration_error,
    reliability,
    scores_at_thresholds,
)
from qpkit.ops.scores.ranking import Ranking, ranking_of
from qpkit.workflows.evaluate.objects import Objects, ObjectScores, objects_of
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.evaluate.slide import SlideCounts, add_up

OBJECT_METRICS: Final = ("object_f1", "object_pq", "object_aji")
"""What is averaged over patients where objects are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesions:
    """Lesions of one class: LesionCounts, and precision, recall and f1 of the matched ones (None where undefined)."""

    total: int
    found: int
    matched: int
    predicted: int
    too_small: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One slide, one group of slides, or all of them pooled.

    Args:
        kind: "slide", "all", or the metadata key that makes the group.
        name: Of the slide; "all"; the value of the key.
        slides: Names.
        confusion: Pixels, rows true and columns predicted, in the order of Evaluation.values; unknown ones left out.
        confusion_fractions: The same as fractions of each row.
        accuracy: Fraction of the known pixels that is right.
        mean_dice, mean_iou: Over the classes, background left out.
        scores: By class name, background included.
        baselines: The same of the baselines: by class name, then by predictor.
        ranking: By class name; None without probabilities.
        confidence_error: Calibration error of the highest probability of each pixel; None without probabilities.
        lesions: By class name.
        outside_mm2: Area predicted as each class where the truth is unknown; None without um per px.
        unannotated_px: Of the pixels that count, those that nobody annotated (counted as background).
        glass_px: Pixels that nobody annotated and that were left out as glass.
        seconds: Wall time.
        objects: Where objects were asked for, else None.
    """

    kind: str
    name: str
    slides: tuple[str, ...]
    confusion: list[list[int]]
    confusion_fractions: list[list[float]]
    accuracy: float | None
    mean_dice: float | None
    mean_iou: float | None
    scores: Mapping[str, ClassScore]
    baselines: Mapping[str, Mapping[str, ClassScore]]
    ranking: Mapping[str, Ranking] | None
    confidence_error: float | None
    lesions: Mapping[str, Lesions]
    outside_mm2: Mapping[str, float] | None
    unannotated_px: int
    glass_px: int
    seconds: float
    objects: Objects | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientMeans:
    """Means over patients, each of them counting once however large its slides are.

    Args:
        unit: What counts once: the metadata key of the patient, or "slide".
        units: How many there are.
        classes: By class name, then by metric: dice, iou, precision, recall, specificity, auc, average_precision,
            calibration_error, lesion_f1; with objects also object_f1, object_pq, object_aji.
        objects: The last three of all objects, whatever their classes are; empty without objects.
    """

    unit: str
    units: int
    classes: Mapping[str, Mapping[str, Interval]]
    objects: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of qpkit evaluate.

    Args:
        run: Id of the run.
        values, names: Of the classes, background included; they order every confusion matrix.
        unannotated: What area outside every region counts as: "background" or "ignore".
        settings: As used.
        slides: One scope each.
        groups: By metadata key.
        pooled: All pixels and lesions together.
        patients: Means over patients.
        curves: Of the pooled pixels, by class name: 256 scores of "the probability is at least t / 255"; None without
            probabilities.
        notes: What the user has to know.
    """

    run: str
    values: tuple[int, ...]
    names: tuple[str, ...]
    unannotated: str
    settings: EvaluateSettings
    slides: tuple[Scope, ...]
    groups: Mapping[str, tuple[Scope, ...]]
    pooled: Scope
    patients: PatientMeans
    curves: Mapping[str, tuple[ClassScore, ...]] | None
    notes: tuple[str, ...]


def scope_of(
    kind: str, name: str, slides: Sequence[str], counts: SlideCounts, rules: LabelMap, *, seconds: float
) -> Scope:
    """Score counts."""
    names = names_of(rules)
    background = rules.trained_values.index(rules.background)
    scores = class_scores(counts.confusion, names)
    areas = counts.outside_mm2
    return Scope(
        kind=kind,
        name=name,
        slides=tuple(slides),
        confusion=counts.confusion.tolist(),
        confusion_fractions=row_normalized(counts.confusion).tolist(),
        accuracy=accuracy(counts.confusion),
        mean_dice=mean_score(scores, "dice", background=background),
        mean_iou=mean_score(scores, "iou", background=background),
        scores={score.name: score for score in scores},
        baselines={n: baseline_scores(counts.confusion, i, background=background, name=n) for i, n in enumerate(names)},
        ranking=None if counts.levels is None else dict(zip(names, map(ranking_of, counts.levels), strict=True)),
        confidence_error=None if counts.confidence is None else calibration_error(reliability(counts.confidence)),
        lesions={name: _lesions(found) for name, found in counts.lesions.items()},
        outside_mm2=None if areas is None else {name: round(mm2, 5) for name, mm2 in areas.items()},
        unannotated_px=counts.unannotated_px,
        glass_px=counts.glass_px,
        seconds=round(seconds, 2),
        objects=None if counts.objects is None else objects_of(counts.objects),
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """A slide that was compared: its name, what was counted, and the seconds that it took."""

    name: str
    counts: SlideCounts
    seconds: float


def evaluation_of(
    run: str,
    slides: Sequence[Counted],
    rules: LabelMap,
    settings: EvaluateSettings,
    *,
    unit: str,
    patients: Sequence[str],
    groups: Mapping[str, Sequence[str]],
) -> Evaluation:
    """Score slides, groups, patients and all together; without notes.

    Args:
        run: Id of what is evaluated.
        slides: At least one.
        rules: Names the values.
        settings: As used.
        unit: What `patients` are, as in PatientMeans.
        patients: Whose each slide is.
        groups: The value of each slide, by metadata key.
    """
    return Evaluation(
        run=run,
        values=rules.trained_values,
        names=names_of(rules),
        unannotated=rules.unannotated,
        settings=settings,
        slides=tuple(_pooled("slide", slide.name, [slide], rules) for slide in slides),
        groups={key: _grouped(key, values, slides, rules) for key, values in groups.items()},
        pooled=_pooled("all", "all", slides, rules),
        patients=patient_means(unit, _grouped(unit, patients, slides, rules), settings),
        curves=curves_of(add_up([slide.counts for slide in slides]), rules),
        notes=(),
    )


def _pooled(kind: str, name: str, slides: Sequence[Counted], rules: LabelMap) -> Scope:
    counts = add_up([slide.counts for slide in slides])
    names, seconds = [slide.name for slide in slides], sum(slide.seconds for slide in slides)
    return scope_of(kind, name, names, counts, rules, seconds=seconds)


def _grouped(kind: str, values: Sequence[str], slides: Sequence[Counted], rules: LabelMap) -> tuple[Scope, ...]:
    """One scope per value, in the order in which the values appear."""
    members: dict[str, list[Counted]] = {}
    for value, slide in zip(values, slides, strict=True):
        members.setdefault(value, []).append(slide)
    return tuple(_pooled(kind, value, group, rules) for value, group in members.items())


def names_of(rules: LabelMap) -> tuple[str, ...]:
    """Names of the trained values, in their order."""
    return tuple(rules.name_of(value) for value in rules.trained_values)


def curves_of(counts: SlideCounts, rules: LabelMap) -> dict[str, tuple[ClassScore, ...]] | None:
    """Scores at every threshold by class name; None without probabilities."""
    if counts.levels is None:
        return None
    return {n: scores_at_thresholds(counts.levels[i], n) for i, n in enumerate(names_of(rules))}


def patient_means(unit: str, patients: Sequence[Scope], settings: EvaluateSettings) -> PatientMeans:
    """Average the scores of patients, each pooled over its slides."""
    classes = {name: _means([_metrics(scope, name) for scope in patients], settings) for name in patients[0].scores}
    objects = [_object_metrics(scope.objects.every) for scope in patients if scope.objects is not None]
    return PatientMeans(
        unit=unit, units=len(patients), classes=classes, objects=_means(objects, settings) if objects else {}
    )


def patient_notes(means: PatientMeans) -> list[str]:
    """Say what counts once, where it is not the patient."""
    what = "slide" if means.unit == "slide" else f"patient (metadata {means.unit!r})"
    if means.units == 1:
        return [f"one {what} only: no interval can be given"]
    if means.unit == "slide":
        return ["means are over slides, as not all name a patient; several slides of one count as several"]
    return []


def _means(rows: Sequence[Mapping[str, float | None]], settings: EvaluateSettings) -> dict[str, Interval]:
    return {
        metric: bootstrap_mean([row[metric] for row in rows], seed=settings.seed, resamples=settings.resamples)
        for metric in rows[0]
    }


def _metrics(scope: Scope, name: str) -> dict[str, float | None]:
    """The numbers of one class that are averaged."""
    score = scope.scores[name]
    found: dict[str, float | None] = {
        metric: getattr(score, metric) for metric in ("dice", "iou", "precision", "recall", "specificity")
    }
    rank = None if scope.ranking is None else scope.ranking[name]
    for metric in ("auc", "average_precision", "calibration_error"):
        found[metric] = None if rank is None else getattr(rank, metric)
    lesions = scope.lesions.get(name)
    found["lesion_f1"] = lesions.f1 if lesions else None
    if scope.objects is None:
        return found
    objects = scope.objects.classes.get(name)
    return found | (_object_metrics(objects) if objects else {})


def _object_metrics(scores: ObjectScores) -> dict[str, float | None]:
    return {metric: getattr(scores, metric.removeprefix("object_")) for metric in OBJECT_METRICS}


def _lesions(counts: LesionCounts) -> Lesions:
    return Lesions(**{field.name: getattr(counts, field.name) for field in fields(Lesions)})
