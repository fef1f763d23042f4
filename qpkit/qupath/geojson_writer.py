"""Write GeoJSON in the one dialect that QuPath 0.3 to 0.7 all import.

One bad object aborts QuPath's whole import, so everything that some version refuses is mended, left out (and counted)
or refused here. Source: the table of import tests, v0.2.3 to v0.7.0.
"""

from __future__ import annotations

import gzip
import math
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.errors import FormatError
from qpkit.files import replace_file
from qpkit.qupath.geojson_shapes import write_shape
from qpkit.qupath.objects import OBJECT_ID

DEFAULT_CLASS_COLOR: Final = argb(128, 128, 128)
"""For a class without a colour, which 0.4 and later refuse. QuPath keeps the colour of a class that it knows."""

_CAMEL: Final = {"tma_core": "tmaCore"}


@dataclass(frozen=True, slots=True)
class GeoJsonReport:
    """What became of the objects.

    Args:
        written: Features in the file.
        mended: Of these, polygons that were invalid (after rounding to 0.01 px) and were repaired.
        left_out: Objects without a shape, or with nothing left of it.
    """

    written: int
    mended: int
    left_out: int


def write_geojson(path: os.PathLike[str] | str, objects: Sequence[Annotation]) -> GeoJsonReport:
    """Write objects flat, as QuPath imports them.

    Coordinates have two decimals; measurements only finite numbers; absent things are left out, never null. A name
    that ends in .gz is compressed (QuPath 0.4 and later read it).

    Raises:
        GeometryError: A shape that QuPath cannot import (GeometryCollection, not finite).
        FormatError: A class name with a line break, or an id that is no UUID.
        OutputError: The file cannot be written; an old one is still there.
    """
    features, mended = [], 0
    for annotation in objects:
        made = _feature(annotation)
        if made is not None:
            features.append(made[0])
            mended += made[1]
    content = orjson.dumps({"type": "FeatureCollection", "features": features})
    file = Path(path)
    replace_file(file, gzip.compress(content, mtime=0) if file.suffix == ".gz" else content)
    return GeoJsonReport(len(features), mended, len(objects) - len(features))


def _feature(annotation: Annotation) -> tuple[dict[str, Any], bool] | None:
    shape = write_shape(annotation.geometry, annotation.shape, annotation.plane)
    if shape is None:
        return None
    feature: dict[str, Any] = {"type": "Feature"}
    if annotation.id is not None:
        feature["id"] = _uuid(annotation.id)
    feature["geometry"], mended = shape
    if annotation.nucleus is not None and annotation.kind == "cell":
        nucleus = write_shape(annotation.nucleus, None, annotation.plane)
        if nucleus is not None:
            feature["nucleusGeometry"], mended = nucleus[0], mended or nucleus[1]
    feature["properties"] = _properties(annotation)
    return feature, mended


def _properties(annotation: Annotation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "objectType": _CAMEL.get(annotation.kind, annotation.kind),
        "object_type": annotation.kind,
    }
    if annotation.name is not None:
        made["name"] = annotation.name
    if annotation.color is not None:
        made["color"] = _rgb(annotation.color)
    if annotation.path_class is not None:
        made["classification"] = _classification(annotation.path_class)
    if annotation.locked:
        made["isLocked"] = True
    if annotation.kind == "tma_core":
        made["isMissing"] = annotation.is_missing
    finite = {name: value for name, value in annotation.measurements.items() if math.isfinite(value)}
    if finite:
        made["measurements"] = [{"name": name, "value": float(value)} for name, value in finite.items()]
    metadata = {key: value for key, value in annotation.metadata.items() if key != OBJECT_ID}
    if metadata:
        made["metadata"] = metadata
    return made


def _classification(path_class: PathClass) -> dict[str, Any]:
    name = str(path_class)
    if "\n" in name or "\r" in name:
        raise FormatError(f"class name {name!r} has a line break, which QuPath refuses; rename the class")
    color = DEFAULT_CLASS_COLOR if path_class.color is None else path_class.color
    return {"name": name, "color": _rgb(color), "colorRGB": color}


def _rgb(color: int) -> list[int]:
    return [(color >> 16) & 255, (color >> 8) & 255, color & 255]


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as err:
        raise FormatError(f"object id {text!r} is not a UUID, which QuPath 0.4 and later need") from err
