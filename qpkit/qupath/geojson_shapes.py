"""GeoJSON geometry objects of QuPath's dialect <-> shapely: "plane" and "isEllipse" stand inside the geometry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Plane, RoiShape
from qpkit.core.geometry import QUPATH_DECIMALS, ellipse, mend
from qpkit.errors import FormatError, GeometryError
from qpkit.qupath.rois import NO_ROI, Roi


def read_shape(record: object, *, is_ellipse: bool = False) -> Roi:
    """Read a geometry object.

    Args:
        record: Decoded JSON.
        is_ellipse: It is one even without "isEllipse" (a TMA core).

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
    kind = record.get("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise FormatError(f"its geometry is of type {kind!r}, which QuPath does not import")
    try:
        geometry, shape = read(record.get("coordinates"))
    except (ValueError, TypeError, OverflowError, shapely.errors.GEOSException) as err:
        raise FormatError(f"its {kind} has coordinates that cannot be read ({str(err).strip()})") from err
    if (is_ellipse or record.get("isEllipse") is True) and not geometry.is_empty:
        return Roi(ellipse(*geometry.bounds), "ellipse", _plane(record.get("plane")))
    return Roi(geometry, shape, _plane(record.get("plane")))


def _plane(record: object) -> Plane:
    if record is None:
        return Plane()
    if not isinstance(record, dict):
        raise FormatError("its plane is not an object with c, z and t")
    try:
        return Plane(*(int(record.get(key, default)) for key, default in (("c", -1), ("z", 0), ("t", 0))))
    except (TypeError, ValueError, OverflowError) as err:
        raise FormatError(f"its plane {record} does not hold numbers") from err


def _points(record: Any) -> NDArray[np.float64]:
    """Points (n, 2); a z is dropped, numbers as strings are numbers."""
    if not isinstance(record, list):
        raise ValueError("a list of points is expected")
    points = np.array(record, dtype=np.float64)
    if points.size == 0:
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError("a point needs x and y")
    if not np.isfinite(points).all():
        raise ValueError("a number is missing or not finite")
    return points[:, :2]


def _ring(record: Any) -> NDArray[np.float64]:
    ring = _points(record)
    if len(ring) and (len(ring) < 4 or not np.array_equal(ring[0], ring[-1])):
        raise ValueError("a ring is not closed or has fewer than four points")
    return ring


def _read_polygon(record: Any) -> tuple[BaseGeometry, RoiShape | None]:
    if not isinstance(record, list):
        raise ValueError("a list of rings is expected")
    rings = [ring for ring in map(_ring, record) if len(ring)]
    if not rings:
        return shapely.Polygon(), None
    polygon = shapely.Polygon(rings[0], rings[1:])
    if len(rings) > 1:
        return polygon, "geometry"
    return polygon, "rectangle" if _is_box(rings[0]) else "polygon"


def _is_box(ring: NDArray[np.float64]) -> bool:
    """Say whether a ring is an axis-parallel rectangle, each corner once."""
    if len(ring) != 5:
        return False
    step = np.diff(ring, axis=0) != 0
    return bool((step[:, 0] ^ step[:, 1]).all() and (step[::2] == step[0]).all() and (step[1::2] == step[1]).all())


def _read_multi_polygon(record: Any) -> tuple[BaseGeometry, RoiShape | None]:
    if not isinstance(record, list):
        raise ValueError("a list of polygons is expected")
    parts = [part for part, _ in map(_read_polygon, record) if not part.is_empty]
    if len(parts) == 1:
        return parts[0], "geometry" if parts[0].interiors else "polygon"
    return shapely.MultiPolygon(parts), "geometry"


def _read_line(record: Any) -> tuple[BaseGeometry, RoiShape | None]:
    points = _points(record)
    return shapely.LineString(points), "line" if len(points) == 2 else "polyline"


def _read_lines(record: Any) -> tuple[BaseGeometry, RoiShape | None]:
    if not isinstance(record, list):
        raise ValueError("a list of lines is expected")
    return shapely.MultiLineString([_points(line) for line in record]), "geometry"


def _read_point(record: Any) -> tuple[BaseGeometry, RoiShape | None]:
    return shapely.Point(_points([record])[0]), "points"


def _read_points(record: Any) -> tuple[BaseGeometry, RoiShape | None]:
    points = _points(record)
    return (shapely.Point(points[0]) if len(points) == 1 else shapely.MultiPoint(points)), "points"


_READERS: Final[Mapping[str, Callable[[Any], tuple[BaseGeometry, RoiShape | None]]]] = {
    "Polygon": _read_polygon,
    "MultiPolygon": _read_multi_polygon,
    "LineString": _read_line,
    "MultiLineString": _read_lines,
    "Point": _read_point,
    "MultiPoint": _read_points,
}


def write_shape(geometry: BaseGeometry, shape: RoiShape | None, plane: Plane) -> tuple[dict[str, Any], bool] | None:
    """Make a geometry object that every QuPath from 0.3 to 0.7 imports.

    Returns:
        (record, was_mended): two decimals; polygons valid, a MultiPolygon only from two parts on. None if nothing is
        left to write (an empty shape).

    Raises:
        GeometryError: A GeometryCollection, or coordinates that are not finite.
    """
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise GeometryError("a shape has coordinates that are not finite; QuPath cannot import it")
    if isinstance(geometry, shapely.GeometryCollection) and not geometry.is_empty:
        raise GeometryError("a GeometryCollection cannot be imported by QuPath 0.6; split it into its parts")
    if shape == "ellipse" and not geometry.is_empty:  # only its box counts for 0.4 and later
        geometry = ellipse(*np.round(geometry.bounds, QUPATH_DECIMALS).tolist())
    rounded, mended = _round(geometry)
    if rounded.is_empty:
        return None
    record = shapely.geometry.mapping(rounded)
    made: dict[str, Any] = {"type": record["type"], "coordinates": record["coordinates"]}
    if shape == "ellipse" and isinstance(rounded, shapely.Polygon):
        made["isEllipse"] = True
    if plane != Plane():
        made["plane"] = {"c": plane.c, "z": plane.z, "t": plane.t}
    return made, mended


def _round(geometry: BaseGeometry) -> tuple[BaseGeometry, bool]:
    rounded: BaseGeometry = shapely.transform(geometry, lambda xy: np.round(xy, QUPATH_DECIMALS))
    mended = False
    if isinstance(rounded, shapely.Polygon | shapely.MultiPolygon):
        rounded, mended = mend(rounded)
        if mended:  # mending makes new vertices where edges cross
            again: BaseGeometry = shapely.set_precision(rounded, 10.0**-QUPATH_DECIMALS)
            rounded = mend(shapely.transform(again, lambda xy: np.round(xy, QUPATH_DECIMALS)))[0]
    parts = getattr(rounded, "geoms", [rounded])
    return (parts[0] if len(parts) == 1 else rounded), mended
