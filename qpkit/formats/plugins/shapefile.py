"""Shapefile: areas in the file itself, lines and points in files beside it.

Source: the ESRI shapefile specification (one kind of geometry a file, field names of 10 characters, texts of 254
bytes).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from qpkit.core.annotation import Annotation
from qpkit.errors import OutputError
from qpkit.formats.format import Format
from qpkit.formats.shared.cannot_hold import cannot_hold, count_losses
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.outlines import simple_parts
from qpkit.formats.shared.table_rows import columns_of
from qpkit.formats.shared.vector_files import FIELDS, layers_of, read_objects, save_layer, write_table

CANNOT_HOLD: Final = cannot_hold(
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

_FIELD_CHARACTERS, _TEXT_BYTES, _HUGE = 10, 254, 1e22
_ODD: Final = re.compile(r"\W", re.ASCII)
"""Characters that GDAL replaces in field names."""

_LEFT_OUT: Final = ("parent", "nucleus", "metadata", "more")
"""Columns of a table that no shapefile has."""

_FAMILIES: Final = {"Polygon": "", "MultiPolygon": "", "LineString": "_lines", "MultiLineString": "_lines"}


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read a shapefile, and those of lines and points beside it, as one drawing.

    Raises:
        MissingExtraError, FormatError, ProjectError: As for `read_objects`.
    """
    notes: Counter[str] = Counter()
    objects = read_objects(path, layers_of, notes)
    for beside in _beside(path):
        if path.suffix.lower() == ".shp" and beside.is_file():
            more = read_objects(beside, layers_of, notes)
            notes[READ_BESIDE] += len(more)
            objects += more
    return [Drawing(objects=tuple(objects), image=image, notes=+notes)]


def _beside(path: Path) -> list[Path]:
    return [path.with_name(f"{path.stem}{ending}.shp") for ending in ("_lines", "_points")]


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects: areas into `path`, lines and points beside it; returns what was lost.

    Raises:
        MissingExtraError, OutputError: As for `write_table`; or there are files beside it that are not its own.
    """
    (drawing,) = drawings
    losses = count_losses(drawing.objects, CANNOT_HOLD)
    _clear_beside(path)
    families: dict[str, list[Annotation]] = {"": []}
    for item in drawing.objects:
        for part in _of_one_family(item):
            families.setdefault(_FAMILIES.get(part.geometry.geom_type, "_points"), []).append(part)
    for ending, objects in families.items():
        fitting = [_without_huge(item, losses) for item in objects]
        columns = {k: v for k, v in columns_of(fitting).items() if k not in _LEFT_OUT}
        losses[BESIDE] += len(objects) if ending else 0
        short = _short_names(list(columns))
        write_table(
            path.with_name(f"{path.stem}{ending}.shp"),
            objects,
            {short[name]: _short_texts(values, losses) for name, values in columns.items()},
            _save,
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
    for beside in _beside(path):
        if beside.exists() and not path.exists():
            raise OutputError(f"{beside}: is there already; choose another name")
        for part in (".shp", ".shx", ".dbf", ".cpg", ".prj") if beside.exists() else ():
            beside.with_suffix(part).unlink(missing_ok=True)


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
        # Ignored is what is left of a character that the cut goes through.
        v.encode()[:_TEXT_BYTES].decode(errors="ignore") if isinstance(v, str) and len(v.encode()) > _TEXT_BYTES else v
        for v in values
    ]
    losses[CUT_TEXT] += sum(a is not b for a, b in zip(values, short, strict=True))
    return short


def _save(table: Any, path: Path) -> None:
    """Write one file; where points come one by one and in sets, or nothing comes, GDAL is told the kind of geometry."""
    kinds = set(table.geometry.geom_type)
    options: dict[str, Any] = {"promote_to_multi": kinds == {"Point", "MultiPoint"}}
    if kinds & {"Point", "MultiPoint"}:
        options["geometry_type"] = "MultiPoint" if "MultiPoint" in kinds else "Point"
    elif not kinds:
        options["geometry_type"] = "Polygon"
    save_layer(table, path, driver="ESRI Shapefile", encoding="UTF-8", **options)


FORMAT: Final = Format(
    name="shapefile",
    title="Shapefile",
    order=110,
    suffixes=(".shp",),
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    fields=FIELDS,
    rule="areas in B.shp, lines and points in B_lines.shp and B_points.shp, read together; field names of 10 "
    "characters, texts of 254 bytes.",
    source="ESRI's specification",
)
