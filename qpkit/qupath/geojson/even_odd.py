"""Self-crossing areas of GeoJSON made valid as QuPath 0.3 to 0.5 read them.

These make a java.awt.geom.Area of the ring by the even-odd rule, so the middle of a pentagram is empty; later versions
refuse such a file. An area of a .qpdata that crosses itself is another matter: QuPath fills it by the non-zero rule, as
`core.geometry.mend` does.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.geometry import mend, polygons_of

AREAS = ("Polygon", "MultiPolygon")


@np.errstate(all="ignore")  # huge coordinates
def mend_crossing(area: BaseGeometry) -> BaseGeometry:
    """Make an invalid area valid: each ring by the even-odd rule, then holes are cut out and parts joined.

    Args:
        area: A polygon or several.

    Returns:
        Valid polygons. Of a ring that goes round twice nothing would be left, and QuPath shows nothing; it is filled
        instead. `area` as it is if it has no extent.
    """
    parts = [part for polygon in polygons_of(area) if not (part := _mend(polygon)).is_empty]
    made = _joined(parts) if parts else mend(area)[0]
    return area if made.is_empty else made


def _mend(polygon: shapely.Polygon) -> BaseGeometry:
    shell = _even_odd(polygon.exterior)
    holes = [_even_odd(ring) for ring in polygon.interiors]
    return _joined([shell.difference(shapely.union_all(holes))]) if holes else shell


def _even_odd(ring: shapely.LinearRing) -> BaseGeometry:
    """Give the faces of a ring that lie behind an odd number of its edges."""
    faces = shapely.get_parts(shapely.polygonize([shapely.node(ring)]))
    edges = shapely.get_coordinates(ring)
    inside = [_crossings(shapely.get_coordinates(face.representative_point())[0], edges) % 2 == 1 for face in faces]
    return _joined(faces[np.array(inside, dtype=bool)])


def _crossings(point: NDArray[np.float64], edges: NDArray[np.float64]) -> int:
    """How many edges of a ring, (n, 2), a ray from a point to the right crosses."""
    x, y = edges[:, 0] - point[0], edges[:, 1] - point[1]
    below = y < 0
    over = np.flatnonzero(below[1:] != below[:-1])
    at = x[over] - y[over] * (x[over + 1] - x[over]) / (y[over + 1] - y[over])
    return int((at > 0).sum())


def _joined(areas: Iterable[BaseGeometry]) -> BaseGeometry:
    parts = polygons_of(shapely.union_all(list(areas)))
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
