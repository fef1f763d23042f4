"""Means with intervals from few patients: the percentile bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

RESAMPLES: Final = 2000
LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and where it would lie if other patients had been drawn.

    Args:
        mean: Of those that have a value; None if none has.
        low, high: Ends of the 95 % interval; None with fewer than two values.
        n: How many have a value.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int


def bootstrap_mean(
    values: Sequence[float | None], *, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """Average values, one per patient, and give the percentile interval of the resampled means.

    Args:
        values: None where nothing can be said of a patient; these are left out, and `n` says how many stayed.
        seed: The same seed and values give the same interval.
        resamples: Draws of n out of n with replacement.
        level: Fraction of the draws inside.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. With few patients it is too
    narrow; it cannot know what it has not seen.
    """
    # Sorted, so that the order of the patients does not change what is drawn.
    known = np.sort(np.array([v for v in values if v is not None], dtype=np.float64))
    if len(known) < 2:
        return Interval(mean=float(known[0]) if len(known) else None, low=None, high=None, n=len(known))
    drawn = np.random.default_rng(seed).integers(0, len(known), size=(resamples, len(known)))
    low, high = np.quantile(known[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(known.mean()), low=float(low), high=float(high), n=len(known))
