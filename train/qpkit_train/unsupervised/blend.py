"""From memberships of overlapping patches to a label raster.

All px of a cell, a square whose side divides both patches and stride, are covered by the same patches; so the raster
has one value a cell, and is exact for every px of it.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_LEVELS: Final = 65_535
"""A membership of 1 as a whole number: sums do not depend on the order of patches."""

_ROWS: Final = 512
"""Rows of cells that are added up at once."""

MOST_CLUSTERS: Final = 254
"""What fits between 0 (no tissue) and 255 (unknown)."""


def cell_px(patch_px: int, stride_px: int) -> int:
    """Side of the cells: 32 px for patches of 96 px every 64 px."""
    return math.gcd(patch_px, stride_px)


def blend(
    memberships: NDArray[np.float32], corners: NDArray[Any], *, patch_px: int, stride_px: int, width: int, height: int
) -> NDArray[np.uint8]:
    """Label each cell with the cluster whose mean membership over all patches that cover it is largest.

    Args:
        memberships: (n, k), rows sum to 1; rounded to 1/65,535. Rows of a single 1 make a vote of it.
        corners: (n, 2) x, y of the patches' upper left corners, px, multiples of the cell's side.
        patch_px: Side of a patch.
        stride_px: From one patch to the next.
        width, height: Of what the raster covers, px.

    Returns:
        (rows, columns) uint8, one value a cell of `cell_px(patch_px, stride_px)` px, the last ones cut by the edge: 0
        where no patch lies, else 1 + the cluster; of equal ones the lower.
    """
    cell = cell_px(patch_px, stride_px)
    assert memberships.shape[1] <= MOST_CLUSTERS and not (np.asarray(corners) % cell).any()
    found = np.zeros((-(-height // cell), -(-width // cell)), np.uint8)
    places = np.asarray(corners, np.int64) // cell
    side = patch_px // cell
    order = np.argsort(places[:, 1], kind="stable")
    rows = places[order, 1]
    for top in range(0, len(found), _ROWS):
        strip = found[top : top + _ROWS]
        first, last = np.searchsorted(rows, (top - side + 1, top + len(strip)))
        chosen = order[first:last]
        strip[:] = _strip(memberships[chosen], places[chosen] - (0, top), side, *strip.shape)
    return found


def _strip(
    memberships: NDArray[np.float32], places: NDArray[np.int64], side: int, rows: int, columns: int
) -> NDArray[np.uint8]:
    """Labels of a strip; places are columns and rows of cells in it, and may lie outside."""
    whole = np.rint(memberships.astype(np.float64) * _LEVELS).astype(np.int64)
    best, labels = np.zeros(rows * columns, np.int64), np.zeros(rows * columns, np.uint8)
    spread = np.arange(side)
    across = (places[:, 0, None, None] + spread[None, None, :]).repeat(side, axis=1)
    down = (places[:, 1, None, None] + spread[None, :, None]).repeat(side, axis=2)
    inside = (across >= 0) & (across < columns) & (down >= 0) & (down < rows)
    cells = (down * columns + across)[inside]
    patches = np.broadcast_to(np.arange(len(places))[:, None, None], inside.shape)[inside]
    for cluster in range(memberships.shape[1]):
        # Sums of whole numbers below 2^53 are exact as floats, too.
        total = np.bincount(cells, weights=whole[patches, cluster], minlength=rows * columns).astype(np.int64)
        better = total > best
        best[better], labels[better] = total[better], cluster + 1
    return labels.reshape(rows, columns)
