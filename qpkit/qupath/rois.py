"""QuPath's ROI proxies in a .qpdata -> shapely, many at once.

Source: the SerializationProxy classes of qupath.lib.roi, v0.2.3 to v0.7.0. Cached statistics are ignored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Plane, RoiShape
from qpkit.core.geometry import ellipse
from qpkit.errors import FormatError
from qpkit.qupath.javanodes import Array, Obj, Primitive, Value
from qpkit.qupath.javavalues import fail

_Fields = dict[str, Value | Primitive]

_PREFIX: Final = "qupath.lib.roi."
_MAX_COORDINATE: Final = 1e9
"""Level-0 px; far beyond any slide. Larger or non-finite numbers mean a damaged file."""


@dataclass(frozen=True, slots=True)
class Roi:
    """A ROI: slide-frame geometry exactly as stored, how QuPath holds it, and its plane."""

    geometry: BaseGeometry
    shape: RoiShape | None
    plane: Plane = Plane()


NO_ROI: Final = Roi(shapely.Polygon(), None)
"""An object without a ROI (v0.2.3 and others can write one)."""


def read_rois(nodes: Sequence[Obj | None]) -> list[Roi]:
    """Read ROI proxies.

    Args:
        nodes: Proxy objects; None is an object without a ROI.

    Returns:
        One Roi for each node, in the same order. Rings are closed; polygons may be invalid, as drawn.

    Raises:
        FormatError: An unknown ROI class, or numbers that cannot be a shape.
    """
    rois: list[Roi] = [NO_ROI] * len(nodes)
    polygons: list[tuple[int, Plane, bytes, bytes]] = []
    for index, node in enumerate(nodes):
        if node is None:
            continue
        fields = node.fields()
        if node.class_name == _PREFIX + "PolygonROI$SerializationProxy":
            polygons.append((index, _plane(fields, node), *_xy_bytes(fields, node)))
        else:
            rois[index] = _read_other(node, fields)
    for (index, plane, _, _), ring in zip(polygons, _polygons(polygons, nodes), strict=True):
        rois[index] = Roi(ring, "polygon", plane)
    return rois


def _read_other(node: Obj, fields: _Fields) -> Roi:
    reader = _READERS.get(node.class_name.removeprefix(_PREFIX))
    if reader is None:
        raise fail(f"unknown ROI type {node.class_name!r}; export the objects from QuPath as GeoJSON instead", node)
    shape, read = reader
    return Roi(read(fields, node), shape, _plane(fields, node))


def _plane(fields: _Fields, node: Obj) -> Plane:
    try:
        return Plane(int(_number(fields["c"])), int(_number(fields["z"])), int(_number(fields["t"])))
    except (KeyError, TypeError) as err:
        raise fail(f"a {node.class_name} without a plane", node) from err


def _number(value: Value | Primitive) -> float:
    if not isinstance(value, int | float):
        raise TypeError("not a number")
    return value


def _box(fields: _Fields, node: Obj) -> tuple[float, float, float, float]:
    """Two opposite corners as (x, y, x2, y2), smaller ones first."""
    try:
        x, y, x2, y2 = (float(_number(fields[key])) for key in ("x", "y", "x2", "y2"))
    except (KeyError, TypeError) as err:
        raise fail(f"a {node.class_name} without corners", node) from err
    _check(np.array([x, y, x2, y2]), node)
    return x, y, x2, y2


def _check(numbers: NDArray[np.float64], node: Obj | None) -> None:
    """Refuse coordinates that no slide has."""
    if not bool(np.all(np.abs(numbers) <= _MAX_COORDINATE)):  # also false for NaN
        raise fail("a ROI has a coordinate that is not finite or beyond any slide", node)


def box_polygon(x: float, y: float, x2: float, y2: float) -> shapely.Polygon:
    """Draw a rectangle from its corner (x, y), first along x; may be degenerate."""
    return shapely.Polygon([(x, y), (x2, y), (x2, y2), (x, y2), (x, y)])


def _read_rectangle(fields: _Fields, node: Obj) -> BaseGeometry:
    x, y, x2, y2 = _box(fields, node)
    return box_polygon(min(x, x2), min(y, y2), max(x, x2), max(y, y2))


def _read_ellipse(fields: _Fields, node: Obj) -> BaseGeometry:
    x, y, x2, y2 = _box(fields, node)
    return ellipse(min(x, x2), min(y, y2), max(x, x2), max(y, y2))


def _read_line(fields: _Fields, node: Obj) -> BaseGeometry:
    x, y, x2, y2 = _box(fields, node)
    return shapely.LineString([(x, y), (x2, y2)])


def _read_polyline(fields: _Fields, node: Obj) -> BaseGeometry:
    points = _xy(*_xy_bytes(fields, node), node)
    return shapely.LineString(np.repeat(points, 2, axis=0) if len(points) == 1 else points)


def _read_points(fields: _Fields, node: Obj) -> BaseGeometry:
    points = _xy(*_xy_bytes(fields, node), node)
    return shapely.Point(points[0]) if len(points) == 1 else shapely.MultiPoint(points)


def _read_wkb(fields: _Fields, node: Obj) -> BaseGeometry:
    wkb = fields.get("wkb")
    if not isinstance(wkb, Array) or wkb.code != "B":
        raise fail("a GeometryROI without its geometry", node)
    try:
        with np.errstate(all="ignore"):  # GEOS may raise floating point flags on damaged numbers
            geometry: BaseGeometry = shapely.from_wkb(wkb.data)
    except shapely.errors.GEOSException as err:
        raise fail(f"a GeometryROI cannot be read ({err})", node) from err
    _check(shapely.get_coordinates(geometry).ravel(), node)
    return geometry


def _read_area(fields: _Fields, node: Obj) -> BaseGeometry:
    """Combine the rings of a v0.1 AreaROI by the even-odd rule."""
    all_x, all_y = fields.get("x"), fields.get("y")
    if not isinstance(all_x, Array) or not isinstance(all_y, Array) or len(all_x.values) != len(all_y.values):
        raise fail("an AreaROI without its rings", node)
    rings = []
    for x, y in zip(all_x.values, all_y.values, strict=True):
        points = _xy(*_xy_bytes({"x": x, "y": y}, node), node)
        if len(points) >= 3:
            rings.append(shapely.make_valid(shapely.Polygon(points)))
    return functools.reduce(shapely.symmetric_difference, rings, shapely.Polygon())


_READERS: Final[dict[str, tuple[RoiShape, Callable[[_Fields, Obj], BaseGeometry]]]] = {
    "RectangleROI$SerializationProxy": ("rectangle", _read_rectangle),
    "EllipseROI$SerializationProxy": ("ellipse", _read_ellipse),
    "LineROI$SerializationProxy": ("line", _read_line),
    "PolylineROI$SerializationProxy": ("polyline", _read_polyline),
    "PointsROI$SerializationProxy": ("points", _read_points),
    "GeometryROI$WKBSerializationProxy": ("geometry", _read_wkb),
    "AreaROI$SerializationProxy": ("geometry", _read_area),
}


def _xy_bytes(fields: _Fields, node: Obj) -> tuple[bytes, bytes]:
    x, y = fields.get("x"), fields.get("y")
    if isinstance(x, Array) and isinstance(y, Array) and x.code == y.code == "F" and len(x.data) == len(y.data):
        return x.data, y.data
    raise fail(f"a {node.class_name} whose x and y do not fit together", node)


def _xy(x: bytes, y: bytes, node: Obj | None) -> NDArray[np.float64]:
    """Points (n, 2) from two big-endian float32 columns."""
    with np.errstate(invalid="ignore"):  # a signalling NaN in a damaged file
        points = np.stack([np.frombuffer(x, ">f4"), np.frombuffer(y, ">f4")], axis=1).astype(np.float64)
    _check(points.ravel(), node)
    return points


def _polygons(stored: Sequence[tuple[int, Plane, bytes, bytes]], nodes: Sequence[Obj | None]) -> Sequence[BaseGeometry]:
    """Close all rings and build the polygons in one go.

    Every ring gets its first vertex once more at the end, also if it was drawn closed, so that `ring[:-1]` is what
    the file holds. Rings of one or two vertices are padded; no vertices give an empty polygon.
    """
    made: NDArray[np.object_] = np.full(len(stored), shapely.Polygon(), dtype=object)
    filled = [k for k, item in enumerate(stored) if item[2]]
    if not filled:
        return list(made)
    try:
        flat = _xy(b"".join(stored[k][2] for k in filled), b"".join(stored[k][3] for k in filled), None)
    except FormatError:
        for k in filled:  # find the one to blame
            _xy(stored[k][2], stored[k][3], nodes[stored[k][0]])
        raise
    sizes = np.array([len(stored[k][2]) // 4 for k in filled])
    closed = np.maximum(sizes + 1, 4)
    ring = np.repeat(np.arange(len(filled)), closed)
    place = np.arange(int(closed.sum())) - np.repeat(np.cumsum(closed) - closed, closed)
    place[place >= sizes[ring]] = 0
    source = np.repeat(np.cumsum(sizes) - sizes, closed) + place
    made[filled] = shapely.polygons(shapely.linearrings(flat[source], indices=ring))
    return list(made)
