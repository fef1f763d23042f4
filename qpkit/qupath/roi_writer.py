"""shapely -> QuPath's ROI proxies, with the ROI class that QuPath itself would choose.

Source: the SerializationProxy classes of qupath.lib.roi; statistics are written as null, as all versions accept.
"""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Plane, RoiShape
from qpkit.errors import GeometryError
from qpkit.qupath.javanodes import Obj, Primitive, Value
from qpkit.qupath.vocabulary import ROI, Vocabulary

_ROUND = 0.02
"""How far the area of an ellipse's polygon may be from pi/4 of its box (24 vertices and more)."""


def write_roi(geometry: BaseGeometry, shape: RoiShape | None, plane: Plane, words: Vocabulary) -> Obj | None:
    """Make the ROI proxy of a shape; None for an empty one of unknown kind.

    Args:
        geometry: Slide frame. Polygons without holes become float32 rings, everything that needs doubles WKB.
        shape: A wish; followed where the geometry is of that shape.
        plane: Channel, z and t.
        words: Of the file that is written.

    Raises:
        GeometryError: A shape that QuPath has no ROI for, or coordinates that are not finite.
    """
    if geometry.is_empty and shape not in ("polygon", "points", "geometry"):
        return None
    coordinates = shapely.get_coordinates(geometry)
    if not np.isfinite(coordinates).all():
        raise GeometryError("a shape has coordinates that are not finite; QuPath cannot show it")
    at: dict[str, Value | Primitive] = {"c": plane.c, "z": plane.z, "t": plane.t, "name": None, "stats": None}
    if shape in ("rectangle", "ellipse") and _fills_its_box(geometry, shape):
        x, y, x2, y2 = geometry.bounds
        name = "RectangleROI" if shape == "rectangle" else "EllipseROI"
        return words.obj(f"{ROI}{name}$SerializationProxy", {**at, "x": x, "y": y, "x2": x2, "y2": y2})
    if shape == "geometry":
        return _wkb(geometry, at, words)
    if isinstance(geometry, shapely.MultiPolygon) and len(geometry.geoms) == 1:
        geometry = geometry.geoms[0]
    if isinstance(geometry, shapely.Polygon) and not geometry.interiors:
        return _columns("PolygonROI", coordinates[:-1], at, words)
    if isinstance(geometry, shapely.LineString):
        return _line(coordinates, shape, at, words)
    if isinstance(geometry, shapely.Point | shapely.MultiPoint):
        return _columns("PointsROI", coordinates, at, words)
    return _wkb(geometry, at, words)


def _fills_its_box(geometry: BaseGeometry, shape: RoiShape) -> bool:
    """Say whether a polygon still is the rectangle or ellipse it is said to be (it may have been edited)."""
    if not isinstance(geometry, shapely.Polygon) or geometry.interiors:
        return False
    x, y, x2, y2 = geometry.bounds
    box = (x2 - x) * (y2 - y)
    if shape == "rectangle":
        return len(geometry.exterior.coords) == 5 and math.isclose(geometry.area, box, rel_tol=1e-12)
    return bool(abs(geometry.area - box * math.pi / 4) <= _ROUND * box)


def _line(
    coordinates: NDArray[np.float64], shape: RoiShape | None, at: dict[str, Value | Primitive], words: Vocabulary
) -> Obj:
    if len(coordinates) != 2 or shape == "polyline":
        return _columns("PolylineROI", coordinates, at, words)
    (x, y), (x2, y2) = coordinates.tolist()
    return words.obj(f"{ROI}LineROI$SerializationProxy", {**at, "x": x, "y": y, "x2": x2, "y2": y2})


def _columns(name: str, points: NDArray[np.float64], at: dict[str, Value | Primitive], words: Vocabulary) -> Obj:
    """Make a proxy with x and y as float32 columns."""
    x, y = (words.primitive_array("F", points[:, k].astype(">f4").tobytes()) for k in (0, 1))
    return words.obj(f"{ROI}{name}$SerializationProxy", {**at, "x": x, "y": y})


def _wkb(geometry: BaseGeometry, at: dict[str, Value | Primitive], words: Vocabulary) -> Obj:
    """Make a GeometryROI: 2D, big endian, as JTS writes it."""
    if isinstance(geometry, shapely.GeometryCollection):
        raise GeometryError("a GeometryCollection has no ROI in QuPath; split it into polygons, lines and points")
    wkb = shapely.to_wkb(shapely.force_2d(geometry), byte_order=0)
    return words.obj(f"{ROI}GeometryROI$WKBSerializationProxy", {**at, "wkb": words.primitive_array("B", wkb)})
