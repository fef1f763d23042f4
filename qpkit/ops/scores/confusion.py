"""Masks against each other: one confusion matrix, and the scores that follow from it. Pixels, numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

IGNORE_INDEX: Final = 255
"""Class index of a pixel about which nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One class; None where nothing can be said (division by zero).

    Args:
        name: Of the class.
        support: Pixels that truly are of it.
        predicted: Pixels that are predicted as it.
        iou, dice, precision, recall: 0..1. IoU and Dice are None if the class is neither there nor predicted,
            precision if it was never predicted, recall (the same as sensitivity) if it is not there.
        specificity: Fraction of the other pixels that are not predicted as it; None if there are no others.
    """

    name: str
    support: int
    predicted: int
    iou: float | None
    dice: float | None
    precision: float | None
    recall: float | None
    specificity: float | None


def class_indices(labels: NDArray[np.uint8], values: Sequence[int]) -> NDArray[np.uint8]:
    """Turn mask values into class indices: values[i] becomes i, every other value IGNORE_INDEX. Same shape."""
    table = np.full(256, IGNORE_INDEX, dtype=np.uint8)
    table[list(values)] = np.arange(len(values), dtype=np.uint8)
    return np.asarray(table[labels], dtype=np.uint8)


def empty_confusion(classes: int) -> NDArray[np.int64]:
    """(classes, classes) int64 zeros; rows are the truth, columns the prediction."""
    return np.zeros((classes, classes), np.int64)


def confusion_of(target: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count pixels by (truth, prediction), leaving out IGNORE_INDEX in the truth.

    Args:
        target, predicted: Class indices of the same shape.
        classes: Number of them.

    Returns:
        (classes, classes) int64.
    """
    known = target != IGNORE_INDEX
    pairs = target[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def class_scores(confusion: NDArray[np.int64], names: Sequence[str]) -> tuple[ClassScore, ...]:
    """Score every class of a confusion matrix, in its order."""
    hits = np.diag(confusion).tolist()
    support, predicted = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    pixels = int(confusion.sum())
    return tuple(
        score_of(name, tp=tp, fp=called - tp, fn=there - tp, tn=pixels - there - called + tp)
        for name, tp, there, called in zip(names, hits, support, predicted, strict=True)
    )


def score_of(name: str, *, tp: float, fp: float, fn: float, tn: float) -> ClassScore:
    """Score one class against the rest, from its hits, false alarms, misses and rightly left out pixels.

    Numbers of pixels may be expectations; `support` and `predicted` are rounded.
    """
    return ClassScore(
        name=name,
        support=round(tp + fn),
        predicted=round(tp + fp),
        iou=_fraction(tp, tp + fp + fn),
        dice=_fraction(2 * tp, 2 * tp + fp + fn),
        precision=_fraction(tp, tp + fp),
        recall=_fraction(tp, tp + fn),
        specificity=_fraction(tn, tn + fp),
    )


def mean_score(scores: Sequence[ClassScore], metric: str, *, background: int) -> float | None:
    """Mean of "dice" or "iou" over the classes but the background; classes without a value are left out."""
    values = [getattr(score, metric) for i, score in enumerate(scores) if i != background]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def accuracy(confusion: NDArray[np.int64]) -> float | None:
    """Fraction of known pixels that were predicted right."""
    return _fraction(int(np.trace(confusion)), int(confusion.sum()))


def row_normalized(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fractions of each true class, rows sum to 1; a class that is not there has a row of zeros."""
    sums = confusion.sum(axis=1, keepdims=True)
    return np.asarray(confusion / np.maximum(sums, 1), dtype=np.float64)


def _fraction(part: float, whole: float) -> float | None:
    return part / whole if whole else None
