"""shapely -> QuPath's ROI proxies, with the ROI class that QuPath itself would choose.

Source: the SerializationProxy classes of qupath.lib.roi; statistics are written as null, as all versions accept.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Plane, RoiShape
from qpkit.core.geometry import is_ellipse, is_rectangle
from qpkit.errors import GeometryError
from qpkit.qupath.qpdata.java_classes import NULL, ROI, Vocabulary, counted

# Java writes primitive fields in the order of their names.
_BOX: Final = struct.Struct(">ii4di")
_PLANE: Final = struct.Struct(">3i")
_PROXY: Final = "$SerializationProxy"
_POLYGON: Final = 3
"""shapely.GeometryType.POLYGON."""


class RoiWriter:
    """Writes the ROIs of a list of shapes, in order; what can be done for all of them at once is done first.

    Args:
        geometries: Slide frame. Polygons without holes become float32 rings, everything that needs doubles WKB.
        shapes: Wishes; followed where the geometry is of that shape.

    Raises:
        GeometryError: Coordinates that are not finite.
    """

    def __init__(self, geometries: Sequence[BaseGeometry], shapes: Sequence[RoiShape | None]) -> None:
        self._geometries = geometries
        self._shapes = shapes
        points = shapely.get_coordinates(list(geometries))
        if not np.isfinite(points).all():
            raise GeometryError("a shape has coordinates that are not finite; QuPath cannot show it")
        counts = shapely.get_num_coordinates(list(geometries))
        self._ends = np.cumsum(counts).tolist()
        self._starts = (np.cumsum(counts) - counts).tolist()
        self._points = points
        # What is beyond float32 becomes infinite; the edit is read back and refused then.
        with np.errstate(over="ignore"):
            columns = np.ascontiguousarray(points.T.astype(">f4"))
        self._x, self._y = columns[0].tobytes() if len(points) else b"", columns[1].tobytes() if len(points) else b""
        self._types = shapely.get_type_id(list(geometries)).tolist()
        self._holes = shapely.get_num_interior_rings(list(geometries)).tolist()

    def is_ring(self, number: int) -> bool:
        """Whether one is a polygon without holes and wants to be one."""
        return self._shapes[number] == "polygon" and self._types[number] == _POLYGON and not self._holes[number]

    def ring(self, number: int) -> tuple[bytes, bytes]:
        """x and y of one that is a ring, as `counted` gives them."""
        # QuPath stores rings without the closing vertex.
        start, end = 4 * self._starts[number], max(4 * self._starts[number], 4 * self._ends[number] - 4)
        return counted(self._x[start:end], 4), counted(self._y[start:end], 4)

    def write(self, number: int, plane: Plane, words: Vocabulary) -> None:
        """Write one ROI proxy; null for an empty shape of unknown kind.

        Args:
            number: Place in the list.
            plane: Channel, z and t.
            words: Of the file that is written.

        Raises:
            GeometryError: A shape that QuPath has no ROI for.
        """
        geometry, shape = self._geometries[number], self._shapes[number]
        start, end = self._starts[number], self._ends[number]
        if self.is_ring(number):
            _columns("PolygonROI", *self.ring(number), plane, words)
            return
        if start == end and shape not in ("polygon", "points", "geometry"):
            words.raw(NULL)
            return
        if shape == "rectangle" and is_rectangle(geometry):
            _box("RectangleROI", geometry.bounds, plane, words)
            return
        if shape == "ellipse" and is_ellipse(geometry):
            _box("EllipseROI", geometry.bounds, plane, words)
            return
        if shape == "geometry":
            _wkb(geometry, plane, words)
            return
        if isinstance(geometry, shapely.MultiPolygon) and len(geometry.geoms) == 1:
            geometry = geometry.geoms[0]
        x, y = self._x[4 * start : 4 * end], self._y[4 * start : 4 * end]
        if isinstance(geometry, shapely.Polygon) and not geometry.interiors:
            _columns("PolygonROI", counted(x[:-4], 4), counted(y[:-4], 4), plane, words)
        elif isinstance(geometry, shapely.LineString) and (end - start != 2 or shape == "polyline"):
            _columns("PolylineROI", counted(x, 4), counted(y, 4), plane, words)
        elif isinstance(geometry, shapely.LineString):
            _box("LineROI", self._points[start:end].ravel().tolist(), plane, words)
        elif isinstance(geometry, shapely.Point | shapely.MultiPoint):
            _columns("PointsROI", counted(x, 4), counted(y, 4), plane, words)
        else:
            _wkb(geometry, plane, words)


def _box(name: str, corners: Sequence[float], plane: Plane, words: Vocabulary) -> None:
    """Write a proxy of two corners: c, t, x, x2, y, y2, z, name."""
    x, y, x2, y2 = corners
    words.begin(f"{ROI}{name}{_PROXY}")
    words.pack(_BOX, plane.c, plane.t, x, x2, y, y2, plane.z)
    words.raw(NULL)


def _columns(name: str, x: bytes, y: bytes, plane: Plane, words: Vocabulary) -> None:
    """Write a proxy with x and y as counted float32: c, t, z, then name and statistics where the class has them."""
    words.begin(f"{ROI}{name}{_PROXY}")
    words.pack(_PLANE, plane.c, plane.t, plane.z)
    words.raw(NULL * _NULLS[name])
    words.array("F", x)
    words.array("F", y)


_NULLS: Final = {"PolygonROI": 2, "PointsROI": 1, "PolylineROI": 0}


def _wkb(geometry: BaseGeometry, plane: Plane, words: Vocabulary) -> None:
    """Write a GeometryROI: 2D, big endian, as JTS writes it."""
    if isinstance(geometry, shapely.GeometryCollection):
        raise GeometryError("a GeometryCollection has no ROI in QuPath; split it into polygons, lines and points")
    wkb = shapely.to_wkb(shapely.force_2d(geometry) if geometry.has_z else geometry, byte_order=0)
    words.begin(f"{ROI}GeometryROI$WKBSerializationProxy")
    words.pack(_PLANE, plane.c, plane.t, plane.z)
    words.raw(NULL)
    words.array("B", counted(wkb, 1))
