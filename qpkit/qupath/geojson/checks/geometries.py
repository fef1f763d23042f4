"""Find the rules that a GeoJSON geometry object breaks.

Whether 0.6 and later refuse a polygon is asked of GEOS: QuPath reduces the precision of every shape to 0.01 px, and
the overlay of JTS, from which GEOS's is translated, fails on the same shapes. Being invalid is not enough: a spike
passes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.geometry import QUPATH_DECIMALS
from qpkit.errors import FormatError
from qpkit.qupath.geojson.checks import rules as rules
from qpkit.qupath.geojson.checks.rules import Rule
from qpkit.qupath.geojson.geometry_reader import read_shape
from qpkit.qupath.geojson.gson import double_of, int_of, text_of
from qpkit.qupath.geojson.simple_polygons import read_simple_polygons

_MAX_NESTING: Final = 50
_GRID: Final = 10.0**-QUPATH_DECIMALS


def check_shapes(records: Sequence[object]) -> list[set[Rule]]:
    """Find what is wrong with many geometry objects.

    Args:
        records: Decoded JSON of any kind.

    Returns:
        The broken rules of each; an empty set for a shape that all versions read as it is.
    """
    simple, unsure = read_simple_polygons(records)
    found: list[set[Rule]] = [set() for _ in records]
    at = [index for index, roi in enumerate(simple) if roi is not None]
    polygons = np.array([roi.geometry for roi in simple if roi is not None], dtype=object)
    with np.errstate(all="ignore"):  # huge coordinates
        # Only what is thinner than the grid, on average, can vanish on it.
        thin = shapely.area(polygons) < _GRID * shapely.length(polygons)
        if unsure:
            maybe = np.isin(at, unsure)
            thin[maybe] |= ~shapely.is_valid(polygons[maybe])
        for number in np.flatnonzero(thin):
            found[at[number]].update(_check_area(polygons[number]))
        for index, roi in enumerate(simple):
            if roi is None:
                found[index].update(_check_record(records[index]))
    return found


def check_nucleus(record: object) -> set[Rule]:
    """Find what is wrong with a nucleusGeometry."""
    if not isinstance(record, dict):
        return {rules.NUCLEUS_NULL}
    return check_shapes([record])[0] if "type" in record else {rules.NUCLEUS_EMPTY}


def _check_record(record: object) -> Iterator[Rule]:
    if not isinstance(record, dict):
        yield rules.GEOMETRY_NULL
        return
    if "type" not in record:
        yield rules.GEOMETRY_EMPTY
        return
    structure = set(_check_structure(record, 0))
    yield from structure
    yield from _check_members(record)
    if rules.NOT_FINITE_KEPT not in structure and not any(
        rule.versions == rules.VERSIONS and rule.severity == "refused" for rule in structure
    ):
        try:
            bare = {key: record[key] for key in ("type", "coordinates", "geometries") if key in record}
            yield from _check_area(read_shape(bare).geometry)
        except FormatError:  # what the structure did not tell
            yield rules.POINT_BAD


def _check_members(record: Mapping[str, Any]) -> Iterator[Rule]:
    """Check QuPath's own members of a geometry."""
    if "plane" in record:
        yield from _check_plane(record["plane"])
    if "isEllipse" in record:
        flag = text_of(record["isEllipse"])
        if flag is None:
            yield rules.ELLIPSE_BAD
        elif flag.lower() == "true":
            yield rules.ELLIPSE_LOST


def _check_plane(plane: object) -> Iterator[Rule]:
    numbers = {key: int_of(value) for key, value in plane.items()} if isinstance(plane, dict) else {"": None}
    if not set(numbers) <= {"c", "z", "t"} or None in numbers.values():
        yield rules.PLANE_BAD
        return
    if any(number is not None and number < (-1 if key == "c" else 0) for key, number in numbers.items()):
        yield rules.PLANE_NEGATIVE
    if isinstance(plane, dict) and any(double_of(plane[key]) != number for key, number in numbers.items()):
        yield rules.PLANE_CUT


def _check_structure(record: Mapping[str, Any], depth: int) -> Iterator[Rule]:
    kind = record.get("type")
    if kind == "GeometryCollection" and depth < _MAX_NESTING:
        yield from _check_collection(record, depth)
        return
    coordinates = record.get("coordinates")
    if not isinstance(kind, str) or kind not in _KINDS:
        yield rules.GEOMETRY_TYPE
    elif not isinstance(coordinates, list):
        yield rules.NO_COORDINATES
    else:
        if kind == "MultiPolygon" and depth == 0 and len(coordinates) == 1 and coordinates[0]:
            yield rules.ONE_PART
        _, check = _KINDS[kind]
        yield from check(coordinates)


def _check_collection(record: Mapping[str, Any], depth: int) -> Iterator[Rule]:
    yield rules.COLLECTION
    parts = record.get("geometries")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        yield rules.NO_COORDINATES
        return
    for part in parts:
        yield from _check_structure(part, depth + 1)
    if len({_KINDS.get(str(part.get("type")), (None,))[0] for part in parts}) > 1:
        yield rules.COLLECTION_CUT


def _check_polygon(rings: object) -> Iterator[Rule]:
    if not isinstance(rings, list) or not all(isinstance(ring, list) for ring in rings):
        yield rules.NO_COORDINATES
        return
    if rings and not rings[0] and any(rings):
        yield rules.SHELL_EMPTY
    for ring in filter(None, rings):
        yield from _check_ring(ring, is_alone=len(rings) == 1)


def _check_ring(ring: list[Any], is_alone: bool) -> Iterator[Rule]:
    points = [_point(point) for point in ring]
    if None in points:
        yield rules.POINT_BAD
        return
    known = [point for point in points if point is not None]
    # A NaN is not equal to itself.
    if not all(a == b for a, b in zip(known[0], known[-1], strict=True)):
        yield rules.RING_OPEN
    elif len(ring) < 3:
        yield rules.RING_SHORT
    elif not all(map(math.isfinite, chain.from_iterable(known))):
        yield rules.NOT_FINITE
        yield rules.NOT_FINITE_KEPT
        if is_alone and any(math.isnan(y) for _, y in known):
            yield rules.NOT_FINITE_Y


def _check_lines(lines: list[Any]) -> Iterator[Rule]:
    yield rules.LINES_STUCK
    for line in lines:
        yield from _check_line(line)


def _check_line(points: object) -> Iterator[Rule]:
    if not isinstance(points, list):
        yield rules.NO_COORDINATES
        return
    yield from _check_points(points)
    if len(points) == 1:
        yield rules.LINE_SHORT


def _check_points(points: list[Any]) -> Iterator[Rule]:
    for point in map(_point, points):
        if point is None:
            yield rules.POINT_BAD
        elif not all(map(math.isfinite, point)):
            yield rules.NOT_FINITE_KEPT


def _point(record: object) -> tuple[float, float] | None:
    """Give x and y; None if they, or the z if there is one, are no numbers."""
    if not isinstance(record, list) or len(record) < 2:
        return None
    x, y, *others = map(double_of, record[:3])
    return None if x is None or y is None or None in others else (x, y)


def _check_area(geometry: BaseGeometry) -> Iterator[Rule]:
    """Check a shape that could be built."""
    if geometry.is_empty:
        yield rules.SHAPE_EMPTY
    if geometry.is_empty or shapely.get_dimensions(geometry) < 2:
        return
    reduced: BaseGeometry | None = None
    with contextlib.suppress(shapely.errors.GEOSException):
        reduced = shapely.set_precision(geometry, _GRID)
    if reduced is not None and reduced.is_empty:
        yield rules.SHAPE_EMPTY
        return
    if not geometry.is_valid:
        yield rules.INVALID_KEPT
    if reduced is None:
        yield rules.INVALID


_KINDS: Final[Mapping[str, tuple[int, Callable[[list[Any]], Iterator[Rule]]]]] = {
    "Point": (0, lambda point: _check_points([point])),
    "MultiPoint": (0, _check_points),
    "LineString": (1, _check_line),
    "MultiLineString": (1, _check_lines),
    "Polygon": (2, _check_polygon),
    "MultiPolygon": (2, lambda polygons: chain.from_iterable(map(_check_polygon, polygons))),
}
"""Dimension and check of the coordinates, by type."""
