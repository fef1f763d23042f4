"""What the probabilities of one class are worth, whatever threshold is taken later. Pixels, numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpkit.ops.scores.probability_levels import (
    ReliabilityBin,
    average_precision,
    calibration_error,
    reliability,
    roc_auc,
    scores_at_thresholds,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What the probabilities of one class are worth; None where undefined.

    Args:
        auc: Area under the ROC curve.
        average_precision: Area under the precision-recall curve; a predictor that knows nothing has the prior.
        calibration_error: Expected calibration error of the class's probability.
        best_dice: The highest over all thresholds, chosen on these same pixels: an upper bound, not a result.
        best_threshold: Where; the probability has to be at least this.
        reliability: Predicted probabilities against what was true.
    """

    auc: float | None
    average_precision: float | None
    calibration_error: float | None
    best_dice: float | None
    best_threshold: float | None
    reliability: tuple[ReliabilityBin, ...]


def ranking_of(levels: NDArray[np.int64]) -> Ranking:
    """Judge the probabilities of one class, from (2, 256) counts."""
    dice = [score.dice for score in scores_at_thresholds(levels, "")]
    # -t: of thresholds with equal Dice the lowest.
    known = [(value, -t) for t, value in enumerate(dice) if value is not None]
    best, at = max(known, default=(None, 0))
    table = reliability(levels)
    return Ranking(
        auc=roc_auc(levels),
        average_precision=average_precision(levels),
        calibration_error=calibration_error(table),
        best_dice=best,
        best_threshold=None if best is None else -at / 255,
        reliability=table,
    )
