"""How unsure a model is of each pixel: the entropy of its probabilities, and how far several looks are apart.

Both are bytes. 255 is the entropy of classes that are all alike probable, and the largest standard deviation that
there can be: 0.5, where one half of the looks says 0 and the other 1.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit_train.models.card import LEVELS

BANDS: Final = ("entropy", "spread")
"""Of a raster of uncertainty; one look has no spread."""


def entropy_bytes(probabilities: NDArray[Any]) -> NDArray[np.uint8]:
    """Entropy of (n, classes, h, w) probabilities of any unit, as a fraction of the largest: (n, h, w) uint8."""
    classes = probabilities.shape[1]
    total = np.maximum(probabilities.sum(axis=1, dtype=np.float32, keepdims=True), np.float32(1e-12))
    shares = probabilities / total
    # The limit of p log p for p = 0 is 0.
    logs = np.log(np.maximum(shares, np.float32(1e-12)), dtype=np.float32)
    found = -(shares * logs).sum(axis=1) / np.log(classes)
    return np.asarray(np.rint(found.clip(0, 1) * 255), np.uint8)


def spread_levels(sums: NDArray[np.uint32], squares: NDArray[np.uint64], looks: int) -> NDArray[np.uint16]:
    """Standard deviation over looks, of the class in which they differ most.

    Args:
        sums, squares: (n, classes, h, w) probabilities of all looks, LEVELS each, added up; and their squares.
        looks: How many.

    Returns:
        (n, h, w) uint16, LEVELS is a standard deviation of 0.5.
    """
    whole = sums.astype(np.uint64)
    variances = looks * squares - whole * whole  # never negative, as whole numbers are exact
    deviations = np.sqrt(variances.max(axis=1).astype(np.float64)) / looks
    return np.asarray(np.rint((2 * deviations).clip(0, LEVELS)), np.uint16)


def as_bytes(levels: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.uint8]:
    """Turn LEVELS into 255."""
    step = LEVELS // 255
    return ((levels.astype(np.uint32) + step // 2) // step).astype(np.uint8)
