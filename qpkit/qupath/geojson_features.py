"""GeoJSON features of all QuPath dialects, v0.2 to v0.7 -> Annotations.

Source: qupath.lib.io.GsonTools, PathObjectTypeAdapters, PathIO (v0.2.3 to v0.7.0), and the answers of these versions
to some 150 test files.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from qpkit.core.annotation import DEFAULT_PLANE, Annotation, Kind, PathClass, argb
from qpkit.errors import FormatError
from qpkit.qupath.geojson_bulk import read_simple_polygons
from qpkit.qupath.geojson_shapes import read_shape
from qpkit.qupath.objects import OBJECT_ID
from qpkit.qupath.rois import Roi

GEOMETRIES: Final = (
    "Polygon",
    "MultiPolygon",
    "LineString",
    "MultiLineString",
    "Point",
    "MultiPoint",
    "GeometryCollection",
)

UNKNOWN_TYPE: Final = "object type unknown, read as an annotation as QuPath does"

_KINDS: Final[Mapping[str, Kind]] = {
    "annotation": "annotation",
    "detection": "detection",
    "cell": "cell",
    "tile": "tile",
    "tmacore": "tma_core",
}
_MAX_NESTING: Final = 200
_CANONICAL_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_NO_NUMBER: Final = (bool, dict, list, type(None))

_Flat = tuple[int, Mapping[str, Any], Mapping[str, Any], Kind, int | None]
"""Number of its feature in the document, the feature, its properties, its kind, its parent."""


class FeatureReader:
    """Reads the features of a file, batch by batch.

    Args:
        notes: Counts what was changed.
    """

    def __init__(self, notes: Counter[str]) -> None:
        self._notes = notes
        self._classes: dict[str, PathClass | None] = {}
        self._objects = 0

    def read(self, features: Sequence[Any], *, source: str, first: int) -> list[Annotation]:
        """Read features and their childObjects, depth first.

        Args:
            features: Decoded JSON of any kind.
            source: The document, for messages.
            first: Number of the first feature in the document.

        Raises:
            FormatError: A bad feature; the message has its number and the reason.
        """
        flat: list[_Flat] = []
        made: list[Annotation] = []
        reached = first
        try:
            for number, feature in enumerate(features, first):
                reached = number
                self._flatten(number, feature, None, flat)
            rois = read_simple_polygons([feature.get("geometry") for _, feature, _, _, _ in flat])
            for (number, feature, properties, kind, parent), roi in zip(flat, rois, strict=True):
                reached = number
                made.append(self._annotation(feature, properties, kind, parent, roi))
        except FormatError as err:
            raise FormatError(f"{source}: feature {reached}: {err}") from err
        self._objects += len(made)
        return made

    def _flatten(self, number: int, feature: Any, parent: int | None, flat: list[_Flat], depth: int = 0) -> None:
        """Append a feature and its childObjects."""
        if not isinstance(feature, dict) or depth > _MAX_NESTING:
            raise FormatError("it is not a Feature object")
        properties = feature.get("properties")
        if properties is None:
            properties = {}
        if not isinstance(properties, dict):
            raise FormatError("its properties are not an object")
        kind = self._kind(feature, properties)
        if kind is not None:
            flat.append((number, feature, properties, kind, parent))
            parent = self._objects + len(flat) - 1
        for child in _children(feature, properties):
            self._flatten(number, child, parent, flat, depth + 1)

    def _kind(self, feature: Mapping[str, Any], properties: Mapping[str, Any]) -> Kind | None:
        """Find the object type under all its names; None for a root object, which is no object of the user."""
        text = type_name(feature, properties)
        plain = text.replace("_", "").lower().removeprefix("path").removesuffix("object")
        if plain.startswith("root"):
            return None
        if plain not in _KINDS:
            self._notes[UNKNOWN_TYPE] += 1
        return _KINDS.get(plain, "annotation")

    def _annotation(
        self,
        feature: Mapping[str, Any],
        properties: Mapping[str, Any],
        kind: Kind,
        parent: int | None,
        simple: Roi | None,
    ) -> Annotation:
        is_core = kind == "tma_core"
        roi = simple
        if roi is None or is_core:
            roi = read_shape(feature.get("geometry"), is_ellipse=is_core, notes=self._notes)
        nucleus = feature.get("nucleusGeometry") if kind == "cell" else None
        name, color = properties.get("name"), properties.get("color", properties.get("colorRGB"))
        metadata = properties.get("metadata")
        return Annotation(
            geometry=roi.geometry,
            shape=roi.shape,
            path_class=self._path_class(properties.get("classification")),
            kind=kind,
            id=_uuid(feature.get("id")),
            plane=DEFAULT_PLANE if simple is not None else roi.plane,
            name=None if name is None else str(name),
            color=None if color is None else _color(color, "its color"),
            measurements=_measurements(properties.get("measurements")),
            metadata=_metadata(metadata) if isinstance(metadata, dict) else {},
            parent=parent,
            locked="isLocked" in properties and str(properties["isLocked"]).lower() == "true",
            nucleus=None if nucleus is None else read_shape(nucleus, notes=self._notes).geometry,
            is_missing=is_core and properties.get("isMissing") is True,
        )

    def _path_class(self, record: Any) -> PathClass | None:
        """Read each classification once; a file has few."""
        if record is None:
            return None
        key = repr(record)
        if key not in self._classes:
            self._classes[key] = _path_class(record)
        return self._classes[key]


def features_of(value: Any, source: str, depth: int = 0) -> Iterator[Any]:
    """List the features inside the wrappers that QuPath accepts.

    Raises:
        FormatError: Something else; QuPath would import nothing of it, without a word.
    """
    if isinstance(value, list) and depth < _MAX_NESTING:
        for item in value:
            yield from features_of(item, source, depth + 1)
        return
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "FeatureCollection" and isinstance(value.get("features"), list):
        yield from value["features"]
    elif kind == "FeatureCollection":
        raise FormatError(f"{source}: a FeatureCollection without a list of features")
    elif kind == "Feature":
        yield value
    elif isinstance(kind, str) and kind in GEOMETRIES:
        yield {"type": "Feature", "geometry": value}
    else:
        raise FormatError(f"{source}: no FeatureCollection, Feature or geometry but {str(kind or value)[:60]!r}")


def type_name(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """Give the object type as it is written, "annotation" where it is not."""
    for key in ("objectType", "object_type", "type"):
        if properties.get(key) is not None:
            return str(properties[key])
    legacy = feature.get("id")  # v0.2: "PathDetectionObject"
    return legacy if isinstance(legacy, str) and legacy.endswith("Object") else "annotation"


def _children(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> list[Any]:
    for record, key in ((properties, "childObjects"), (properties, "children"), (feature, "childObjects")):
        if key in record:
            return record[key] if isinstance(record[key], list) else []
    return []


def _uuid(value: object) -> str | None:
    """Read an id; QuPath replaces what is no UUID, so it is none."""
    if not isinstance(value, str):
        return None
    if _CANONICAL_UUID.fullmatch(value):
        return value
    try:
        return str(uuid.UUID(value))
    except ValueError:
        return None


def _path_class(record: Any) -> PathClass | None:
    """Read a classification: text, {"name"}, {"names"}, or v0.2's {"name", "parentClass"}."""
    if record == {}:
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
        raise FormatError(f"its classification is {str(record)[:60]!r}; a name or an object is expected")
    try:
        return PathClass(tuple(names), color)
    except ValueError as err:
        raise FormatError(str(err)) from err


def _class_names(record: Mapping[str, Any], depth: int = 0) -> list[str] | None:
    names, name = record.get("names"), record.get("name")
    if isinstance(names, list) and all(isinstance(item, str) for item in names):
        return [item.strip() for item in names]
    if name is None:
        return None
    if not isinstance(name, str) or depth > _MAX_NESTING:
        raise FormatError(f"its class name is {str(name)[:60]!r}; a text is expected")
    parent = record.get("parentClass")
    above = _class_names(parent, depth + 1) if isinstance(parent, dict) else None
    own = [part.strip() for part in name.split(":") if part.strip()]
    return [*(above or []), *own]


def _color(value: Any, what: str) -> int:
    """Read [r, g, b], [r, g, b, a] or a signed ARGB integer."""
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 31) <= value < 1 << 31:
        return value
    if not isinstance(value, list) or len(value) not in (3, 4):
        raise FormatError(f"{what} is {str(value)[:60]!r}; [red, green, blue] is expected")
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
    if not record:
        return {}
    if isinstance(record, list):
        if not all(isinstance(item, dict) and "name" in item for item in record):
            raise FormatError("its measurements are not a list of {name, value}")
        pairs = [(str(item["name"]), item.get("value")) for item in record]
    else:
        pairs = list(record.items()) if isinstance(record, dict) else []
    try:
        return {name: float(value) for name, value in pairs if not isinstance(value, _NO_NUMBER)}
    except (ValueError, OverflowError) as err:
        raise FormatError(f"a measurement is no number ({str(err)[:100]})") from err


def _metadata(record: Mapping[str, Any]) -> dict[str, str]:
    """Read texts; other plain values become text, null and QuPath's reserved key are left out."""
    return {key: _text(value) for key, value in record.items() if value is not None and key != OBJECT_ID}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
