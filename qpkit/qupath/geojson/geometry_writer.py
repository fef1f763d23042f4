"""Shapes -> geometry text that every QuPath from 0.3 to 0.7 imports, many at once.

Safe are: two decimals, which is what QuPath 0.6 rounds to; polygons that are valid after that; a MultiPolygon only
from two parts on (0.3 to 0.5 fail on one); no GeometryCollection; nothing that is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import DEFAULT_PLANE, Plane, RoiShape
from qpkit.core.geometry import QUPATH_DECIMALS, ellipse, is_ellipse, mend
from qpkit.errors import GeometryError

MAX_COORDINATE: Final = 1e9
"""Level-0 px; far beyond any slide, and the arithmetic of shapes is safe below it."""

_LINES: Final = (1, 2, 5)
_AREAS: Final = (3, 6)
_MULTI: Final = (4, 5, 6)
_COLLECTION: Final = 7


@dataclass(frozen=True, slots=True)
class SafeShape:
    """A GeoJSON geometry object as text, and whether its polygon was invalid."""

    text: str
    was_mended: bool


def safe_shapes(
    geometries: Sequence[BaseGeometry],
    shapes: Sequence[RoiShape | None],
    planes: Sequence[Plane],
    *,
    first: int = 0,
    are_valid: bool = False,
) -> list[SafeShape | None]:
    """Make geometry objects.

    Args:
        geometries: Slide frame.
        shapes: Of the same length; an ellipse that still is one is written as the ellipse in its box, as only the box
            counts for QuPath 0.4 and later.
        planes: Of the same length.
        first: Number of the first object, for messages.
        are_valid: They are known to be valid: only what rounding moves is looked at.

    Returns:
        One for each geometry; None where nothing is left to write (empty, or without extent at two decimals).

    Raises:
        GeometryError: A GeometryCollection, or coordinates that are not finite or beyond MAX_COORDINATE.
    """
    array = np.empty(len(geometries), dtype=object)
    array[:] = list(geometries)
    _check(array, first)
    shapes = [None if s == "ellipse" and not is_ellipse(g) else s for g, s in zip(geometries, shapes, strict=True)]
    for index, shape in enumerate(shapes):
        if shape == "ellipse":
            # The box first: on import QuPath draws the ellipse in the box of these vertices.
            array[index] = ellipse(*np.round(array[index].bounds, QUPATH_DECIMALS).tolist())
    rounded, mended = _round(array, are_valid=are_valid)
    texts = shapely.to_geojson(rounded).tolist()
    kept = (~shapely.is_empty(rounded)).tolist()
    made: list[SafeShape | None] = [
        SafeShape(text, was) if keep else None for text, was, keep in zip(texts, mended.tolist(), kept, strict=True)
    ]
    for index, (safe, shape, plane) in enumerate(zip(made, shapes, planes, strict=True)):
        if safe is not None and (shape == "ellipse" or plane != DEFAULT_PLANE):
            made[index] = SafeShape(_with_members(safe.text, shape, plane), safe.was_mended)
    return made


def _check(array: NDArray[Any], first: int) -> None:
    collections = np.flatnonzero((shapely.get_type_id(array) == _COLLECTION) & ~shapely.is_empty(array))
    if collections.size:
        where = f"object {first + collections[0]}"
        raise GeometryError(f"{where}: a GeometryCollection cannot be imported by QuPath 0.6; split it into its parts")
    coordinates, owner = shapely.get_coordinates(array, return_index=True)
    # Not ">", which NaN would pass.
    beyond = np.flatnonzero(~(np.abs(coordinates) <= MAX_COORDINATE).all(axis=1))
    if beyond.size:
        where = f"object {first + owner[beyond[0]]}"
        raise GeometryError(f"{where}: a shape has coordinates that are not finite, or beyond {MAX_COORDINATE:.0e} px")


def _round(array: NDArray[Any], *, are_valid: bool) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Round all geometries to two decimals, make them valid, and take the part out of those with a single one."""
    rounded: NDArray[Any] = shapely.transform(array, _two_decimals)
    kinds = shapely.get_type_id(rounded)
    mended = np.zeros(len(rounded), dtype=bool)
    invalid = np.zeros(len(rounded), dtype=bool)
    looked_at = _moved(array) if are_valid else np.arange(len(rounded))
    invalid[looked_at] = ~shapely.is_valid(rounded[looked_at])
    for index in np.flatnonzero(invalid & np.isin(kinds, _AREAS)):
        rounded[index], mended[index] = _mend(rounded[index]), True
    for index in np.flatnonzero((invalid & np.isin(kinds, _LINES)) | (kinds == 2)):
        rounded[index] = _lines(rounded[index])
    for index in np.flatnonzero(np.isin(shapely.get_type_id(rounded), _MULTI)):
        rounded[index] = _without_empty_parts(rounded[index])
    return rounded, mended


def _moved(array: NDArray[Any]) -> NDArray[np.int64]:
    """Which geometries have a coordinate of more than two decimals."""
    coordinates, owner = shapely.get_coordinates(array, return_index=True)
    return np.unique(owner[(coordinates != _two_decimals(coordinates)).any(axis=1)])


def _two_decimals(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.round(coordinates, QUPATH_DECIMALS) + 0.0)  # no -0.0


def _mend(polygon: BaseGeometry) -> BaseGeometry:
    made = mend(polygon)[0]  # makes new vertices where edges cross
    # GEOS keeps the polygon valid while it moves the new vertices to the grid; it leaves -0.0.
    precise: BaseGeometry = shapely.set_precision(made, 10.0**-QUPATH_DECIMALS)
    return mend(shapely.transform(precise, _two_decimals))[0]


def _lines(geometry: BaseGeometry) -> BaseGeometry:
    """Keep the lines that have a length; a ring is a line."""
    lines = [shapely.LineString(part.coords) for part in getattr(geometry, "geoms", [geometry]) if part.length > 0]
    return lines[0] if len(lines) == 1 else shapely.MultiLineString(lines)


def _without_empty_parts(geometry: BaseGeometry) -> BaseGeometry:
    parts = [part for part in geometry.geoms if not part.is_empty]
    return parts[0] if len(parts) == 1 else type(geometry)(parts)


def _with_members(text: str, shape: RoiShape | None, plane: Plane) -> str:
    """Add QuPath's own members at the end of a geometry object."""
    # Of a small ellipse rounding may leave another shape.
    ellipse_member = ',"isEllipse":true' if shape == "ellipse" and text.startswith('{"type":"Polygon"') else ""
    plane_member = f',"plane":{{"c":{plane.c},"z":{plane.z},"t":{plane.t}}}' if plane != DEFAULT_PLANE else ""
    return f"{text[:-1]}{ellipse_member}{plane_member}}}"
