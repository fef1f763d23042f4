"""Two label masks against each other: confusion and the scores that come from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def confusion(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], *, values: Sequence[int], ignore: int
) -> NDArray[np.int64]:
    """Count pixels by true and predicted value.

    Args:
        truth, predicted: Same shape, uint8.
        values: Values that count; the result's rows (truth) and columns (prediction) are in this order.
        ignore: Pixels with this truth are left out.

    Returns:
        (n, n) int64. A predicted value that is not in `values` counts as the first one.
    """
    lookup = np.zeros(256, dtype=np.int64)
    lookup[list(values)] = np.arange(len(values))
    known = np.isin(truth, list(values)) & (truth != ignore)
    pairs = lookup[truth[known]] * len(values) + lookup[predicted[known]]
    return np.bincount(pairs, minlength=len(values) ** 2).reshape(len(values), len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of one class; None where nothing can be divided by (no such pixel)."""

    dice: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    pixels: int


def scores(matrix: NDArray[np.int64], index: int) -> Scores:
    """Scores of the class in row and column `index` of a confusion matrix (rows are truth)."""
    hit = int(matrix[index, index])
    true, predicted = int(matrix[index].sum()), int(matrix[:, index].sum())
    return Scores(
        dice=_ratio(2 * hit, true + predicted),
        iou=_ratio(hit, true + predicted - hit),
        precision=_ratio(hit, predicted),
        recall=_ratio(hit, true),
        pixels=true,
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
