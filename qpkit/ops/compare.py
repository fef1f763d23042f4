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
        predicted: Pixels that were said to be.
        iou, dice, precision, recall: 0..1. IoU and Dice are None if the class is neither there nor predicted,
            precision if it was never predicted, recall if it is not there.
    """

    name: str
    support: int
    predicted: int
    iou: float | None
    dice: float | None
    precision: float | None
    recall: float | None


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
    hits = np.diag(confusion)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return tuple(
        ClassScore(
            name=name,
            support=int(support[i]),
            predicted=int(predicted[i]),
            iou=_share(hits[i], support[i] + predicted[i] - hits[i]),
            dice=_share(2 * hits[i], support[i] + predicted[i]),
            precision=_share(hits[i], predicted[i]),
            recall=_share(hits[i], support[i]),
        )
        for i, name in enumerate(names)
    )


def mean_score(scores: Sequence[ClassScore], metric: str, *, background: int) -> float | None:
    """Mean of "dice" or "iou" over the classes but the background; classes without a value are left out."""
    values = [getattr(score, metric) for i, score in enumerate(scores) if i != background]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def accuracy(confusion: NDArray[np.int64]) -> float | None:
    """Share of known pixels that were predicted right."""
    return _share(np.trace(confusion), confusion.sum())


def row_normalized(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares of each true class, rows sum to 1; a class that is not there has a row of zeros."""
    sums = confusion.sum(axis=1, keepdims=True)
    return np.asarray(confusion / np.maximum(sums, 1), dtype=np.float64)


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
