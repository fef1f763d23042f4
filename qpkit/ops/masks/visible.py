"""Which shapes have a pixel at all: at a coarse resolution small objects fall between the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.ops.masks.scanline import fill_shapes, pack

_SURE: Final = 0.75
"""Area by length of outline above which a valid shape holds a disc with a pixel's centre in it.

The largest disc inside a plane area has a radius of at least area / outline (Bonnesen), and a disc of more than half a
pixel's diagonal, 0.71 px, holds a centre (and a corner)."""

_AT_ONCE: Final = 1 << 22
"""Pixels that are tried at once; the box of a long thin shape can be as large as a slide."""


def have_pixels(
    geometries: Sequence[BaseGeometry], nonzero: Sequence[bool], *, size: tuple[int, int] | None, corner: bool
) -> NDArray[np.bool_]:
    """Say which shapes have a pixel, whatever covers them.

    Args:
        geometries: Level frame.
        nonzero: How each is filled; see `scanline.pack`.
        size: (width, height) of the slide in level px; pixels beside it do not count. None: no edge.
        corner: As for `scanline.fill_shapes`.

    Returns:
        (n,) bool.
    """
    shapes = np.empty(len(geometries), dtype=object)
    shapes[:] = list(geometries)
    found = (shapely.area(shapes) > _SURE * shapely.length(shapes)) & shapely.is_valid(shapes)
    bounds = shapely.bounds(shapes)
    if size is not None and len(shapes):
        found &= (bounds[:, :2] >= 0).all(axis=1) & (bounds[:, 2:] <= size).all(axis=1)
    for number in np.flatnonzero(~found & ~np.isnan(bounds[:, 0])).tolist():
        found[number] = _has_pixel(geometries[number], nonzero[number], bounds[number], size, corner=corner)
    return np.asarray(found)


def _has_pixel(
    geometry: BaseGeometry, nonzero: bool, bounds: NDArray[np.float64], size: tuple[int, int] | None, *, corner: bool
) -> bool:
    # A column more at the right: a cut may be rounded up.
    x, y, x2, y2 = (int(edge) for edge in (*np.floor(bounds[:2]), *np.ceil(bounds[2:]) + 1))
    if size is not None:
        x, y, x2, y2 = max(x, 0), max(y, 0), min(x2, size[0]), min(y2, size[1])
    if x >= x2 or y >= y2:
        return False
    packed, rows = pack([geometry], [1], [nonzero]), max(1, _AT_ONCE // (x2 - x))
    for top in range(y, y2, rows):
        mask = np.zeros((min(rows, y2 - top), x2 - x), dtype=np.uint8)
        fill_shapes(mask, packed, np.zeros(1, np.int64), x=x, y=top, corner=corner)
        if mask.any():
            return True
    return False
