"""Polygons of a raster as QuPath keeps them: slide px, rounded, valid."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.geometry import mend, polygons_of, round_for_qupath, rounded_for_qupath


def to_slide(xy: NDArray[np.float64], downsample: float) -> NDArray[np.float64]:
    """Scale level px to the slide frame and round them to what QuPath keeps.

    Lines along pixels keep their order on both axes, and so polygons of such lines stay valid.
    """
    return rounded_for_qupath(xy * downsample)


def valid_parts(polygons: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64], int]:
    """Mend the polygons that rounding pinched.

    Args:
        polygons: (n,) rounded.

    Returns:
        (parts, of, mended): valid polygons; which of the given ones each is (of); and how many were mended. Of one
        there may be several parts, or none where nothing was left.
    """
    of = np.arange(len(polygons))
    broken = np.flatnonzero(~shapely.is_valid(polygons))
    if not len(broken):
        return polygons, of, 0
    parts = [(part, number) for number in broken for part in _mended(polygons[number])]
    whole = np.delete(of, broken)
    together = np.concatenate([polygons[whole], np.array([part for part, _ in parts] or [None], object)[: len(parts)]])
    numbers = np.concatenate([whole, np.array([number for _, number in parts], np.int64)])
    order = np.argsort(numbers, kind="stable")
    return together[order], numbers[order], len(broken)


def _mended(polygon: shapely.Polygon) -> list[shapely.Polygon]:
    valid, _ = mend(polygon)
    parts = [round_for_qupath(part) for part in polygons_of(valid)]
    return [part for part in parts if part.is_valid and part.area > 0]
