"""GeoJSON features of all QuPath dialects, v0.2 to v0.7 -> Annotations.

Source: qupath.lib.io.GsonTools, PathObjectTypeAdapters, PathIO (v0.2.3 to v0.7.0), and the answers of these versions
to some 150 test files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from qpkit.core.annotation import DEFAULT_PLANE, Annotation, Kind, PathClass
from qpkit.errors import FormatError
from qpkit.qupath.geojson.geometry_reader import READERS, read_shape
from qpkit.qupath.geojson.properties import parse_class, parse_color, parse_measurements, parse_metadata, parse_uuid
from qpkit.qupath.geojson.simple_polygons import read_simple_polygons
from qpkit.qupath.object_values import Roi

GEOMETRIES: Final = (*READERS, "GeometryCollection")

UNKNOWN_TYPE: Final = "object type unknown, read as an annotation as QuPath does"

_KINDS: Final[Mapping[str, Kind]] = {
    "annotation": "annotation",
    "detection": "detection",
    "cell": "cell",
    "tile": "tile",
    "tmacore": "tma_core",
}
_MAX_NESTING: Final = 200

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
            for item, roi in zip(flat, rois, strict=True):
                reached = item[0]
                made.append(self._annotation(item, roi))
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

    def _annotation(self, flat: _Flat, simple: Roi | None) -> Annotation:
        _, feature, properties, kind, parent = flat
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
            path_class=self._class(properties.get("classification")),
            kind=kind,
            id=parse_uuid(feature.get("id")),
            plane=DEFAULT_PLANE if simple is not None else roi.plane,
            name=None if name is None else str(name),
            color=None if color is None else parse_color(color, "its color"),
            measurements=parse_measurements(properties.get("measurements")),
            metadata=parse_metadata(metadata) if isinstance(metadata, dict) else {},
            parent=parent,
            # Gson's getAsBoolean takes the text "true", too.
            locked="isLocked" in properties and str(properties["isLocked"]).lower() == "true",
            nucleus=None if nucleus is None else read_shape(nucleus, notes=self._notes).geometry,
            is_missing=is_core and properties.get("isMissing") is True,
        )

    def _class(self, record: Any) -> PathClass | None:
        """Read each classification once; a file has few."""
        if record is None:
            return None
        key = repr(record)
        if key not in self._classes:
            self._classes[key] = parse_class(record)
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
