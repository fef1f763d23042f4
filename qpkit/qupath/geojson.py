"""GeoJSON as QuPath writes and reads it, all dialects from v0.2 to v0.7.

Source: qupath.lib.io.GsonTools, PathObjectTypeAdapters, PathIO (v0.2.3 to v0.7.0), and the answers of these versions
to some 150 test files.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from qpkit.core.annotation import Annotation, Kind, PathClass, argb
from qpkit.errors import FormatError, ProjectError
from qpkit.qupath.geojson_shapes import read_shape
from qpkit.qupath.geojson_writer import GeoJsonReport, write_geojson
from qpkit.qupath.objects import OBJECT_ID

__all__ = ["GeoJsonReport", "read_geojson", "write_geojson"]

log = logging.getLogger(__name__)

_KINDS: Final[Mapping[str, Kind]] = {
    "annotation": "annotation",
    "detection": "detection",
    "cell": "cell",
    "tile": "tile",
    "tmacore": "tma_core",
}
_GEOMETRIES: Final = ("Polygon", "MultiPolygon", "LineString", "MultiLineString", "Point", "MultiPoint")
_MAX_NESTING: Final = 200


def read_geojson(path: os.PathLike[str] | str) -> list[Annotation]:
    """Read the objects of a .geojson, .json or gzipped file.

    Accepted are a FeatureCollection, a Feature, an array of them, or bare geometries. Shapes are taken as they are,
    also if QuPath would refuse them as invalid. `parent` is set for childObjects.

    Raises:
        FormatError: Not GeoJSON, or a bad feature; the message has its index and the reason.
        ProjectError: There is no such file.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as err:
        raise ProjectError(f"{file}: cannot be read ({err.strerror})") from err
    objects: list[Annotation] = []
    for index, feature in enumerate(_features(_decode(content, file), file)):
        try:
            _read_feature(feature, None, objects)
        except FormatError as err:
            raise FormatError(f"{file}: feature {index}: {err}") from err
    return objects


def _decode(content: bytes, file: Path) -> Any:
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        content = content.removeprefix(b"\xef\xbb\xbf")
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            return json.loads(content.decode("utf-8"))  # NaN and Infinity, which QuPath 0.2 writes
    except (ValueError, EOFError, OSError, zlib.error, RecursionError) as err:
        raise FormatError(f"{file}: not JSON ({err})") from err


def _features(document: Any, file: Path) -> Iterator[Any]:
    """List the features inside the wrappers that QuPath accepts."""
    for item in document if isinstance(document, list) else [document]:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "FeatureCollection" and isinstance(item.get("features"), list):
            yield from item["features"]
        elif kind == "Feature":
            yield item
        elif kind in _GEOMETRIES:
            yield {"type": "Feature", "geometry": item}
        else:
            raise FormatError(f"{file}: no FeatureCollection, Feature or geometry but {str(kind or item)[:60]!r}")


def _read_feature(feature: Any, parent: int | None, objects: list[Annotation], depth: int = 0) -> None:
    """Append a feature and its childObjects."""
    if not isinstance(feature, dict) or depth > _MAX_NESTING:
        raise FormatError("it is not a Feature object")
    properties = feature.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, dict):
        raise FormatError("its properties are not an object")
    kind = _kind(feature, properties)
    if kind is not None:
        objects.append(_annotation(feature, properties, kind, parent))
        parent = len(objects) - 1
    children = properties.get("childObjects", feature.get("childObjects"))
    for child in children if isinstance(children, list) else []:
        _read_feature(child, parent, objects, depth + 1)


def _annotation(
    feature: Mapping[str, Any], properties: Mapping[str, Any], kind: Kind, parent: int | None
) -> Annotation:
    roi = read_shape(feature.get("geometry"), is_ellipse=kind == "tma_core")
    nucleus = feature.get("nucleusGeometry") if kind == "cell" else None
    name, color = properties.get("name"), properties.get("color", properties.get("colorRGB"))
    metadata = properties.get("metadata")
    return Annotation(
        geometry=roi.geometry,
        shape=roi.shape,
        path_class=_path_class(properties.get("classification")),
        kind=kind,
        id=_uuid(feature.get("id")),
        plane=roi.plane,
        name=None if name is None else str(name),
        color=None if color is None else _color(color, "its color"),
        measurements=_measurements(properties.get("measurements")),
        metadata=_metadata(metadata) if isinstance(metadata, dict) else {},
        parent=parent,
        locked=str(properties.get("isLocked")).lower() == "true",
        nucleus=None if nucleus is None else read_shape(nucleus).geometry,
        is_missing=properties.get("isMissing") is True,
    )


def _kind(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> Kind | None:
    """Find the object type under all its names; None for a root object, which is no object of the user."""
    named = [properties.get(key) for key in ("objectType", "object_type", "type")]
    legacy = feature.get("id")  # v0.2: "PathDetectionObject"
    if isinstance(legacy, str) and legacy.endswith("Object"):
        named.append(legacy)
    text = next((str(item) for item in named if item is not None), "annotation")
    plain = text.replace("_", "").lower().removeprefix("path").removesuffix("object")
    if plain.startswith("root"):
        return None
    if plain not in _KINDS:
        log.warning("object type %r is unknown; read as an annotation, as QuPath does", text)
    return _KINDS.get(plain, "annotation")


def _uuid(value: object) -> str | None:
    """Read an id; QuPath replaces what is no UUID, so it is none."""
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _path_class(record: Any) -> PathClass | None:
    """Read a classification: text, {"name"}, {"names"}, or v0.2's {"name", "parentClass"}."""
    if record is None or record == {}:
        return None
    if isinstance(record, dict):
        names, color = _class_names(record), None
        if names is None:
            return None
        if record.get("colorRGB", record.get("color")) not in (None, []):
            color = _color(record.get("colorRGB", record.get("color")), "its class colour")
    elif isinstance(record, str):
        names, color = list(PathClass.parse(record).names) if record.strip(" :") else [], None
    else:
        raise FormatError(f"its classification is {record!r}; a name or an object is expected")
    try:
        return PathClass(tuple(names), color)
    except ValueError as err:
        raise FormatError(str(err)) from err


def _class_names(record: Mapping[str, Any]) -> list[str] | None:
    names, name = record.get("names"), record.get("name")
    if isinstance(names, list) and all(isinstance(item, str) for item in names):
        return [item.strip() for item in names]
    if name is None:
        return None
    if not isinstance(name, str):
        raise FormatError(f"its class name is {name!r}; a text is expected")
    parent = record.get("parentClass")
    above = _class_names(parent) if isinstance(parent, dict) else None
    own = [part.strip() for part in name.split(":") if part.strip()]
    return [*(above or []), *own]


def _color(value: Any, what: str) -> int:
    """Read [r, g, b], [r, g, b, a] or a signed ARGB integer."""
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 31) <= value < 1 << 31:
        return value
    if not isinstance(value, list) or len(value) not in (3, 4):
        raise FormatError(f"{what} is {value!r}; [red, green, blue] is expected")
    if not all(isinstance(number, int | float) and 0 <= number <= 255 for number in value):
        raise FormatError(f"{what} is {value!r}; numbers from 0 to 255 are expected")
    numbers = [int(number) for number in value]
    opaque = argb(*numbers[:3])
    if len(numbers) == 3 or numbers[3] == 255:
        return opaque
    packed = (numbers[3] << 24) | (opaque & 0xFFFFFF)
    return packed - (1 << 32) if packed >= 1 << 31 else packed


def _measurements(record: Any) -> dict[str, float]:
    """Read a map or a list of {name, value}; nulls, booleans and nested values are left out, as in v0.5+."""
    if isinstance(record, list):
        if not all(isinstance(item, dict) and "name" in item for item in record):
            raise FormatError("its measurements are not a list of {name, value}")
        pairs = [(str(item["name"]), item.get("value")) for item in record]
    else:
        pairs = list(record.items()) if isinstance(record, dict) else []
    try:
        return {name: float(value) for name, value in pairs if not isinstance(value, bool | dict | list | None)}
    except (ValueError, OverflowError) as err:
        raise FormatError(f"a measurement is no number ({err})") from err


def _metadata(record: Mapping[str, Any]) -> dict[str, str]:
    """Read texts; other plain values become text, null and QuPath's reserved key are left out."""
    return {key: _text(value) for key, value in record.items() if value is not None and key != OBJECT_ID}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
