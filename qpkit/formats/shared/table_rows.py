"""Annotations <-> rows of a table, for GeoPackage, GeoParquet and Shapefile.

Columns of our own are class, color, name ... and three of JSON; each measurement is a number column of its own name.
What no number column can hold exactly (not finite values, names that columns cannot have) stands in the column "more".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, Kind, Plane, RoiShape
from qpkit.formats.shared.class_names import parse_color, read_class, to_hex
from qpkit.formats.shared.outlines import area_shape
from qpkit.formats.shared.xml_files import printable

OWN: Final = ("class", "kind", "shape")
"""A table with these columns is one that we wrote."""

_COLUMNS: Final = (
    *OWN,
    *("color", "own_color", "name", "id", "z", "t", "c", "locked", "missing", "parent", "nucleus", "metadata", "more"),
)
_RESERVED: Final = {*_COLUMNS, "geometry", "geom", "fid", "ogc_fid", "rowid", "oid", "_rowid_", "classification"}
_CLASS_COLUMNS: Final = ("class", "classification", "class_name", "label", "category", "group")
_NAME_CHARACTERS: Final = 60

_KINDS: Final[tuple[Kind, ...]] = ("annotation", "detection", "cell", "tile", "tma_core")
_SHAPES: Final[tuple[RoiShape, ...]] = ("rectangle", "ellipse", "line", "polygon", "polyline", "points", "geometry")

_FITS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "kind": lambda value: value in _KINDS,
    "shape": lambda value: value in _SHAPES,
    **dict.fromkeys(("color", "own_color"), lambda value: isinstance(value, str) and parse_color(value) is not None),
    **dict.fromkeys(("locked", "missing"), lambda value: value in (0, 1)),
    "parent": lambda value: isinstance(value, int | float) and math.isfinite(value),
    **dict.fromkeys(("class", "name", "id", "nucleus", "metadata", "more"), lambda value: isinstance(value, str)),
}
"""What is in our columns, if nobody else wrote there."""


def columns_of(objects: Sequence[Annotation]) -> dict[str, list[Any]]:
    """Lay objects out as columns; the geometry is not among them.

    Args:
        objects: With shapes; `parent` counts in them.
    """
    names = _measurement_columns(objects)
    columns: dict[str, list[Any]] = {name: [] for name in (*_COLUMNS, *names)}
    for item in objects:
        row = _row(item, names)
        for name, values in columns.items():
            values.append(row.get(name))
    return columns


def _row(item: Annotation, names: Mapping[str, None]) -> dict[str, Any]:
    measured = {k: v for k, v in item.measurements.items() if k in names and math.isfinite(v)}
    more = {k: v for k, v in item.measurements.items() if k not in measured}
    color = None if item.path_class is None else item.path_class.color
    return {
        "class": None if item.path_class is None else printable(str(item.path_class)),
        "kind": item.kind,
        "shape": item.shape,
        "color": None if color is None else to_hex(color),
        "own_color": None if item.color is None else to_hex(item.color),
        "name": None if item.name is None else printable(item.name),
        "id": item.id,
        "z": item.plane.z,
        "t": item.plane.t,
        "c": item.plane.c,
        "locked": int(item.locked),
        "missing": int(item.is_missing),
        # A float, as a column with None becomes one anyway.
        "parent": None if item.parent is None else float(item.parent),
        "nucleus": None if item.nucleus is None else shapely.to_wkt(item.nucleus, rounding_precision=-1),
        "metadata": json.dumps(dict(item.metadata)) if item.metadata else None,
        "more": json.dumps(more) if more else None,
        **measured,
    }


def _measurement_columns(objects: Sequence[Annotation]) -> dict[str, None]:
    """Names that can be columns: printable, not too long, none of ours, and no two alike but for upper case."""
    taken = set(_RESERVED)
    names: dict[str, None] = {}
    for name in dict.fromkeys(key for item in objects for key in item.measurements):
        plain = name.isprintable() and name == name.strip() != "" and len(name) <= _NAME_CHARACTERS and '"' not in name
        if plain and name.casefold() not in taken:
            taken.add(name.casefold())
            names[name] = None
    return names


def object_of(row: Mapping[str, Any], geometry: BaseGeometry) -> Annotation:
    """Read a row that we wrote (a shapefile has not all columns); what somebody added is measurements and metadata.

    Raises:
        ValueError, TypeError, shapely.errors.GEOSException: A plane, a nucleus or JSON that cannot be read.
    """
    added = {
        key: value
        for key, value in row.items()
        if key not in _COLUMNS or not (value is None or key not in _FITS or _FITS[key](value))
    }
    measurements, texts = _numbers_and_texts(added)
    more, metadata, nucleus = (_text(row, key) for key in ("more", "metadata", "nucleus"))
    kind, shape = row.get("kind"), row.get("shape")
    parent = row.get("parent") if "parent" not in added else None
    return Annotation(
        geometry=geometry,
        shape=shape if shape in _SHAPES else None,
        path_class=read_class(_text(row, "class"), parse_color(_text(row, "color")), none=""),  # which has no text here
        kind=kind if kind in _KINDS else "annotation",
        id=_text(row, "id"),
        plane=Plane(*(int(row.get(key, default) or 0) for key, default in (("c", -1), ("z", 0), ("t", 0)))),
        name=_text(row, "name"),
        color=parse_color(_text(row, "own_color")),
        measurements=measurements | (json.loads(more) if more else {}),
        metadata=texts | (json.loads(metadata) if metadata else {}),
        parent=None if parent is None else int(parent),
        locked=row.get("locked") == 1,
        nucleus=None if nucleus is None else shapely.from_wkt(nucleus),
        is_missing=row.get("missing") == 1,
    )


def foreign_object(row: Mapping[str, Any], geometry: BaseGeometry, layer: str | None) -> Annotation:
    """Read a row of another program: numbers are measurements, texts are metadata.

    Args:
        row: Without the geometry.
        geometry: Slide frame.
        layer: The class where no column says it, or None.
    """
    column = next((key for key in row if key.casefold() in _CLASS_COLUMNS and _text(row, key)), None)
    text, color, is_all = _classified(_text(row, column) if column else layer)
    numbers, texts = _numbers_and_texts({key: value for key, value in row.items() if key not in (column, "name")})
    if column and (text is None or not is_all):
        texts[column] = str(row[column])  # a classification that cannot be read, or says more
    own = parse_color(texts.get("color")) if text and color is None else None
    if own is not None:
        del texts["color"]
    name = row.get("name")
    return Annotation(
        geometry=geometry,
        shape=_shape(geometry),
        path_class=read_class(text, color if color is not None else own),
        name=None if name is None else str(name),
        measurements=numbers,
        metadata=texts,
    )


def _numbers_and_texts(row: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Measurements and metadata of columns that are nobody's own; what is missing is in neither."""
    numbers = {k: float(v) for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    # NaT is what pandas has for a date that is missing.
    texts = {k: str(v) for k, v in row.items() if k not in numbers and v is not None and str(v) != "NaT"}
    return {k: v for k, v in numbers.items() if not math.isnan(v)}, texts


def _classified(text: str | None) -> tuple[str | None, int | None, bool]:
    """A class name, or QuPath's own classification object as text, which geopandas makes of QuPath's GeoJSON.

    Returns:
        (name, colour, whether that is all that the text says).
    """
    if text is None or not text.lstrip().startswith("{"):
        return text, None, True
    try:
        record = json.loads(text)
    except ValueError:
        return text, None, True
    name, names, rgb, color = (record.pop(key, None) for key in ("name", "names", "color", "colorRGB"))
    left = [value for value in record.values() if value not in (None, "", [], {})]
    if name is None and isinstance(names, list) and names and all(isinstance(part, str) for part in names):
        name, names = ": ".join(names), None
    if isinstance(rgb, list) and rgb[3:] in ([], [255]):
        rgb = parse_color(f"rgb({','.join(map(str, rgb[:3]))})")
    # As QuPath does, the number before the list.
    found = next((value for value in (color, rgb) if type(value) is int and -(1 << 31) <= value < 1 << 31), None)
    is_all = not left and names is None and (found is not None or (color is None and rgb is None))
    return (name if isinstance(name, str) else None), found, is_all


def _shape(geometry: BaseGeometry) -> RoiShape:
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return area_shape(geometry)
    if geometry.geom_type == "LineString":
        return "line" if len(geometry.coords) == 2 else "polyline"
    return "points" if geometry.geom_type in ("Point", "MultiPoint") else "geometry"


def _text(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    return value if isinstance(value, str) else None
