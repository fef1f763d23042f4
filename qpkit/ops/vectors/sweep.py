"""One sweep over a label raster: the borders of its bands, found side by side, put together to whole arcs.

The result does not depend on where bands begin: areas are numbered, and arcs are ordered and directed, as by a sweep
over the whole raster at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.cores import in_order
from qpkit.ops.vectors.arcs import OUTSIDE, Arcs
from qpkit.ops.vectors.band import Band, band_of
from qpkit.ops.vectors.join import joined

_BAND_PX: Final = 1 << 20

Strips = Iterable[tuple[int, NDArray[Any], NDArray[np.uint8] | None]]


def trace(strips: Strips, *, skip: Collection[int]) -> Arcs:
    """Go over a raster once, strip by strip, on as many cores as there are.

    Args:
        strips: (y, labels, weights): the first row, from top to bottom, rows between strips being empty; (h, w)
            integers of 8 to 64 bit, all of one width, negative ones are not traced; (h, w) uint8, whose sums are kept
            by area, or None.
        skip: Labels that are not traced (background, ignore).
    """
    bands = list(in_order(_bands(strips, np.unique(np.array(list(skip), np.int64)))))
    return joined(bands) if bands else trace([(0, np.full((1, 1), OUTSIDE), None)], skip=())


def _bands(strips: Strips, skip: NDArray[np.int64]) -> Iterator[partial[Band]]:
    """What is to be done, a few rows each."""
    rows, above, end = _rows(strips), None, 0
    here = next(rows, None)
    while here is not None:
        following = next(rows, None)
        y, labels, weights = here
        is_last = following is None or following[0] > y + len(labels)
        yield partial(band_of, labels, weights, row=y, above=above if y == end else None, is_last=is_last, skip=skip)
        above, end, here = labels[-1], y + len(labels), following


def _rows(strips: Strips) -> Iterator[tuple[int, NDArray[Any], NDArray[np.uint8] | None]]:
    """Strips of at most so many px."""
    for y, labels, weights in strips:
        rows = max(1, _BAND_PX // max(1, labels.shape[1]))
        for low in range(0, len(labels), rows):
            part = slice(low, low + rows)
            yield y + low, labels[part], None if weights is None else weights[part]
