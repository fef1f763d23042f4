"""GeoJSON geometry objects of QuPath's dialect -> shapely: "plane" and "isEllipse" stand inside the geometry.

One at a time and strict; `simple_polygons` reads many simple ones at once, `geometry_writer` writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Plane, RoiShape
from qpkit.core.geometry import are_boxes, ellipse
from qpkit.errors import FormatError
from qpkit.qupath.geojson.gson import double_of, int_of, text_of
from qpkit.qupath.object_values import NO_ROI, Roi

COLLECTION_JOINED: Final = "GeometryCollection made one shape"
POINT_DROPPED: Final = "point whose coordinates are not finite left out"
COLLECTION_CUT: Final = "GeometryCollection cut to its parts of the highest dimension, as QuPath 0.3-0.5 do"

_MAX_NESTING: Final = 50


def read_shape(record: object, *, is_ellipse: bool = False, notes: Counter[str] | None = None) -> Roi:
    """Read a geometry object.

    Args:
        record: Decoded JSON.
        is_ellipse: It is one even without "isEllipse" (a TMA core).
        notes: Counts what was changed.

    Returns:
        Slide frame, and the ROI kind that QuPath's import makes of it: a five-point axis-parallel ring is a
        rectangle, two points are a line. An empty ring (QuPath's export of a zero-size shape) is an empty polygon.

    Raises:
        FormatError: Not a geometry that QuPath imports; the message says why.
    """
    if not isinstance(record, dict):
        raise FormatError("it has no geometry")
    if not record:  # how 0.4 and later export an object without a ROI
        return NO_ROI
    counts: Counter[str] = Counter() if notes is None else notes
    if record.get("type") == "GeometryCollection":
        geometry, shape = _read_collection(record, counts)
    else:
        geometry, shape = _read_plain(record, counts)
    if (is_ellipse or is_true(record.get("isEllipse"))) and not geometry.is_empty:
        # QuPath takes the box of the ring, whatever the ring is.
        return Roi(ellipse(*geometry.bounds), "ellipse", _plane(record.get("plane")))
    return Roi(geometry, shape, _plane(record.get("plane")))


def _read_plain(record: Mapping[str, Any], notes: Counter[str]) -> tuple[BaseGeometry, RoiShape | None]:
    kind = record.get("type")
    read = READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise FormatError(f"its geometry is of type {str(kind)[:60]!r}, which QuPath does not import")
    try:
        return read(record.get("coordinates"), notes)
    except (ValueError, TypeError, OverflowError, shapely.errors.GEOSException) as err:
        raise FormatError(f"its {kind} has coordinates that cannot be read ({str(err).strip()})") from err


def _read_collection(record: Mapping[str, Any], notes: Counter[str]) -> tuple[BaseGeometry, RoiShape | None]:
    """Join the parts of the highest dimension."""
    parts = [part for part in _parts(record, notes, 0) if not part.is_empty]
    if not parts:
        return shapely.Polygon(), None
    highest = max(shapely.get_dimensions(part) for part in parts)
    kept = [part for part in parts if shapely.get_dimensions(part) == highest]
    notes[COLLECTION_JOINED if len(kept) == len(parts) else COLLECTION_CUT] += 1
    single = [geometry for part in kept for geometry in getattr(part, "geoms", [part])]
    if len(single) == 1:
        return single[0], None
    join = (shapely.MultiPoint, shapely.MultiLineString, shapely.MultiPolygon)[highest]
    return join(single), "geometry" if highest else "points"


def _parts(record: Mapping[str, Any], notes: Counter[str], depth: int) -> Iterator[BaseGeometry]:
    geometries = record.get("geometries")
    if not isinstance(geometries, list) or depth > _MAX_NESTING:
        raise FormatError("its GeometryCollection has no list of geometries")
    for part in geometries:
        if not isinstance(part, dict):
            raise FormatError("its GeometryCollection holds something that is no geometry")
        if part.get("type") == "GeometryCollection":
            yield from _parts(part, notes, depth + 1)
        else:
            yield _read_plain(part, notes)[0]


def _plane(record: object) -> Plane:
    if record is None:
        return Plane()
    if not isinstance(record, dict):
        raise FormatError("its plane is not an object with c, z and t")
    numbers = [int_of(record.get(key, default)) for key, default in (("c", -1), ("z", 0), ("t", 0))]
    c, z, t = numbers
    if c is None or z is None or t is None:
        raise FormatError(f"its plane {str(record)[:60]} does not hold numbers")
    if c < -1 or z < 0 or t < 0:
        raise FormatError(f"its plane has c {c}, z {z} and t {t}; z and t are at least 0, c at least -1")
    return Plane(c, z, t)


def _points(record: Any, notes: Counter[str]) -> NDArray[np.float64]:
    """Points (n, 2) that are finite; a z is dropped, numbers as strings are numbers."""
    points = _numbers(record)
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        notes[POINT_DROPPED] += 1
    return points[finite]


def _numbers(record: Any) -> NDArray[np.float64]:
    if not isinstance(record, list):
        raise ValueError("a list of points is expected")
    try:
        points = np.array(record, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        points = _odd_numbers(record)
    if points.size == 0 and not any(record):
        return np.empty((0, 2))
    # For numpy a null is a NaN.
    if points.ndim != 2 or points.shape[1] < 2 or not np.isfinite(points[:, :2]).all():
        points = _odd_numbers(record)
    return points[:, :2]


def _odd_numbers(record: list[Any]) -> NDArray[np.float64]:
    """Points with and without a z, and numbers as Java writes them."""
    rows = [[double_of(value) for value in point[:2]] if isinstance(point, list) else [] for point in record]
    if any(len(row) < 2 for row in rows):
        raise ValueError("a point needs x and y")
    if any(value is None for row in rows for value in row):
        raise ValueError("a number is missing")
    return np.array(rows, dtype=np.float64)


def _ring(record: Any, notes: Counter[str]) -> NDArray[np.float64]:
    whole = _numbers(record)
    # NaN is not equal to NaN: QuPath takes a ring that begins there for an open one.
    if len(whole) and (len(whole) < 3 or not np.array_equal(whole[0], whole[-1])):
        raise ValueError("a ring is not closed or has fewer than three points")
    ring = _points(record, notes) if not np.isfinite(whole).all() else whole
    if len(ring) < len(whole) and len(ring) and not np.array_equal(ring[0], ring[-1]):
        ring = np.vstack([ring, ring[:1]])
    if len(ring) < 3:
        return ring[:0]
    if len(ring) == 3:  # there and back, which QuPath takes; without area, but shapely asks for four points
        ring = ring[[0, 1, 1, 2]]
    return ring


def _read_polygon(record: Any, notes: Counter[str]) -> tuple[BaseGeometry, RoiShape | None]:
    if not isinstance(record, list):
        raise ValueError("a list of rings is expected")
    if record and not record[0] and any(record):
        raise ValueError("its outer ring is empty, but it has holes")
    rings = [_ring(ring, notes) for ring in record]
    if not rings or not len(rings[0]):
        return shapely.Polygon(), None
    polygon = shapely.Polygon(rings[0], [ring for ring in rings[1:] if len(ring)])
    if polygon.interiors:
        return polygon, "geometry"
    return polygon, "rectangle" if len(rings[0]) == 5 and are_boxes(rings[0][None])[0] else "polygon"


def _read_multi_polygon(record: Any, notes: Counter[str]) -> tuple[BaseGeometry, RoiShape | None]:
    if not isinstance(record, list):
        raise ValueError("a list of polygons is expected")
    parts = [part for part, _ in (_read_polygon(item, notes) for item in record) if not part.is_empty]
    if len(parts) == 1:
        return parts[0], "geometry" if parts[0].interiors else "polygon"
    return shapely.MultiPolygon(parts), "geometry"


def _read_line(record: Any, notes: Counter[str]) -> tuple[BaseGeometry, RoiShape | None]:
    points = _line(record, notes)
    return shapely.LineString(points), "line" if len(points) == 2 else "polyline"


def _read_lines(record: Any, notes: Counter[str]) -> tuple[BaseGeometry, RoiShape | None]:
    if not isinstance(record, list):
        raise ValueError("a list of lines is expected")
    if not all(record):
        raise ValueError("a line needs points")
    lines = [line for line in (_line(item, notes) for item in record) if len(line)]
    return shapely.MultiLineString(lines), "geometry"


def _line(record: Any, notes: Counter[str]) -> NDArray[np.float64]:
    points = _points(record, notes)
    # Of a line one point may be finite; a single point in the file is none.
    return points[[0, 0]] if len(points) == 1 < len(record) else points


def _read_point(record: Any, notes: Counter[str]) -> tuple[BaseGeometry, RoiShape | None]:
    if not record:
        raise ValueError("a point needs x and y")
    points = _points([record], notes)
    return (shapely.Point(points[0]) if len(points) else shapely.Point()), "points"


def _read_points(record: Any, notes: Counter[str]) -> tuple[BaseGeometry, RoiShape | None]:
    points = _points(record, notes)
    return (shapely.Point(points[0]) if len(points) == 1 else shapely.MultiPoint(points)), "points"


def is_true(value: object) -> bool:
    """Whether Gson's getAsBoolean says so: of true, and of the text "true" in any case."""
    return (text_of(value) or "").lower() == "true"


READERS: Final[Mapping[str, Callable[[Any, Counter[str]], tuple[BaseGeometry, RoiShape | None]]]] = {
    "Polygon": _read_polygon,
    "MultiPolygon": _read_multi_polygon,
    "LineString": _read_line,
    "MultiLineString": _read_lines,
    "Point": _read_point,
    "MultiPoint": _read_points,
}
