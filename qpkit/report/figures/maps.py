"""Maps of a number over slides: dark is low, bright is high."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

_COLORS: Final = "inferno"
_STRENGTH: Final = 0.75


def number_map(ground: NDArray[np.uint8], values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Lay colours over a grey picture.

    Args:
        ground: (h, w, 3) uint8.
        values: (h, w) or (h, 1), 0..1; the picture stays as it is where they are NaN.

    Returns:
        (h, w, 3) uint8.
    """
    wide = np.broadcast_to(values, ground.shape[:2])
    grey = np.repeat(ground.mean(axis=2, keepdims=True), 3, axis=2)
    mixed = (1 - _STRENGTH) * grey + _STRENGTH * _colors_of(np.nan_to_num(wide))
    return np.where(np.isnan(wide)[..., np.newaxis], ground, mixed).astype(np.uint8)


def color_scale(*, width: int = 240, height: int = 10) -> NDArray[np.uint8]:
    """The colours of `number_map` from 0 to 1, as (height, width, 3) uint8."""
    return np.repeat(_colors_of(np.linspace(0, 1, width)[np.newaxis]), height, axis=0).astype(np.uint8)


def _colors_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(255 * colormaps[_COLORS](np.clip(values, 0, 1))[..., :3], np.float64)
