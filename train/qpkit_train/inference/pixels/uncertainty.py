"""How unsure a model is of each pixel: the entropy of its probabilities, and how far several looks are apart.

Both are bytes. 255 is the entropy of classes that are all alike probable, and the largest standard deviation that
there can be: 0.5, where one half of the looks says 0 and the other 1. Arrays may lie on any device.
"""

from __future__ import annotations

import math
from typing import Any, Final

from array_api_compat import array_namespace

from qpkit_train.models.card import LEVELS

BANDS: Final = ("entropy", "spread")
"""Of a raster of uncertainty; one look has no spread."""


def entropy_bytes(probabilities: Any) -> Any:
    """Entropy of (n, classes, h, w) probabilities of any unit, as a fraction of the largest: (n, h, w) uint8."""
    xp = array_namespace(probabilities)
    wide = xp.astype(probabilities, xp.float32)
    shares = wide / xp.clip(xp.sum(wide, axis=1, keepdims=True), min=1e-12)
    # The limit of p log p for p = 0 is 0.
    found = -xp.sum(shares * xp.log(xp.clip(shares, min=1e-12)), axis=1) / math.log(probabilities.shape[1])
    return xp.astype(xp.round(xp.clip(found, min=0, max=1) * 255), xp.uint8)


def spread_levels(sums: Any, squares: Any, looks: int) -> Any:
    """Standard deviation over looks, of the class in which they differ most.

    Args:
        sums, squares: (n, classes, h, w) int32 and int64 probabilities of all looks, LEVELS each, added up; and their
            squares.
        looks: How many.

    Returns:
        (n, h, w) int32, LEVELS is a standard deviation of 0.5.
    """
    xp = array_namespace(sums)
    whole = xp.astype(sums, xp.int64)
    variances = looks * squares - whole * whole  # never negative, as whole numbers are exact
    deviations = xp.sqrt(xp.astype(xp.max(variances, axis=1), xp.float64)) / looks
    return xp.astype(xp.round(xp.clip(2 * deviations, min=0, max=LEVELS)), xp.int32)


def as_bytes(levels: Any) -> Any:
    """Turn LEVELS into 255."""
    return rounded_bytes(levels, LEVELS // 255)


def rounded_bytes(sums: Any, step: Any) -> Any:
    """Divide int32 or int64 sums by a step, halves rounded up: uint8."""
    xp = array_namespace(sums)
    return xp.astype((sums + step // 2) // step, xp.uint8)
