"""Touching objects apart: a watershed on the smoothed distance to the background, block by block.

A block is looked at with a margin around it, and an object is called by the place of its marker, so that two blocks
that both see an object call it the same. That holds for objects smaller than the margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.cores import available_cores
from qpkit.ops.histogram import histogram
from qpkit.ops.vectors.distance import distance_inside

BLOCK: Final = 1024
MARGIN: Final = 64
"""px; larger where markers are far apart"""

_Numbers = NDArray[np.int64]


def split_strips(
    read: Callable[[int, int, int, int], NDArray[np.uint8]],
    width: int,
    height: int,
    *,
    skip: Collection[int],
    distance_px: float,
    rows: int,
    block: int = BLOCK,
) -> Iterator[NDArray[np.int64]]:
    """Number the objects of a label raster, strip by strip; the blocks of a strip in threads.

    Args:
        read: Gives the labels of a window: (x, y, w, h) inside the raster, (h, w) uint8. Called from this thread only.
        width, height: Of the raster, px.
        skip: Labels that are no objects.
        distance_px: Markers are the points farthest from the border of their area, at least so far apart.
        rows: Of each strip.
        block: Width of the blocks, px.

    Yields:
        (h, w) int64, 0 where there is no object; else 1 + y * width + x of its marker.
    """
    margin = max(MARGIN, math.ceil(16 * distance_px))
    with ThreadPoolExecutor(available_cores()) as threads:
        for top in range(0, height, rows):
            low, high = max(top - margin, 0), min(top + rows + margin, height)
            labels = read(0, low, width, high - low)
            strip = np.empty((min(rows, height - top), width), np.int64)

            def fill(
                left: int, low: int = low, top: int = top, labels: NDArray[np.uint8] = labels, strip: _Numbers = strip
            ) -> None:
                x = max(left - margin, 0)
                seen = labels[:, x : left + block + margin]
                numbers = numbered(seen, skip=skip, distance_px=distance_px, x=x, y=low, width=width)
                strip[:, left : left + block] = numbers[top - low : top - low + rows, left - x : left - x + block]

            list(threads.map(fill, range(0, width, block)))  # raises what a thread raised
            yield strip


def numbered(
    labels: NDArray[np.uint8], *, skip: Collection[int], distance_px: float, x: int = 0, y: int = 0, width: int
) -> NDArray[np.int64]:
    """Number the objects of one window, as `split_strips` does; x, y is its corner in a raster of `width`.

    The distance map is smoothed with a Gaussian of a quarter of `distance_px`, which spares objects whose border is
    rough; markers are its peaks. An area without a peak of its own is an object, too.
    """
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    numbers = np.zeros(labels.shape, np.int64)
    for value in np.flatnonzero(histogram(labels)).tolist():
        if value in skip:
            continue
        mask = labels == value
        depth = ndimage.gaussian_filter(distance_inside(mask), distance_px / 4) + _unequal(labels.shape, x, y)
        depth[~mask] = 0
        peaks = peak_local_max(depth, min_distance=max(1, round(distance_px)), threshold_abs=0, exclude_border=False)
        areas, count = ndimage.label(mask)
        of = areas[tuple(peaks.T)]
        # The first pixel of each area is its marker, unless it has a peak.
        places, pixels = np.zeros(count + 1, np.int64), np.flatnonzero(mask)
        places[areas.flat[pixels[::-1]]] = pixels[::-1]
        places[of] = np.ravel_multi_index(tuple(peaks.T), labels.shape)
        names = 1 + (places // labels.shape[1] + y) * width + places % labels.shape[1] + x
        names[0] = 0
        numbers += names[areas]
        several = np.bincount(of, minlength=count + 1) > 1
        shared = peaks[several[of]]
        if len(shared):
            markers = np.zeros(labels.shape, np.int32)
            markers[tuple(shared.T)] = np.arange(1, len(shared) + 1)
            found = watershed(-depth, markers, mask=several[areas])
            names = 1 + (shared[:, 0] + y) * width + shared[:, 1] + x
            inside = np.flatnonzero(found)
            numbers.flat[inside] = names[found.flat[inside] - 1]
    return numbers


def _unequal(shape: tuple[int, int], x: int, y: int) -> NDArray[np.float64]:
    """Less than 1e-4 px, another number at each place: which of equal pixels comes first must not depend on blocks."""
    rows, columns = np.arange(y, y + shape[0])[:, None], np.arange(x, x + shape[1])[None]
    return np.asarray((rows * 40_503 + columns * 2_654_435) & 0xFFFF, np.float64) * 1.5e-9
