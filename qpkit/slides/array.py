"""A slide in memory: for tests, notebooks and pictures that were never a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import DEFAULT_PLANE, Plane
from qpkit.core.tiles import SlideInfo
from qpkit.slides.base import require_plane
from qpkit.slides.pixel_size import nominal_downsamples


class ArrayReader:
    """Reads from arrays.

    Args:
        levels: (h, w, 3) uint8 each, largest first.
        mpp: um per px of the first, or None.
        icc: ICC profile of the pixels, or None.
    """

    name: Final = "array"

    def __init__(
        self, levels: Sequence[NDArray[np.uint8]], *, mpp: float | None = None, icc: bytes | None = None
    ) -> None:
        self._levels, self._icc = list(levels), icc
        sizes = [(a.shape[1], a.shape[0]) for a in self._levels]
        self.info = SlideInfo(width=sizes[0][0], height=sizes[0][1], downsamples=nominal_downsamples(sizes), mpp=mpp)

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level in its own px."""
        return self._levels[level].shape[1], self._levels[level].shape[0]

    def read_level(
        self, level: int, *, x: int, y: int, width: int, height: int, plane: Plane = DEFAULT_PLANE
    ) -> NDArray[np.uint8]:
        """Copy a rectangle of one level. Returns (height, width, 3) uint8."""
        require_plane(plane, self.info, "the array")
        return self._levels[level][y : y + height, x : x + width].copy()

    def icc_profile(self) -> bytes | None:
        """As given."""
        return self._icc

    def close(self) -> None:
        """Nothing to release."""
