"""GeoPackage, GeoParquet and Shapefile through geopandas: px of level 0, y down, no coordinate system.

Source: OGC GeoPackage 1.3 and GeoParquet 1.1 as pyogrio and geopandas write them; the ESRI shapefile specification (one
kind of geometry a file, field names of 10 characters, texts of 254 bytes).
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError, MissingExtraError, OutputError, ProjectError
from qpkit.formats.shared.cannot_hold import count_losses, lacking
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.outlines import simple_parts
from qpkit.formats.shared.table_rows import OWN, columns_of, foreign_object, object_of

LACKS: Final = lacking("no shape", "odd class name", "opacity", "control characters")
"""Of GeoPackage and GeoParquet."""

LACKS_SHAPEFILE: Final = lacking(
    "no shape",
    "odd class name",
    "opacity",
    "control characters",
    "blank name",
    "padded name",
    "metadata",
    "not finite measurements",
    "nucleus",
    "hierarchy",
    "mixed shapes",
    instead={"measurements": "measurements rounded to 15 decimals, their names cut to 10 characters"},
)

TOO_LARGE: Final = "measurements of 1e22 and more left out"
CUT_TEXT: Final = "texts cut to 254 bytes"
BESIDE: Final = "lines and points written to files beside it (_lines, _points)"
READ_BESIDE: Final = "objects read from the files of lines and points beside it"
EMPTY: Final = "rows without a shape left out"
NOT_SPATIAL: Final = "tables without shapes left out"
CRS: Final = "coordinate systems ignored, coordinates read as px"

_FIELD_CHARACTERS, _TEXT_BYTES, _HUGE = 10, 254, 1e22
_ODD: Final = re.compile(r"\W", re.ASCII)
"""Characters that GDAL replaces in field names."""

_NOT_IN_SHAPEFILE: Final = ("parent", "nucleus", "metadata", "more")
_FAMILIES: Final = {"Polygon": "", "MultiPolygon": "", "LineString": "_lines", "MultiLineString": "_lines"}


def _geopandas() -> tuple[Any, Any]:
    try:
        import geopandas
        import pyogrio
    except ImportError as err:
        raise MissingExtraError(
            "GeoPackage, GeoParquet and Shapefile need geopandas; install it with: pip install 'qpkit[vector]'"
        ) from err
    return geopandas, pyogrio


def read(path: Path, image: ImageFacts, choices: Choices) -> list[Drawing]:
    """Read all layers of a file as one drawing.

    Raises:
        MissingExtraError: geopandas is not installed.
        FormatError: The file cannot be read, or its shapes have no finite coordinates.
        ProjectError: There is no such file.
    """
    del choices
    if not path.is_file():
        raise ProjectError(f"{path}: there is no such file")
    notes: Counter[str] = Counter()
    objects: list[Annotation] = []
    for name, table in _tables(path, notes):
        objects += _objects(table, name, path, notes)
    for beside in (path.with_name(f"{path.stem}{ending}.shp") for ending in ("_lines", "_points")):
        if path.suffix.lower() == ".shp" and beside.is_file():
            more = [item for name, table in _tables(beside, notes) for item in _objects(table, name, beside, notes)]
            notes[READ_BESIDE] += len(more)
            objects += more
    return [Drawing(objects=tuple(objects), image=image, notes=+notes)]


def _tables(path: Path, notes: Counter[str]) -> list[tuple[str | None, Any]]:
    geopandas, pyogrio = _geopandas()
    try:
        if path.suffix.lower() in (".parquet", ".geoparquet"):
            return [(None, geopandas.read_parquet(path))]
        layers = pyogrio.list_layers(path)
        spatial = [name for name, kind in layers.tolist() if kind is not None]
        notes[NOT_SPATIAL] += len(layers) - len(spatial)
        return [(name if len(spatial) > 1 else None, pyogrio.read_dataframe(path, layer=name)) for name in spatial]
    except Exception as err:  # pyogrio, pyarrow and geopandas each have their own tree of errors
        raise FormatError(f"{path}: cannot be read ({' '.join(str(err).split())})") from err


def _objects(table: Any, layer: str | None, path: Path, notes: Counter[str]) -> list[Annotation]:
    notes[CRS] += table.crs is not None and "undefined" not in str(table.crs.name).lower()
    is_own = set(OWN) <= set(table.columns)
    geometries = table.geometry.to_list()
    names = [name for name in table.columns if name != table.geometry.name]
    columns = [[_plain(value) for value in table[name].to_list()] for name in names]
    kept: dict[int, int] = {}
    objects: list[Annotation] = []
    for index, geometry in enumerate(geometries):
        if geometry is None or geometry.is_empty:
            notes[EMPTY] += 1
            continue
        row = {name: column[index] for name, column in zip(names, columns, strict=True)}
        flat = _checked(shapely.force_2d(geometry), f"{path}: row {index}")
        if isinstance(flat, shapely.MultiPoint) and len(flat.geoms) == 1:
            flat = flat.geoms[0]  # a shapefile with some objects of several points makes all of them such
        kept[index] = len(objects)
        objects.append(object_of(row, flat) if is_own else foreign_object(row, flat, layer))
    return [replace(o, parent=None if o.parent is None else kept.get(o.parent)) for o in objects]


def _plain(value: Any) -> Any:
    """A value of a table as a plain one of Python's; missing ones are None."""
    plain = value.item() if hasattr(value, "item") else value
    return None if plain is None or plain != plain else plain


def _checked(geometry: BaseGeometry, where: str) -> BaseGeometry:
    if not shapely.is_valid_input(geometry) or not all(map(_is_finite, geometry.bounds)):
        raise FormatError(f"{where}: a coordinate is not finite")
    return geometry


def _is_finite(value: float) -> bool:
    return value - value == 0


def write(path: Path, drawings: Sequence[Drawing], choices: Choices) -> Counter[str]:
    """Write one image's objects as a GeoPackage or GeoParquet; returns what was lost.

    Raises:
        MissingExtraError: geopandas is not installed.
        OutputError: The file cannot be written.
    """
    del choices
    (drawing,) = drawings
    objects = _with_shapes(drawing.objects)
    _write_table(path, objects, columns_of(objects))
    return count_losses(drawing.objects, LACKS)


def write_shapefile(path: Path, drawings: Sequence[Drawing], choices: Choices) -> Counter[str]:
    """Write one image's objects as shapefiles: areas into `path`, lines and points beside it; returns what was lost."""
    del choices
    (drawing,) = drawings
    losses = count_losses(drawing.objects, LACKS_SHAPEFILE)
    _clear_beside(path)
    families: dict[str, list[Annotation]] = {"": []}
    for item in drawing.objects:
        for part in _of_one_family(item):
            families.setdefault(_FAMILIES.get(part.geometry.geom_type, "_points"), []).append(part)
    for ending, objects in families.items():
        fitting = [_without_huge(item, losses) for item in objects]
        columns = {k: v for k, v in columns_of(fitting).items() if k not in _NOT_IN_SHAPEFILE}
        losses[BESIDE] += len(objects) if ending else 0
        short = _short_names(list(columns))
        _write_table(
            path.with_name(f"{path.stem}{ending}.shp"),
            objects,
            {short[name]: _short_texts(values, losses) for name, values in columns.items()},
        )
    return +losses


def _without_huge(item: Annotation, losses: Counter[str]) -> Annotation:
    """Leave out numbers that do not fit the 24 characters of a dBase field; GDAL would write another number."""
    kept = {name: value for name, value in item.measurements.items() if not _HUGE <= abs(value) < math.inf}
    losses[TOO_LARGE] += len(kept) < len(item.measurements)
    return replace(item, measurements=kept)


def _clear_beside(path: Path) -> None:
    """Remove the files of lines and points of a shapefile that is being replaced.

    Raises:
        OutputError: There are such files, but not the shapefile that they would belong to.
    """
    for ending in ("_lines", "_points"):
        beside = path.with_name(f"{path.stem}{ending}.shp")
        if beside.exists() and not path.exists():
            raise OutputError(f"{beside}: is there already; choose another name")
        for part in (".shp", ".shx", ".dbf", ".cpg", ".prj") if beside.exists() else ():
            beside.with_suffix(part).unlink(missing_ok=True)


def _with_shapes(objects: Sequence[Annotation]) -> list[Annotation]:
    """Leave out objects without a shape; what was below one moves up to its parent."""
    kept = {index: number for number, index in enumerate(i for i, o in enumerate(objects) if not o.geometry.is_empty)}

    def new_parent(parent: int | None) -> int | None:
        while parent is not None and parent not in kept:
            parent = objects[parent].parent
        return None if parent is None else kept[parent]

    return [replace(objects[index], parent=new_parent(objects[index].parent)) for index in kept]


def _of_one_family(item: Annotation) -> list[Annotation]:
    if item.geometry.geom_type != "GeometryCollection":
        return [] if item.geometry.is_empty else [item]
    return [replace(item, geometry=part) for part in simple_parts(item.geometry)]


def _short_names(names: Sequence[str]) -> dict[str, str]:
    short: dict[str, str] = {}
    for name in names:
        plain = _ODD.sub("_", name)
        made, number = plain[:_FIELD_CHARACTERS], 1
        while made.casefold() in {s.casefold() for s in short.values()}:
            number += 1
            made = f"{plain[: _FIELD_CHARACTERS - 1 - len(str(number))]}_{number}"
        short[name] = made
    return short


def _short_texts(values: list[Any], losses: Counter[str]) -> list[Any]:
    short = [
        v.encode()[:_TEXT_BYTES].decode(errors="ignore") if isinstance(v, str) and len(v.encode()) > _TEXT_BYTES else v
        for v in values
    ]
    losses[CUT_TEXT] += sum(a is not b for a, b in zip(values, short, strict=True))
    return short


def _write_table(path: Path, objects: Sequence[Annotation], columns: dict[str, list[Any]]) -> None:
    """Write into a folder of its own, then move what was made (a shapefile is several files)."""
    geopandas, pyogrio = _geopandas()
    table = geopandas.GeoDataFrame(columns, geometry=[item.geometry for item in objects])
    with tempfile.TemporaryDirectory(prefix="qpkit-") as folder:
        made = Path(folder) / path.name
        try:
            if path.suffix.lower() in (".parquet", ".geoparquet"):
                table.to_parquet(made)
            else:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="'crs' was not provided", category=UserWarning)
                    pyogrio.write_dataframe(table, made, **_options(path, objects))
            for part in sorted(Path(folder).iterdir()):
                shutil.move(part, path.with_name(part.name))
        except Exception as err:  # pyogrio, pyarrow and geopandas each have their own tree of errors
            raise OutputError(f"{path}: cannot be written ({' '.join(str(err).split())})") from err


def _options(path: Path, objects: Sequence[Annotation]) -> dict[str, Any]:
    if path.suffix.lower() == ".gpkg":
        return {"layer": "annotations", "driver": "GPKG", "promote_to_multi": False, "geometry_type": "Unknown"}
    kinds = {item.geometry.geom_type for item in objects}
    points = {"geometry_type": "MultiPoint" if "MultiPoint" in kinds else "Point"}
    return {
        "driver": "ESRI Shapefile",
        "encoding": "UTF-8",
        "promote_to_multi": kinds == {"Point", "MultiPoint"},
        **(points if kinds & {"Point", "MultiPoint"} else {}),
        **({"geometry_type": "Polygon"} if not kinds else {}),
    }
