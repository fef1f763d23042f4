"""Baselines: what predictors score that do not see the image. Closed forms, no randomness.

A score says nothing by itself: where nine tenths of the pixels are tumour, calling everything tumour has a Dice of
0.95.
Each predictor is judged as "this class or not", like a row of the class table.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qpkit.ops.scores.confusion import ClassScore, score_of

ALL_BACKGROUND = "all background"
ALL_THIS_CLASS = "all this class"
RANDOM = "random at the prior"


def baseline_scores(confusion: NDArray[np.int64], index: int, *, background: int, name: str) -> dict[str, ClassScore]:
    """Score the baseline predictors for one class on the pixels of a confusion matrix.

    Args:
        confusion: (classes, classes); only its rows' sums, the truth, are used.
        index: Of the class.
        background: Index of the background.
        name: Of the class.

    Returns:
        By predictor. The random one says the class with the probability that the class has in the truth, each pixel
        for itself; its scores are those of the expected counts: precision, recall and Dice are the prior p,
        specificity 1 - p, IoU p / (2 - p).
    """
    support = int(confusion[index].sum())
    others = int(confusion.sum()) - support
    prior = support / (support + others) if support + others else 0.0
    nothing = score_of(name, tp=0, fp=0, fn=support, tn=others)
    everything = score_of(name, tp=support, fp=others, fn=0, tn=0)
    random = score_of(name, tp=support * prior, fp=others * prior, fn=support * (1 - prior), tn=others * (1 - prior))
    return {
        ALL_BACKGROUND: everything if index == background else nothing,
        ALL_THIS_CLASS: everything,
        RANDOM: random,
    }


def best_baseline(scores: Mapping[str, ClassScore], metric: str) -> float | None:
    """The highest that a baseline predictor reaches in "dice", "iou" ...; None where none has a value."""
    values = [getattr(score, metric) for score in scores.values()]
    return max((value for value in values if value is not None), default=None)
