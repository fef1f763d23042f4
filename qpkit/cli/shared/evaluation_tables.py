"""The tables of qpkit evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from qpkit.cli.shared.console import table
from qpkit.ops.scores.baselines import best_baseline
from qpkit.ops.scores.bootstrap import Interval
from qpkit.workflows.evaluate.files import ALL_OBJECTS
from qpkit.workflows.evaluate.result import OBJECT_METRICS, Evaluation, PatientMeans, Scope

Found = TypeVar("Found")

_SCORES = ("dice", "iou", "precision", "recall", "specificity")
_NAMES = ("Dice", "IoU", "precision", "recall", "specificity")


def show(result: Evaluation) -> None:
    """Print an evaluation: pixels, baselines, probabilities, lesions, objects, confusion, groups, patients."""
    slides = list(result.slides) if len(result.slides) == 1 else [*result.slides, result.pooled]
    whole = slides[-1]
    outside = "count as background" if result.unannotated == "background" else "count neither way"
    _show_pixels(f"Run {result.run} against the annotations; pixels outside every region {outside}", "slide", slides)
    _show_baselines(whole)
    _show_ranking(whole)
    _show_lesions(result, slides)
    _show_objects(slides)
    _show_confusion(result, whole)
    for key, scopes in result.groups.items():
        _show_pixels(f"By {key}", key, scopes)
    _show_patients(result)


def _show_pixels(title: str, kind: str, scopes: Sequence[Scope]) -> None:
    rows = []
    for scope in scopes:
        for name, score in scope.scores.items():
            baseline = best_baseline(scope.baselines[name], "dice")
            numbers = [getattr(score, metric) for metric in _SCORES]
            rows.append((scope.name, name, score.support, numbers[0], baseline, *numbers[1:]))
    table(title, (kind, "class", "pixels", "Dice", "Dice of the best baseline", *_NAMES[1:]), rows)


def _show_baselines(scope: Scope) -> None:
    rows = []
    for name, score in scope.scores.items():
        for predictor, found in {"this run": score, **scope.baselines[name]}.items():
            rows.append((name, predictor, *(getattr(found, metric) for metric in _SCORES)))
    title = f"{scope.name}: beside baselines"
    table(title, ("class", "predictor", *_NAMES), rows)


def _show_ranking(scope: Scope) -> None:
    if scope.ranking is None:
        return
    rows = []
    for name, rank in scope.ranking.items():
        prior = scope.baselines[name]["all this class"].precision
        row = (name, rank.auc, rank.average_precision, prior, rank.calibration_error)
        rows.append((*row, rank.best_dice, rank.best_threshold))
    columns = ("class", "AUC", "average precision", "of the best baseline", "calibration error")
    error = scope.confidence_error
    told = "" if error is None else f"; calibration error of the predicted class: {error:.4f}"
    title = f"{scope.name}: probabilities (the best Dice is chosen on these pixels{told})"
    table(title, (*columns, "best Dice", "at probability"), rows)


def _show_lesions(result: Evaluation, scopes: Sequence[Scope]) -> None:
    rows: list[tuple[Any, ...]] = []
    for scope in scopes:
        for name, found in scope.lesions.items():
            area = None if scope.outside_mm2 is None else scope.outside_mm2[name]
            counts = (f"{found.found} of {found.total}", found.matched, found.predicted, found.too_small)
            rows.append((scope.name, name, *counts, found.precision, found.recall, found.f1, area))
    if not rows:
        return
    fraction = result.settings.lesion_overlap
    columns = ("slide", "class", "found", "matched", "predicted", "too small", "precision", "recall", "F1")
    title = f"Lesions (found: {fraction:.0%} covered; matched: IoU {fraction:g})"
    table(title, (*columns, "mm2 not evaluated"), rows)


def _show_objects(scopes: Sequence[Scope]) -> None:
    rows: list[tuple[Any, ...]] = []
    for scope in scopes:
        if scope.objects is not None:
            for name, found in _with_all(scope.objects.every, scope.objects.classes).items():
                counts = (found.total, found.predicted, found.matched)
                scores = (found.precision, found.recall, found.f1, found.mean_ap, found.sq, found.pq, found.aji)
                rows.append((scope.name, name, *counts, *scores))
    if rows:
        columns = ("slide", "class", "true", "predicted", "matched", "precision", "recall", "F1 (DQ)", "AP", "SQ", "PQ")
        table("Objects (matched: IoU above 0.5; AP: mean over 0.5 to 0.95)", (*columns, "AJI"), rows)
        _show_object_confusion(scopes[-1])


def _show_object_confusion(scope: Scope) -> None:
    if scope.objects is None or len(scope.objects.classes) < 2:
        return
    names = tuple(scope.objects.classes)
    rows = [(name, *counts) for name, counts in zip((*names, "(no such object)"), scope.objects.confusion, strict=True)]
    table(f"{scope.name}: objects by class", ("true \\ predicted", *names, "(missed)"), rows)


def _show_confusion(result: Evaluation, scope: Scope) -> None:
    rows = [
        (name, *(f"{count:,} ({fraction:.1%})" for count, fraction in zip(counts, fractions, strict=True)))
        for name, counts, fractions in zip(result.names, scope.confusion, scope.confusion_fractions, strict=True)
    ]
    columns = ("annotated \\ predicted", *result.names)
    table(f"{scope.name}: pixels (fraction of the annotated class)", columns, rows)


def _show_patients(result: Evaluation) -> None:
    means = result.patients
    if means.units == 1:
        return
    rows = [
        (name, *(_interval(metrics[metric], means.units) for metric in (*_SCORES, "auc", "lesion_f1")))
        for name, metrics in means.classes.items()
    ]
    what = "slide" if means.unit == "slide" else f"patient ({means.unit})"
    title = (
        f"Mean over {means.units} x {what}, 95 % interval "
        f"({result.settings.resamples:,} resamples, seed {result.settings.seed})"
    )
    table(title, ("class", *_NAMES, "AUC", "lesion F1"), rows)
    _show_object_means(means, title)


def _show_object_means(means: PatientMeans, title: str) -> None:
    classes = {name: metrics for name, metrics in means.classes.items() if metrics.keys() >= set(OBJECT_METRICS)}
    if not classes:
        return
    rows = [
        (name, *(_interval(metrics[metric], means.units) for metric in OBJECT_METRICS))
        for name, metrics in _with_all(means.objects, classes).items()
    ]
    table(f"Objects: {title}", ("class", "F1", "PQ", "AJI"), rows)


def _with_all(every: Found, classes: Mapping[str, Found]) -> dict[str, Found]:
    """The row of all objects before those of the classes; a single class is all."""
    return {**({ALL_OBJECTS: every} if len(classes) > 1 else {}), **classes}


def _interval(found: Interval, units: int) -> str:
    """ "0.81 0.74-0.88", and of how many where some have no value."""
    if found.mean is None:
        return "-"
    ends = "" if found.low is None or found.high is None else f" {found.low:.2f}-{found.high:.2f}"
    return f"{found.mean:.2f}{ends}{'' if found.n == units else f' (n {found.n})'}"
