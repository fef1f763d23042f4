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
from qpkit.ops.vectors.part import arcs_of, parted

_BAND_ROWS: Final = 192
"""Of a band, if that makes neither too few px nor too many: the fewer rows, the more pieces have to be put together."""

_BAND_PX: Final = (1 << 20, 1 << 21)
"""Fewest and most."""

Strips = Iterable[tuple[int, NDArray[Any], NDArray[np.uint8] | None]]


def trace(strips: Strips, *, skip: Collection[int]) -> Arcs:
    """Go over a raster once, strip by strip, on as many cores as there are.

    Args:
        strips: (y, labels, weights): the first row, from top to bottom, rows between strips being empty; (h, w)
            integers of 8 to 64 bit, all of one width, negative ones are not traced; (h, w) uint8, whose sums are kept
            by area, or None.
        skip: Labels that are not traced (background, ignore).
    """
    return arcs_of(joined(list(_found(strips, skip))))


def trace_parts(strips: Strips, *, skip: Collection[int], held: int = 1 << 22) -> Iterator[Arcs]:
    """Go over a raster as `trace` does, and give away what is finished on the way.

    Args:
        strips, skip: As for `trace`.
        held: Corners; when there are more, the finished ones leave.

    Yields:
        Areas with all that they touch, along an edge or in a corner; together those that `trace` gives.
    """
    bands: list[Band] = []
    most = held
    for band in _found(strips, skip):
        bands.append(band)
        if sum(len(each.points) for each in bands) > most:
            finished, rest = parted(joined(bands))
            bands = [rest]
            most = max(held, 2 * len(rest.points))
            yield finished
    yield arcs_of(joined(bands))


def _found(strips: Strips, skip: Collection[int]) -> Iterator[Band]:
    """The bands of a raster; of one without rows a blank one."""
    values = np.unique(np.array(list(skip), np.int64))
    found = in_order(_bands(strips, values))
    blank = np.full((1, 1), OUTSIDE)
    yield next(found, None) or band_of(blank, None, row=0, above=None, is_last=True, skip=values)
    yield from found


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
    """Strips of a band's height."""
    for y, labels, weights in strips:
        width = max(1, labels.shape[1])
        least, most = _BAND_PX
        rows = max(1, min(max(_BAND_ROWS * width, least), most) // width)
        for low in range(0, len(labels), rows):
            part = slice(low, low + rows)
            yield y + low, labels[part], None if weights is None else weights[part]
