"""Lines, points and outlines as areas of a stated width. Slide frame, px; arcs miss the circle by < 1/256 level px."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.geometry import quarter_steps

ARC_ERROR_PX: Final = 1 / 256
"""Level px by which the chords of an arc may miss it; what snapping costs, too."""


def arc_steps(radius: float, downsample: float, *, tolerance: float = ARC_ERROR_PX) -> int:
    """Chords of a quarter circle of `radius` slide px, so that none is off by more than `tolerance` level px."""
    return quarter_steps(radius / downsample, tolerance=tolerance)


def stroke(
    geometry: BaseGeometry, *, line_width: float | None, point_radius: float | None, downsample: float
) -> list[BaseGeometry]:
    """Give the lines and points of a shape an area.

    Args:
        geometry: Slide frame, without areas.
        line_width: Slide px, with round ends and corners; None leaves lines out.
        point_radius: Slide px; None leaves points out.
        downsample: Slide px per level px.

    Returns:
        One area for all lines together, if there are any, and a disc for each point.
    """
    parts = shapely.get_parts(shapely.get_parts(geometry))
    kinds = shapely.get_type_id(parts)
    lines = parts[np.isin(kinds, (shapely.GeometryType.LINESTRING, shapely.GeometryType.LINEARRING))]
    points = parts[kinds == shapely.GeometryType.POINT]
    found: list[BaseGeometry] = []
    if line_width is not None and len(lines):
        half = line_width / 2
        found.append(shapely.MultiLineString(list(lines)).buffer(half, quad_segs=arc_steps(half, downsample)))
    if point_radius is not None and len(points):
        steps = arc_steps(point_radius, downsample)
        found += shapely.buffer(points, point_radius, quad_segs=steps).tolist()
    return [area for area in found if not area.is_empty]


def outline_bands(areas: Sequence[BaseGeometry], width: float, downsample: float) -> NDArray[np.object_]:
    """Bands along the outlines of areas, holes included; half the width lies on either side.

    Args:
        areas: Slide frame, valid; better many small ones than their union, which takes GEOS very much longer.
        width: Slide px of the whole band.
        downsample: Slide px per level px.

    Returns:
        (n,) geometries, one for each area.
    """
    every = np.empty(len(areas), dtype=object)
    every[:] = list(areas)
    bands = shapely.buffer(shapely.boundary(every), width / 2, quad_segs=arc_steps(width / 2, downsample))
    return np.asarray(bands, dtype=object)
