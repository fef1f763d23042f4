"""Polygons of a raster as QuPath keeps them: slide px, rounded, valid."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.geometry import mend, polygons_of, round_for_qupath, rounded_for_qupath


def to_slide(
    polygons: NDArray[np.object_], downsample: float, *, follow_pixels: bool
) -> tuple[NDArray[np.object_], NDArray[np.int64], int]:
    """Scale polygons to the slide frame and round them to what QuPath keeps, valid after the rounding.

    Args:
        polygons: (n,) valid, level px.
        downsample: Slide px per level px, >= 1.
        follow_pixels: All their lines run along pixels. Rounding keeps their order on both axes, and so every polygon
            valid; others are looked at, and mended where it pinched them.

    Returns:
        (parts, of, mended): polygons; which of the given ones each is (of); and how many were mended. Of one there may
        be several parts, or none where nothing was left.
    """
    exact = shapely.get_coordinates(polygons) * downsample
    xy = rounded_for_qupath(exact)
    rounded = shapely.set_coordinates(polygons.copy(), xy)
    of = np.arange(len(polygons))
    if follow_pixels or np.array_equal(exact, xy):
        return rounded, of, 0
    broken = np.flatnonzero(~shapely.is_valid(rounded))
    if not len(broken):
        return rounded, of, 0
    parts = [(part, number) for number in broken for part in _mended(rounded[number])]
    whole = np.delete(of, broken)
    together = np.concatenate([rounded[whole], np.array([part for part, _ in parts] or [None], object)[: len(parts)]])
    numbers = np.concatenate([whole, np.array([number for _, number in parts], np.int64)])
    order = np.argsort(numbers, kind="stable")
    return together[order], numbers[order], len(broken)


def _mended(polygon: shapely.Polygon) -> list[shapely.Polygon]:
    valid, _ = mend(polygon)
    parts = [round_for_qupath(part) for part in polygons_of(valid)]
    return [part for part in parts if part.is_valid and part.area > 0]
