"""Find the rules that a GeoJSON geometry object breaks.

Whether 0.6 and later refuse a polygon is asked of GEOS: QuPath reduces the precision of every shape to 0.01 px, and
the overlay of JTS, from which GEOS's is translated, fails on the same shapes. Being invalid is not enough: a spike
passes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.geometry import QUPATH_DECIMALS
from qpkit.errors import FormatError
from qpkit.qupath.geojson.checks import rules as rules
from qpkit.qupath.geojson.checks.gson import is_double, is_finite, is_plain, is_whole
from qpkit.qupath.geojson.checks.rules import Rule
from qpkit.qupath.geojson.geometry_reader import read_shape
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
    simple = read_simple_polygons(records)
    found: list[set[Rule]] = [set() for _ in records]
    at = [index for index, roi in enumerate(simple) if roi is not None]
    polygons = np.array([roi.geometry for roi in simple if roi is not None], dtype=object)
    with np.errstate(all="ignore"):  # huge coordinates
        # Only what is thinner than the grid, on average, can vanish on it.
        thin = shapely.area(polygons) < _GRID * shapely.length(polygons)
        odd = ~shapely.is_valid(polygons) | thin
        for number in np.flatnonzero(odd):
            found[at[number]].update(_check_area(polygons[number]))
        for index, roi in enumerate(simple):
            if roi is None:
                found[index].update(_check_record(records[index]))
    return found


def check_nucleus(record: object) -> set[Rule]:
    """Find what is wrong with a nucleusGeometry."""
    if not isinstance(record, dict):
        return {rules.NUCLEUS_NULL}
    return check_shapes([record])[0] if record else {rules.NUCLEUS_EMPTY}


def _check_record(record: object) -> Iterator[Rule]:
    if not isinstance(record, dict):
        yield rules.GEOMETRY_NULL
        return
    if not record:
        yield rules.GEOMETRY_EMPTY
        return
    structure = set(_check_structure(record, 0))
    yield from structure
    yield from _check_members(record)
    if not any(rule.versions == rules.VERSIONS and rule.severity == "refused" for rule in structure):
        try:
            bare = {key: record[key] for key in ("type", "coordinates", "geometries") if key in record}
            yield from _check_area(read_shape(bare).geometry)
        except FormatError:  # what the structure did not tell
            yield rules.POINT_BAD


def _check_members(record: Mapping[str, Any]) -> Iterator[Rule]:
    """Check QuPath's own members of a geometry."""
    if "plane" in record:
        plane = record["plane"]
        if not isinstance(plane, dict) or not set(plane) <= {"c", "z", "t"} or not all(map(is_whole, plane.values())):
            yield rules.PLANE_BAD
    if "isEllipse" in record:
        if not is_plain(record["isEllipse"]):
            yield rules.ELLIPSE_BAD
        elif str(record["isEllipse"]).lower() == "true":
            yield rules.ELLIPSE_LOST


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
        wrong = set(_check_points(ring))
        yield from wrong
        if not wrong:
            if [float(value) for value in ring[0][:2]] != [float(value) for value in ring[-1][:2]]:
                yield rules.RING_OPEN
            elif len(ring) < 3:
                yield rules.RING_SHORT


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
    for point in points:
        if not isinstance(point, list) or len(point) < 2 or not all(map(is_double, point[:3])):
            yield rules.POINT_BAD
        elif not all(map(is_finite, point[:2])):
            yield rules.NOT_FINITE


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
