"""Probabilities against the truth at every threshold, from histograms of their 256 levels. Pixels, numpy.

A probability raster has 256 levels, so two histograms per class (pixels that are of it, pixels that are not) hold all
that can be asked: ROC and precision-recall curves, every score at every threshold, calibration. They are small, exact
and can be added up, over strips and over slides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.ops.scores.confusion import IGNORE_INDEX, ClassScore, score_of

LEVELS: Final = 256

BINS: Final = 15
"""Of the calibration error: equal widths, as Guo et al., On Calibration of Modern Neural Networks, ICML 2017."""


def empty_levels(classes: int) -> NDArray[np.int64]:
    """(classes, 2, 256) int64 zeros: by class, whether the truth is that class, and level."""
    return np.zeros((classes, 2, LEVELS), np.int64)


def levels_of(target: NDArray[np.uint8], probabilities: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count pixels by class, by whether they truly are of it, and by the class's probability.

    Args:
        target: (...) class indices; IGNORE_INDEX is left out.
        probabilities: (classes, ...) uint8, 255 = 1.0, one band per class index.
        classes: Number of them.

    Returns:
        (classes, 2, 256) int64; [:, 1] are the pixels of the class.
    """
    known = target != IGNORE_INDEX
    truth = target[known]
    return np.stack([_binary(truth == i, probabilities[i][known]) for i in range(classes)])


def confidence_of(
    target: NDArray[np.uint8], predicted: NDArray[np.uint8], probabilities: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Count pixels by whether they were predicted right and by the highest of their probabilities: (2, 256) int64."""
    known = target != IGNORE_INDEX
    return _binary(target[known] == predicted[known], probabilities.max(axis=0)[known])


def _binary(is_positive: NDArray[np.bool_], levels: NDArray[np.uint8]) -> NDArray[np.int64]:
    cells = levels.astype(np.uint16)  # enough for 512 cells, and faster than 64 bits
    cells[is_positive] += LEVELS
    return np.bincount(cells, minlength=2 * LEVELS).reshape(2, LEVELS).astype(np.int64)


def scores_at_thresholds(levels: NDArray[np.int64], name: str) -> tuple[ClassScore, ...]:
    """Score "the probability is at least t / 255" for every t from 0 to 255; from (2, 256) counts."""
    hits, false_alarms = _at_least(levels)
    positives, negatives = int(hits[0]), int(false_alarms[0])
    return tuple(
        score_of(name, tp=tp, fp=fp, fn=positives - tp, tn=negatives - fp)
        for tp, fp in zip(hits.tolist(), false_alarms.tolist(), strict=True)
    )


def roc_auc(levels: NDArray[np.int64]) -> float | None:
    """Area under the ROC curve: the probability that a pixel of the class has a higher probability than one that is
    not.

    Equal probabilities count half, which is the trapezoidal rule (scikit-learn's roc_auc_score). None if all pixels
    are of the class or none is.
    """
    negatives, positives = levels.astype(np.float64)
    if not negatives.sum() or not positives.sum():
        return None
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / (negatives.sum() * positives.sum()))


def average_precision(levels: NDArray[np.int64]) -> float | None:
    """Mean precision over the thresholds, weighted by the recall that each adds; None if no pixel is of the class.

    Source: the sum of (R[n] - R[n - 1]) P[n], without interpolation, as scikit-learn's average_precision_score.
    """
    hits, false_alarms = (counts.astype(np.float64) for counts in _at_least(levels))
    if not hits[0]:
        return None
    precision = np.divide(hits, hits + false_alarms, out=np.zeros(LEVELS), where=hits + false_alarms > 0)
    return float((levels[1] * precision).sum() / hits[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """One row of the reliability table.

    Args:
        low, high: Probabilities of the bin; `high` belongs to the next one, but for 1.0.
        pixels: In it.
        predicted: Their mean probability.
        true: The fraction of them that is of the class.
    """

    low: float
    high: float
    pixels: int
    predicted: float
    true: float


def reliability(levels: NDArray[np.int64], *, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Predicted probabilities against what was true, in bins of equal width (no empty ones), of (2, 256) counts."""
    probability = np.arange(LEVELS) / (LEVELS - 1)
    place = np.minimum(np.arange(LEVELS) * bins // (LEVELS - 1), bins - 1)
    rows = []
    for i in range(bins):
        inside = levels[:, place == i]
        pixels = int(inside.sum())
        if pixels:
            predicted = float((inside.sum(axis=0) * probability[place == i]).sum() / pixels)
            true = float(inside[1].sum() / pixels)
            rows.append(
                ReliabilityBin(low=i / bins, high=(i + 1) / bins, pixels=pixels, predicted=predicted, true=true)
            )
    return tuple(rows)


def calibration_error(table: Sequence[ReliabilityBin]) -> float | None:
    """Expected calibration error: the mean of |predicted - true| over the pixels; None without a pixel."""
    pixels = sum(row.pixels for row in table)
    return sum(row.pixels * abs(row.predicted - row.true) for row in table) / pixels if pixels else None


def _at_least(levels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(256,) hits and (256,) false alarms of "at least this level"."""
    falling = np.cumsum(levels[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(falling[1]), np.asarray(falling[0])
