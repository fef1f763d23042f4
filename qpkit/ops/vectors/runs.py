"""Rows of a label raster as runs of one label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled


def runs_of(
    labels: NDArray[Any], skip: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Find the runs of some rows.

    Args:
        labels: (h, w) integers of 8 to 64 bit.
        skip: Labels that count as OUTSIDE, as negative ones do.

    Returns:
        (starts, values, firsts): (runs,) the column where each starts, (runs,) its label, -1 for what is skipped (two
        of these may be neighbours), (h + 1,) the first run of each row.
    """
    rows = np.ascontiguousarray(labels)
    # Eight pixels of one byte are compared at once.
    is_wide = rows.itemsize == 1 and not rows.shape[1] % 8
    words = rows.view(np.uint64) if is_wide else np.empty((0, 0), np.uint64)
    starts, values, firsts = np.empty(0, np.int32), np.empty(0, np.int64), np.empty(len(rows) + 1, np.int64)
    count = compiled(_find)(rows, words, skip, starts, values, firsts)
    starts, values = np.empty(count, np.int32), np.empty(count, np.int64)
    compiled(_find)(rows, words, skip, starts, values, firsts)
    return starts, values, firsts


def _find(rows, words, skip, starts, values, firsts):
    """Write the runs where there is room for them; gives how many there are."""
    height, width = rows.shape
    is_counting = not len(starts)
    count = 0
    for r in range(height):
        firsts[r] = count
        x = 0
        while x < width:
            before = rows[r, x]
            if not is_counting:
                starts[count], values[count] = x, before
            count += 1
            x += 1
            while x < width and rows[r, x] == before:
                if words.size and not x & 7:
                    same = np.uint64(before) * np.uint64(0x0101010101010101)
                    while x < width and words[r, x >> 3] == same:
                        x += 8
                    if x >= width or rows[r, x] != before:
                        break
                x += 1
    firsts[height] = count
    for i in range(0 if is_counting else count):
        is_skipped = values[i] < 0
        for value in skip:
            is_skipped |= values[i] == value
        if is_skipped:
            values[i] = -1
    return count
