"""Areas of one label that lie close together become one: a closing of the raster with a disc, window by window."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from qpkit.ops.histogram import histogram
from qpkit.ops.vectors.distance import distance_inside


def close_gaps(labels: NDArray[np.uint8], radius: float, *, skip: Collection[int], ground: int) -> NDArray[np.uint8]:
    """Fill the background that no disc of a radius fits into without touching a label.

    Args:
        labels: (h, w); what lies beyond is not known, so a margin of `margin_of` is not right yet.
        radius: px; areas up to twice as far apart are joined.
        skip: Labels that do not grow (background, ignore).
        ground: The label that is filled. Where two labels would fill a pixel, the smaller one does.

    Returns:
        (h, w) uint8; pixels of other labels than `ground` are as they were.
    """
    made = labels.copy()
    for value in np.flatnonzero(histogram(labels)).tolist():
        if value in skip:
            continue
        grown = distance_inside(labels != value) <= radius
        made[(distance_inside(grown) > radius) & (made == ground)] = value
    return made


def margin_of(radius: float) -> int:
    """How far a pixel's answer can depend on others, px."""
    return 2 * math.ceil(radius) + 1


def closed_rows(
    read: Callable[[int, int, int, int], NDArray[np.uint8]],
    width: int,
    height: int,
    y: int,
    rows: int,
    radius: float,
    *,
    skip: Collection[int],
    ground: int,
) -> NDArray[np.uint8]:
    """Close some rows of a raster of (width, height) px, `read` giving windows (x, y, w, h): (rows, width) uint8."""
    low = max(y - margin_of(radius), 0)
    high = min(y + rows + margin_of(radius), height)
    seen = close_gaps(read(0, low, width, high - low), radius, skip=skip, ground=ground)
    return seen[y - low : y - low + rows]
