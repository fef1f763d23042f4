"""An evaluation on disk: evaluation.json, metrics.csv, objects.csv, thresholds.csv, confusion.png, thresholds.png."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.files import csv_bytes, pretty_json
from qpkit.ops.scores.confusion import ClassScore
from qpkit.ops.scores.objects import THRESHOLDS
from qpkit.ops.scores.ranking import Ranking
from qpkit.report.figures.scores import draw_confusion, draw_thresholds
from qpkit.workflows.evaluate.objects import ObjectScores
from qpkit.workflows.evaluate.result import OBJECT_METRICS, Evaluation, Scope

INFO_NAME: Final = "evaluation.json"

RUN: Final = "run"
"""Name of the judged predictor in metrics.csv, beside the baselines."""

ALL_OBJECTS: Final = "all objects"
"""What the row of all objects is called, whatever their classes are."""

_PIXELS: Final = ("support", "predicted", "dice", "iou", "precision", "recall", "specificity")
_RANKING: Final = ("auc", "average_precision", "calibration_error", "best_dice", "best_threshold")
_LESIONS: Final = ("total", "found", "matched", "predicted", "too_small", "precision", "recall", "f1")
_OBJECTS: Final = ("total", "predicted", "matched", "precision", "recall", "f1", "mean_ap", "sq", "pq", "aji")
_ABOVE: Final = tuple(f"matched_above_{percent / 100:g}" for percent in THRESHOLDS)
_COLUMNS: Final = (
    "scope",
    "name",
    "slides",
    "class",
    "predictor",
    *_PIXELS,
    *_RANKING,
    *(f"lesion_{field}" for field in _LESIONS),
    "outside_mm2",
)


def evaluation_to_builtins(result: Evaluation) -> dict[str, Any]:
    """Plain values for evaluation.json and --json; the curves are in thresholds.csv."""
    plain: dict[str, Any] = msgspec.to_builtins(replace(result, curves=None))
    del plain["curves"]
    return plain


def write_evaluation(result: Evaluation, root: Path) -> None:
    """Write tables and figures into a folder that is there."""
    (root / INFO_NAME).write_bytes(pretty_json(evaluation_to_builtins(result)) + b"\n")
    (root / "metrics.csv").write_bytes(metrics_csv(result))
    if result.pooled.objects is not None:
        (root / "objects.csv").write_bytes(objects_csv(result))
    confusion = result.pooled.confusion, result.pooled.confusion_fractions
    (root / "confusion.png").write_bytes(draw_confusion(*confusion, result.names))
    if result.curves is not None and result.pooled.ranking is not None:
        (root / "thresholds.csv").write_bytes(thresholds_csv(result.curves))
        tables = {name: rank.reliability for name, rank in result.pooled.ranking.items()}
        (root / "thresholds.png").write_bytes(draw_thresholds(result.curves, tables))


def metrics_csv(result: Evaluation) -> bytes:
    """One row per scope and class: the run, then each baseline; last the means over patients. Blank: None."""
    rows = [row for scope in _scopes(result) for row in _scope_rows(scope)]
    rows += list(_patient_rows(result))
    return _csv(_COLUMNS, [[row.get(column) for column in _COLUMNS] for row in rows])


def objects_csv(result: Evaluation) -> bytes:
    """One row per scope and class of objects, "all objects" first; last the means over patients. Blank: None."""
    rows: list[dict[str, Any]] = []
    for scope in _scopes(result):
        if scope.objects is not None:
            place = {"scope": scope.kind, "name": scope.name, "slides": len(scope.slides)}
            rows += [
                {**place, "class": name, **_fields(scores, _OBJECTS), **_above(scores)}
                for name, scores in {ALL_OBJECTS: scope.objects.every, **scope.objects.classes}.items()
            ]
    for name, metrics in {ALL_OBJECTS: result.patients.objects, **result.patients.classes}.items():
        if metrics.keys() >= set(OBJECT_METRICS):
            rows += [
                {
                    "scope": f"over {result.patients.unit}",
                    "name": statistic,
                    "slides": len(result.slides),
                    "class": name,
                    **{
                        metric.removeprefix("object_"): getattr(metrics[metric], statistic) for metric in OBJECT_METRICS
                    },
                }
                for statistic in ("mean", "low", "high", "n")
            ]
    columns = ("scope", "name", "slides", "class", *_OBJECTS, *_ABOVE)
    return _csv(columns, [[row.get(column) for column in columns] for row in rows])


def _above(scores: ObjectScores) -> dict[str, int]:
    return dict(zip(_ABOVE, scores.matched_above.values(), strict=True))


def thresholds_csv(curves: Mapping[str, Sequence[ClassScore]]) -> bytes:
    """One row per class and threshold t / 255: the scores of "the probability is at least that"."""
    rows = [
        [name, t / 255, *(getattr(score, field) for field in _PIXELS)]
        for name, scores in curves.items()
        for t, score in enumerate(scores)
    ]
    return _csv(("class", "threshold", *_PIXELS), rows)


def _scopes(result: Evaluation) -> tuple[Scope, ...]:
    groups = (scope for scopes in result.groups.values() for scope in scopes)
    return (*result.slides, *groups, result.pooled)


def _scope_rows(scope: Scope) -> Iterator[dict[str, Any]]:
    for name, score in scope.scores.items():
        place = {"scope": scope.kind, "name": scope.name, "slides": len(scope.slides), "class": name}
        rank: Ranking | None = None if scope.ranking is None else scope.ranking[name]
        lesions = scope.lesions.get(name)
        yield {
            **place,
            "predictor": RUN,
            **_fields(score, _PIXELS),
            **_fields(rank, _RANKING),
            **{f"lesion_{key}": value for key, value in _fields(lesions, _LESIONS).items()},
            "outside_mm2": None if scope.outside_mm2 is None else scope.outside_mm2.get(name),
        }
        for predictor, baseline in scope.baselines[name].items():
            yield {**place, "predictor": predictor, **_fields(baseline, _PIXELS)}


def _patient_rows(result: Evaluation) -> Iterator[dict[str, Any]]:
    for name, metrics in result.patients.classes.items():
        for statistic in ("mean", "low", "high", "n"):
            values = {metric: getattr(interval, statistic) for metric, interval in metrics.items()}
            place = {"scope": f"over {result.patients.unit}", "name": statistic, "class": name, "predictor": RUN}
            yield {**place, "slides": len(result.slides), **values}


def _fields(value: object, names: Sequence[str]) -> dict[str, Any]:
    return {} if value is None else {name: getattr(value, name) for name in names}


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    return csv_bytes([head, *([_number(value) for value in row] for row in rows)])


def _number(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
