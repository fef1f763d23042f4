"""Rings and points of other formats <-> shapely, and holes where a format has only single rings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, RoiShape
from qpkit.core.geometry import are_boxes, ellipse, is_ellipse

Points = NDArray[np.float64]
"""(n, 2) x and y in slide px."""

TOO_FEW: Final = "outlines of fewer than three different points left out"
"""Note of readers about rings that enclose nothing."""

CUT: Final = "outlines with a cut to a hole read as polygons with holes"


def ring_polygon(points: Points | Sequence[tuple[float, float]]) -> shapely.Polygon | None:
    """Make a polygon of a ring, closed or not.

    Returns:
        The polygon with the ring as it stands (it may cross itself), or None with fewer than three different points.
    """
    ring = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    if len(ring) > 1 and np.array_equal(ring[0], ring[-1]):
        ring = ring[:-1]
    if len(set(map(tuple, ring.tolist()))) < 3:
        return None
    return shapely.Polygon(ring)


def open_ring(polygon: shapely.Polygon) -> Points:
    """The outer ring without its closing point, (n, 2)."""
    return np.asarray(polygon.exterior.coords)[:-1, :2]


def area_shape(geometry: BaseGeometry) -> RoiShape:
    """How QuPath's own import would hold an area: a box is a rectangle, one ring a polygon, the rest a geometry."""
    if not isinstance(geometry, shapely.Polygon) or geometry.interiors:
        return "geometry"
    return "rectangle" if is_box(geometry) else "polygon"


def is_box(polygon: shapely.Polygon) -> bool:
    """Say whether a polygon is an axis-parallel rectangle, each corner once."""
    ring = np.asarray(polygon.exterior.coords)
    if len(ring) != 5 or polygon.interiors:
        return False
    return bool(are_boxes(ring[None, :, :2])[0])


def boxed(points: Points, shape: RoiShape) -> shapely.Polygon | None:
    """Make an area of a ring, or of two corners of its box (a rectangle may come as either, an ellipse as a box).

    Returns:
        None if it encloses nothing.
    """
    if shape != "ellipse" and not (shape == "rectangle" and len(points) == 2):
        return ring_polygon(points)
    if len(points) < 2 or not (np.ptp(points, axis=0) > 0).all():
        return None
    (x, y), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    if shape == "ellipse":
        return ellipse(x, y, x2, y2)
    return shapely.Polygon([(x, y), (x2, y), (x2, y2), (x, y2)])


def nested(rings: Sequence[shapely.Polygon]) -> BaseGeometry | None:
    """Make polygons of rings by the even-odd rule: a ring in an odd number of others is a hole of the smallest one.

    Returns:
        A Polygon or MultiPolygon, or None where the rings cross.
    """
    if not all(ring.is_valid for ring in rings):
        return None
    inside = shapely.STRtree(rings).query(list(rings), predicate="covered_by")
    around = [[int(o) for i, o in inside.T.tolist() if i == index and o != index] for index in range(len(rings))]
    holes: dict[int, list[shapely.Polygon]] = {i: [] for i, owners in enumerate(around) if len(owners) % 2 == 0}
    for index, owners in enumerate(around):
        if index in holes:
            continue
        holes.setdefault(min(owners, key=lambda o: rings[o].area), []).append(rings[index])
    parts = [shapely.Polygon(rings[i].exterior, [hole.exterior for hole in found]) for i, found in holes.items()]
    geometry = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return geometry if geometry.is_valid else None


def simple_parts(geometry: BaseGeometry) -> list[BaseGeometry]:
    """List the polygons, lines and points in a geometry; MultiPoints stay whole, empty ones go."""
    if geometry.is_empty:
        return []
    if isinstance(geometry, shapely.Polygon | shapely.LineString | shapely.Point | shapely.MultiPoint):
        return [geometry]
    return [part for piece in shapely.get_parts(geometry) for part in simple_parts(piece)]


def pieces(item: Annotation, *, split_points: bool) -> list[tuple[BaseGeometry, RoiShape]]:
    """List what an object is made of, for formats that hold one ring, line or point at a time.

    Args:
        item: Any object.
        split_points: Whether several points come one by one.

    Returns:
        Polygons (maybe with holes), lines and points, each with the shape to write; empty ones go. What is said to be
        an ellipse or a rectangle and was edited since is a polygon.
    """
    geometry = item.geometry
    if item.shape == "ellipse" and is_ellipse(geometry):
        return [(geometry, "ellipse")]
    if item.shape == "rectangle" and isinstance(geometry, shapely.Polygon) and is_box(geometry):
        return [(geometry, "rectangle")]
    made: list[tuple[BaseGeometry, RoiShape]] = []
    for part in simple_parts(geometry):
        if isinstance(part, shapely.Polygon):
            made.append((part, "geometry" if part.interiors else "polygon"))
        elif isinstance(part, shapely.LineString):
            made.append((part, "line" if len(part.coords) == 2 and item.shape != "polyline" else "polyline"))
        elif split_points:
            made += [(point, "points") for point in shapely.get_parts(part)]
        else:
            made.append((part, "points"))
    return made


def cut_open(polygon: shapely.Polygon) -> Points:
    """Write a polygon with holes as one ring: to each hole leads a cut that is walked there and back.

    The cut has no width and holes run against the outline, so every program fills the same area, by the even-odd rule
    and by winding numbers.

    Returns:
        (n, 2), not closed; `join_cuts` makes the polygon of it again.
    """
    ring = open_ring(polygon)
    if not polygon.interiors:
        return ring
    tree = shapely.STRtree(shapely.points(ring))
    leaving: dict[int, list[Points]] = {}
    for interior in polygon.interiors:
        hole = np.asarray(interior.coords)[:-1, :2]
        if interior.is_ccw == polygon.exterior.is_ccw:
            hole = hole[::-1]
        corners = shapely.points(hole)
        nearest = np.asarray(tree.nearest(corners))
        start = int(np.argmin(shapely.distance(corners, shapely.points(ring[nearest]))))
        turned = np.roll(hole, -start, axis=0)
        leaving.setdefault(int(nearest[start]), []).append(np.concatenate([turned, turned[:1]]))
    pieces: list[Points] = []
    begun = 0
    for corner in sorted(leaving):
        pieces.append(ring[begun : corner + 1])
        for hole in leaving[corner]:
            pieces += [hole, ring[corner : corner + 1]]
        begun = corner + 1
    return np.concatenate([*pieces, ring[begun:]])


def join_cuts(polygon: shapely.Polygon) -> shapely.Polygon | None:
    """Turn one ring with cuts to holes into a polygon with holes.

    No number is computed: where the ring comes back to a point it has been at, the loop between is taken out; loops of
    two points are the cuts.

    Returns:
        None if the ring has no such loop, or the loops are no holes (a ring that crosses or touches itself).
    """
    points = [(x, y) for x, y in open_ring(polygon).tolist()]
    if len(set(points)) == len(points):
        return None
    path: list[tuple[float, float]] = []
    place: dict[tuple[float, float], int] = {}
    loops: list[list[tuple[float, float]]] = []
    for point in points:
        if point in place:
            start = place[point]
            loops.append(path[start:])
            for passed in path[start + 1 :]:
                del place[passed]
            del path[start + 1 :]
        else:
            place[point] = len(path)
            path.append(point)
    rings = sorted((ring for ring in [path, *loops] if len(ring) > 2), key=lambda r: -shapely.Polygon(r).area)
    if len(rings) < 2:
        return None
    joined = shapely.Polygon(rings[0], rings[1:])
    return joined if joined.is_valid else None
