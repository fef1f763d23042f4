"""Patches of tissue: where they lie on a canvas, and their pixels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import TileGrid
from qpkit_train.unsupervised.canvas import Canvas

_TISSUE: Final = 0.5
"""Of a patch, at least. The document keeps what is lighter than 10 of 255, and so glass, too."""

_GAP: Final = 8
"""Patches of a row that are further apart, in strides, are read by themselves."""


def patch_corners(canvas: Canvas, side: int, stride: int) -> NDArray[np.int64]:
    """Find the patches that are half tissue or more: (n, 2) of x, y, row by row, px of the canvas.

    Args:
        canvas: Where.
        side: Px of a patch; those at the right and lower edge may reach beyond.
        stride: Px from one to the next.
    """
    grid = TileGrid(slide_width=canvas.width, slide_height=canvas.height, tile_size=side, overlap=max(0, side - stride))
    step = max(1, stride // 8)
    found = [(tile.x, tile.y) for tile in grid if _tissue_of(canvas, tile.x, tile.y, side, step) >= _TISSUE]
    return np.array(found, np.int64).reshape(-1, 2)


def _tissue_of(canvas: Canvas, x: int, y: int, side: int, step: int) -> float:
    """Fraction of a patch, looked up every `step` px."""
    cells = -(-side // step)
    return float(canvas.tissue_in(x // step, y // step, width=cells, height=cells, cell=step).mean())


def read_patches(canvas: Canvas, corners: NDArray[np.int64], side: int) -> Iterator[NDArray[np.uint8]]:
    """Read patches in their order, a row of neighbours at a time: (m, side, side, 3) uint8 each.

    Args:
        canvas: Where.
        corners: As `patch_corners` gives them.
        side: Px of a patch.
    """
    starts = [0, *(n for n in range(1, len(corners)) if _is_apart(corners[n - 1], corners[n], side)), len(corners)]
    for first, stop in pairwise(starts):
        some = corners[first:stop]
        if not len(some):
            continue
        left, width = int(some[0, 0]), int(some[-1, 0] - some[0, 0]) + side
        strip = canvas.read(left, int(some[0, 1]), width=width, height=side)
        yield np.stack([strip[:, x - left : x - left + side] for x in some[:, 0].tolist()])


def _is_apart(one: NDArray[np.int64], other: NDArray[np.int64], side: int) -> bool:
    return bool(one[1] != other[1] or other[0] - one[0] > _GAP * side)
