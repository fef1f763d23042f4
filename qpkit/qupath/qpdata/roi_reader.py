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

from qpkit.core.annotation import DEFAULT_PLANE, Plane, RoiShape
from qpkit.core.geometry import ellipse
from qpkit.qupath.java.grammar import SERIALIZABLE, TC_NULL, TC_OBJECT
from qpkit.qupath.java.tape import JavaClass, Tape
from qpkit.qupath.object_values import NO_ROI

_PREFIX: Final = "qupath.lib.roi."
_MAX_COORDINATE: Final = 1e9
"""Level-0 px; far beyond any slide. Larger or non-finite numbers mean a damaged file."""

_Rows = NDArray[np.int64]
_Geometries = NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Rois:
    """Many ROIs: geometries (n,), their shapes and their planes."""

    geometries: _Geometries
    shapes: list[RoiShape | None]
    planes: list[Plane]


def read_rois(tape: Tape, rows: _Rows) -> Rois:
    """Read ROI proxies.

    Args:
        tape: The file.
        rows: (n,) rows of the proxies, references to them, null, or -1 for an object without a ROI.

    Returns:
        In the same order. Rings are closed; polygons may be invalid, as drawn.

    Raises:
        FormatError: An unknown ROI class, or numbers that cannot be a shape.
    """
    count = len(rows)
    found = Rois(np.full(count, NO_ROI.geometry, object), [None] * count, [DEFAULT_PLANE] * count)
    originals = tape.originals(np.maximum(rows, 0))
    there = np.flatnonzero((rows >= 0) & (tape.kind[originals] != TC_NULL))
    if np.any(tape.kind[originals[there]] != TC_OBJECT):
        raise tape.fail("a ROI is expected", int(originals[there][tape.kind[originals[there]] != TC_OBJECT][0]))
    classes = tape.class_of(originals[there])
    for number in np.unique(classes):
        places = there[classes == number]
        _read_class(tape, originals[places], tape.classes[number].name, places, found)
    return found


def _read_class(tape: Tape, rows: _Rows, name: str, places: NDArray[np.intp], found: Rois) -> None:
    """Read all ROIs of one class."""
    reader = _READERS.get(name.removeprefix(_PREFIX)) if name.startswith(_PREFIX) else None
    if reader is None:
        raise tape.fail(f"unknown ROI type {name!r}; export the objects from QuPath as GeoJSON instead", int(rows[0]))
    shape, read = reader
    found.geometries[places] = read(tape, rows)
    planes = _planes(tape, rows)
    if len(places) == len(found.shapes):
        found.shapes[:], found.planes[:] = [shape] * len(places), planes
        return
    for place, plane in zip(places.tolist(), planes, strict=True):
        found.shapes[place] = shape
        found.planes[place] = plane


def _planes(tape: Tape, rows: _Rows) -> list[Plane]:
    known: dict[tuple[int, int, int], Plane] = {(-1, 0, 0): DEFAULT_PLANE}
    numbers = _numbers(tape, rows, "c", "z", "t").astype(int)
    if np.all(numbers == (-1, 0, 0)):
        return [DEFAULT_PLANE] * len(rows)
    planes = []
    for key in map(tuple, numbers.tolist()):
        if key not in known:
            known[key] = Plane(*key)
        planes.append(known[key])
    return planes


def _numbers(tape: Tape, rows: _Rows, *names: str) -> NDArray[np.float64]:
    """Read int and double fields of objects of one class, (n, names)."""
    desc = _flat_class(tape, rows)
    at, columns = 0, {}
    bytes_ = np.frombuffer(tape.data, np.uint8)
    first = np.asarray(tape.body[rows], np.int64)[:, None]
    for code, name, kind in desc.fields:
        width = {"I": 4, "D": 8}.get(code)
        if kind is not None or width is None:
            break
        if name in names:
            with np.errstate(invalid="ignore"):
                # Indexing copies the bytes, so that fields at odd places can be viewed as numbers.
                raw = bytes_[first + at + np.arange(width)].view(">i4" if code == "I" else ">f8")
                columns[name] = raw[:, 0].astype(np.float64)
        at += width
    if len(columns) != len(set(names)):
        raise tape.fail(f"a {desc.name} without {', '.join(names)}", int(rows[0]))
    return np.stack([columns[name] for name in names], axis=1)


def _fields(tape: Tape, rows: _Rows, *names: str) -> list[_Rows]:
    """Find object fields of objects of one class: rows of the originals, (n,) for each name."""
    desc = _flat_class(tape, rows)
    found, child = {}, np.asarray(tape.after[rows + 1], np.int64)
    for name in desc.objects:
        found[name] = tape.originals(child)
        child = np.asarray(tape.after[child], np.int64)
    if not found.keys() >= set(names):
        raise tape.fail(f"a {desc.name} without {', '.join(names)}", int(rows[0]))
    return [found[name] for name in names]


def _flat_class(tape: Tape, rows: _Rows) -> JavaClass:
    """The class of all these rows, whose fields are all its own."""
    desc = tape.java_class(int(rows[0]))
    if desc.superclass >= 0 or desc.flags != SERIALIZABLE:
        raise tape.fail(f"a {desc.name} that is laid out in an unknown way", int(rows[0]))
    return desc


def _check(points: NDArray[np.float64], sizes: NDArray[np.int64] | int, owners: _Rows, tape: Tape) -> None:
    """Refuse coordinates that no slide has; `sizes` says how many points each row of `owners` has."""
    if len(points) and not (points.max() <= _MAX_COORDINATE and points.min() >= -_MAX_COORDINATE):  # false for NaN
        bad = ~np.all(np.abs(points) <= _MAX_COORDINATE, axis=1)
        owner = int(np.repeat(owners, sizes)[bad][0])
        raise tape.fail("a ROI has a coordinate that is not finite or beyond any slide", owner)


def _boxes(tape: Tape, rows: _Rows) -> NDArray[np.float64]:
    """Two opposite corners as (x, y, x2, y2) each, as stored."""
    boxes = _numbers(tape, rows, "x", "y", "x2", "y2")
    _check(boxes.reshape(-1, 2), 2, rows, tape)
    return boxes


def _read_rectangles(tape: Tape, rows: _Rows) -> _Geometries:
    boxes = _boxes(tape, rows)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    corners = np.concatenate([low, high], axis=1)[:, [0, 1, 2, 1, 2, 3, 0, 3, 0, 1]]
    return np.asarray(shapely.polygons(corners.reshape(-1, 5, 2)))


def _read_ellipses(tape: Tape, rows: _Rows) -> _Geometries:
    made = [ellipse(min(x, x2), min(y, y2), max(x, x2), max(y, y2)) for x, y, x2, y2 in _boxes(tape, rows).tolist()]
    return np.array(made, object)


def _read_lines(tape: Tape, rows: _Rows) -> _Geometries:
    return np.asarray(shapely.linestrings(_boxes(tape, rows).reshape(-1, 2, 2)))


def _columns(tape: Tape, rows: _Rows) -> tuple[list[bytes], list[bytes]]:
    """Find float32 columns x and y of each row, as bytes."""
    xs, ys = (tape.arrays(found, "F", owners=rows) for found in _fields(tape, rows, "x", "y"))
    _check_lengths(xs, ys, rows, tape)
    return xs, ys


def _check_lengths(xs: Sequence[bytes], ys: Sequence[bytes], owners: _Rows, tape: Tape) -> None:
    if list(map(len, xs)) != list(map(len, ys)):
        owner = next(int(row) for x, y, row in zip(xs, ys, owners, strict=True) if len(x) != len(y))
        raise tape.fail(f"a {tape.java_class(owner).name} whose x and y do not fit together", owner)


def _points(
    xs: Sequence[bytes], ys: Sequence[bytes], sizes: NDArray[np.int64], owners: _Rows, tape: Tape
) -> NDArray[np.float64]:
    """Decode columns: all points, (m, 2)."""
    points = np.empty((int(sizes.sum()), 2))
    with np.errstate(invalid="ignore"):  # a signalling NaN in a damaged file
        for axis, column in enumerate((xs, ys)):
            points[:, axis] = np.frombuffer(b"".join(column), ">f4")
    _check(points, sizes, owners, tape)
    return points


def _sizes(columns: Sequence[bytes]) -> NDArray[np.int64]:
    return np.fromiter(map(len, columns), np.int64, len(columns)) // 4


def _read_polygons(tape: Tape, rows: _Rows) -> _Geometries:
    """Close all rings and build the polygons in one go.

    Every ring gets its first vertex once more at the end, also if it was drawn closed, so that `ring[:-1]` is what
    the file holds. Rings of one or two vertices are padded; no vertices give an empty polygon.
    """
    xs, ys = ([c + c[:4] if len(c) > 8 else _closed(c) for c in column] for column in _columns(tape, rows))
    sizes = _sizes(xs)
    points = _points(xs, ys, sizes, rows, tape)
    made: _Geometries = np.full(len(rows), shapely.Polygon(), object)
    filled = np.flatnonzero(sizes)
    if len(filled):
        index = np.repeat(np.arange(len(filled)), sizes[filled])
        made[filled] = shapely.polygons(shapely.linearrings(points, indices=index))
    return made


def _closed(column: bytes) -> bytes:
    """Repeat the first number of a ring's column at its end, up to four numbers."""
    return column + column[:4] * max(1, 4 - len(column) // 4)


def _read_polylines(tape: Tape, rows: _Rows) -> _Geometries:
    # A polyline of one vertex, for which shapely wants two.
    parts = [np.repeat(part, 2, axis=0) if len(part) == 1 else part for part in _separate(tape, rows)]
    return np.array([shapely.LineString(part) for part in parts], object)


def _read_points(tape: Tape, rows: _Rows) -> _Geometries:
    parts = _separate(tape, rows)
    made: _Geometries = np.empty(len(parts), object)
    made[:] = [shapely.Point(part[0]) if len(part) == 1 else shapely.MultiPoint(part) for part in parts]
    return made


def _separate(tape: Tape, rows: _Rows) -> list[NDArray[np.float64]]:
    """Points of each row, (n, 2) each."""
    xs, ys = _columns(tape, rows)
    sizes = _sizes(xs)
    return np.split(_points(xs, ys, sizes, rows, tape), np.cumsum(sizes)[:-1])


def _read_wkb(tape: Tape, rows: _Rows) -> _Geometries:
    (found,) = _fields(tape, rows, "wkb")
    blobs = tape.arrays(found, "B", owners=rows)
    with np.errstate(all="ignore"):  # GEOS may raise floating point flags on damaged numbers
        geometries: _Geometries = np.empty(len(rows), object)
        try:
            geometries[:] = shapely.from_wkb(blobs)
        except shapely.errors.GEOSException:
            # GEOS does not say which one it was.
            for row, blob in zip(rows.tolist(), blobs, strict=True):
                _one_wkb(blob, row, tape)
            raise
    if any(geometry is None for geometry in geometries):
        raise tape.fail("a GeometryROI holds no geometry", int(rows[[g is None for g in geometries]][0]))
    del blobs  # some areas have millions of corners
    _check(shapely.get_coordinates(geometries), shapely.get_num_coordinates(geometries), rows, tape)
    return geometries


def _one_wkb(blob: bytes, row: int, tape: Tape) -> None:
    """Blame the geometry that cannot be read."""
    try:
        shapely.from_wkb(blob)
    except shapely.errors.GEOSException as err:
        raise tape.fail(f"a GeometryROI cannot be read ({err})", row) from err


def _read_areas(tape: Tape, rows: _Rows) -> _Geometries:
    return np.array([_read_area(tape, row) for row in rows.tolist()], object)


def _read_area(tape: Tape, row: int) -> BaseGeometry:
    """Combine the rings of a v0.1 AreaROI by the even-odd rule."""
    owner = np.array([row])
    arrays = [tape.view(int(found[0])) for found in _fields(tape, owner, "x", "y")]
    if not all(view.is_array for view in arrays):
        raise tape.fail("an AreaROI without its rings", row)
    xs, ys = (np.array([ring.row for ring in view.elements()], np.int64) for view in arrays)
    if len(xs) != len(ys):
        raise tape.fail("an AreaROI without its rings", row)
    owners = np.repeat(owner, len(xs))
    x, y = (tape.arrays(column, "F", owners=owners) for column in (xs, ys))
    _check_lengths(x, y, owners, tape)
    sizes = _sizes(x)
    parts = np.split(_points(x, y, sizes, owners, tape), np.cumsum(sizes)[:-1])
    # GEOS may refuse to combine rings that cross themselves.
    rings = [shapely.make_valid(shapely.Polygon(part)) for part in parts if len(part) >= 3]
    return functools.reduce(shapely.symmetric_difference, rings, shapely.Polygon())


_READERS: Final[dict[str, tuple[RoiShape, Callable[[Tape, _Rows], _Geometries]]]] = {
    "RectangleROI$SerializationProxy": ("rectangle", _read_rectangles),
    "EllipseROI$SerializationProxy": ("ellipse", _read_ellipses),
    "LineROI$SerializationProxy": ("line", _read_lines),
    "PolygonROI$SerializationProxy": ("polygon", _read_polygons),
    "PolylineROI$SerializationProxy": ("polyline", _read_polylines),
    "PointsROI$SerializationProxy": ("points", _read_points),
    "GeometryROI$WKBSerializationProxy": ("geometry", _read_wkb),
    "AreaROI$SerializationProxy": ("geometry", _read_areas),
}
