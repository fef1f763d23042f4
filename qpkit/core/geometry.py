"""The two frames of vector data, and the only place that converts between them.

`slide`: level-0 pixels as QuPath stores them. `level`: slide / downsample. Tile-local arrays are core.tiles' business.
"""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry

SNAP = 256
"""Level coordinates are rounded to 1/SNAP px before anything is cut into tiles.

All later arithmetic on them is exact in doubles, so neighbouring tiles see the same vertex (law 1)."""

QUPATH_DECIMALS = 2
"""QuPath 0.6+ rounds GeometryROI vertices to 0.01 px, and every GeoJSON export has two decimals."""


def slide_to_level(geometry: BaseGeometry, downsample: float) -> BaseGeometry:
    """Move a geometry from the slide frame to the level frame and snap it to 1/256 level px.

    Args:
        geometry: Slide frame.
        downsample: Slide pixels per level pixel, > 0.

    Returns:
        The geometry in the level frame; may be invalid if the input was.
    """
    snapped: BaseGeometry = shapely.transform(geometry, lambda xy: _to_grid(xy, downsample))
    return snapped


def slides_to_level(geometries: NDArray[np.object_], downsample: float, *, shift: float = 0.0) -> NDArray[np.object_]:
    """Move many geometries, (n,), as slide_to_level moves one, `shift` slide px to the left and up."""
    if not len(geometries):
        return geometries
    return np.asarray(shapely.transform(geometries, lambda xy: _to_grid(xy - shift, downsample)), dtype=object)


def _to_grid(xy: NDArray[np.float64], downsample: float) -> NDArray[np.float64]:
    return np.asarray(np.round(xy / downsample * SNAP) / SNAP, dtype=np.float64)


def level_to_slide(geometry: BaseGeometry, downsample: float) -> BaseGeometry:
    """Move a geometry from the level frame to the slide frame (no rounding)."""
    moved: BaseGeometry = affine_transform(geometry, [downsample, 0, 0, downsample, 0, 0])
    return moved


def rounded_for_qupath(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round slide coordinates to what every QuPath version keeps: 0.01 px, then float32.

    Polygon vertices are float32 in .qpdata, and QuPath 0.6+ rounds geometries to 0.01 px; a shape that is valid
    after both is valid in every version. Returns doubles that are float32-representable.
    """
    return np.round(xy, QUPATH_DECIMALS).astype(np.float32).astype(np.float64)


def round_for_qupath(geometry: BaseGeometry) -> BaseGeometry:
    """Round the coordinates of a geometry, as `rounded_for_qupath` does."""
    result: BaseGeometry = shapely.transform(geometry, rounded_for_qupath)
    return result


def polygons_of(geometry: BaseGeometry) -> list[shapely.Polygon]:
    """List the non-empty polygons inside a geometry of any kind; lines and points are left out."""
    return [
        part
        for part in shapely.get_parts(shapely.get_parts(shapely.get_parts(geometry)))
        if isinstance(part, shapely.Polygon) and not part.is_empty
    ]


def has_area(geometry: BaseGeometry) -> bool:
    """Say whether a geometry has polygons in it (lines and points have no pixels of their own)."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return not geometry.is_empty
    return bool(polygons_of(geometry))


def mend(geometry: BaseGeometry) -> tuple[BaseGeometry, bool]:
    """Make a geometry valid if it is not, keeping the area parts.

    Returns:
        (geometry, was_mended). A bow tie becomes a MultiPolygon of both lobes, as in QuPath's own getGeometry().
        The result may be empty if no area was left.
    """
    if geometry.is_valid:
        return geometry, False
    valid = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    parts = polygons_of(valid)
    if not parts:
        return shapely.Polygon(), True
    return (parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)), True


def ellipse(x: float, y: float, x2: float, y2: float, *, vertices: int = 360) -> shapely.Polygon:
    """Draw the ellipse in the box (x, y)-(x2, y2) as a polygon whose bounds are the box, bit for bit.

    Args:
        x, y, x2, y2: Corners, x <= x2 and y <= y2.
        vertices: Corners on the curve, a multiple of four.
    """
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    ring = np.stack([(x + x2) / 2 + (x2 - x) / 2 * np.cos(angle), (y + y2) / 2 + (y2 - y) / 2 * np.sin(angle)], axis=1)
    # cos and sin miss 0 and 1 by a bit: corners leave the box, or do not reach it.
    ring = np.clip(ring, (x, y), (x2, y2))
    quarter = vertices // 4
    ring[0, 0], ring[quarter, 1], ring[2 * quarter, 0], ring[3 * quarter, 1] = x2, y2, x, y
    return shapely.Polygon(ring)


_ON_THE_CURVE = 5e-4
"""How far a corner, or the middle of an edge, may be from an ellipse's curve, in half axes.

QuPath's own polygons need it: getGeometry() draws 100 chords, 4.9e-4 inside; Ellipse2D's curves run 2.7e-4 outside."""

_ROUNDED_PX = 1.5 * 10.0**-QUPATH_DECIMALS
"""How far rounding moves a corner from the curve in the polygon's bounds, px: corner, centre and half axis by 0.005."""

_FLAT_PX = 0.5
"""How far an edge may lie from the curve, px, however coarse that is for a small ellipse.

Source: QuPath flattens curves to this (the default of GeometryTools.GeometryConverter)."""


def are_boxes(rings: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which closed rings of four corners, (n, 5, 2), are axis-parallel rectangles with every corner once."""
    moves = np.diff(rings, axis=1) != 0
    along_one_axis = (moves[..., 0] ^ moves[..., 1]).all(axis=1)
    in_turn = (moves[:, 2:] == moves[:, :2]).all(axis=(1, 2)) & (moves[:, 0, 0] != moves[:, 1, 0])
    return np.asarray(along_one_axis & in_turn)


def is_rectangle(geometry: BaseGeometry) -> bool:
    """Say whether a polygon still is the rectangle that it is said to be: it may have been edited since.

    Args:
        geometry: Any frame. Without width or height it is one, as QuPath can hold it; what is empty is none.
    """
    if not isinstance(geometry, shapely.Polygon) or geometry.interiors or len(geometry.exterior.coords) != 5:
        return False
    x, y, x2, y2 = geometry.bounds
    return math.isclose(geometry.area, (x2 - x) * (y2 - y), rel_tol=1e-12)


@np.errstate(over="ignore", invalid="ignore")  # of coordinates near the largest double nothing is an ellipse
def is_ellipse(geometry: BaseGeometry) -> bool:
    """Say whether a polygon still is the ellipse in its bounds, drawn by QuPath or by qpkit.

    Every corner has to lie on the curve, as far as rounding lets one say (0.01 px and float32), and every edge has to
    follow it, to half a pixel or 1/2000 of the half axes. So the polygon of an ellipse passes at any size, any ratio of
    its axes and any fineness that QuPath draws; one that was cut, turned or moved in a corner does not, and no other
    shape of the same area does.

    Args:
        geometry: Slide frame. What is no polygon, has holes, is empty or not finite is no ellipse; an ellipse without
            width or height is.
    """
    if not isinstance(geometry, shapely.Polygon) or geometry.is_empty or geometry.interiors:
        return False
    corners = shapely.get_coordinates(geometry)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if not np.isfinite([low, high]).all():
        return False
    # Not 0 for an ellipse without width or height: it is divided by.
    half = np.maximum((high - low) / 2, 1e-9)
    around = corners - (low + high) / 2
    # Half a step of float32 (24 bits) for corner, centre and half axis each.
    rounded = _ROUNDED_PX + 3 * np.abs([low, high]).max() * 2.0**-24
    if not (_follow(around, half, rounded) and _follow((around[1:] + around[:-1]) / 2, half, _FLAT_PX)):
        return False
    whole = np.pi * half.prod()  # all of that is true of a ring that goes round twice, or half of the way and back
    return bool(abs(geometry.area - whole) <= 2 * _ON_THE_CURVE * whole + _FLAT_PX * geometry.length)


def _follow(points: NDArray[np.float64], half: NDArray[np.float64], slack: float) -> bool:
    """Whether points, (n, 2) px from the centre of an ellipse, can lie on its curve, each moved by up to `slack` px."""
    away, moved = np.abs(points) / half, slack / half
    nearest, farthest = np.maximum(away - moved, 0.0), away + moved
    inside = np.hypot(nearest[:, 0], nearest[:, 1]) <= 1 + _ON_THE_CURVE
    outside = np.hypot(farthest[:, 0], farthest[:, 1]) >= 1 - _ON_THE_CURVE
    return bool((inside & outside).all())


_FINE_ENOUGH_PX = 1 / 512
"""Level px by which chords may lie inside the curve that they stand for."""


def fine_ellipse(geometry: BaseGeometry, downsample: float) -> BaseGeometry:
    """Draw an ellipse with so many corners that it is within 1/512 level px of the curve.

    Args:
        geometry: Slide frame; the polygon of an ellipse whose axes lie along x and y.
        downsample: Slide px per level px.

    Returns:
        The finer polygon; `geometry` itself if it is not the ellipse in its bounds (see `is_ellipse`).
    """
    if not is_ellipse(geometry):
        return geometry
    x, y, x2, y2 = geometry.bounds
    radius_px = max(x2 - x, y2 - y) / 2 / downsample
    return ellipse(x, y, x2, y2, vertices=max(360, 4 * quarter_steps(radius_px, tolerance=_FINE_ENOUGH_PX)))


def quarter_steps(radius: float, *, tolerance: float) -> int:
    """How many chords a quarter of a circle needs to be within `tolerance` of it (at least 4)."""
    fraction = min(tolerance / radius, 1.0) if radius > 0 else 1.0
    return max(4, int(np.ceil(np.pi / 4 / np.arccos(1 - fraction))))
