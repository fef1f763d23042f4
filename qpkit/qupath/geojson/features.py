"""GeoJSON features of all QuPath dialects, v0.2 to v0.7 -> Annotations.

Source: qupath.lib.io.GsonTools, PathObjectTypeAdapters, PathIO (v0.2.3 to v0.7.0), and the answers of these versions
to some 150 test files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, Kind, PathClass
from qpkit.errors import FormatError
from qpkit.qupath.geojson.even_odd import AREAS, mend_crossing
from qpkit.qupath.geojson.geometry_reader import READERS, is_true, read_shape
from qpkit.qupath.geojson.gson import text_of
from qpkit.qupath.geojson.properties import parse_class, parse_color, parse_measurements, parse_metadata, parse_uuid
from qpkit.qupath.geojson.simple_polygons import read_simple_polygons
from qpkit.qupath.object_values import OBJECT_ID, Roi

GEOMETRIES: Final = (*READERS, "GeometryCollection")

_WRAPPERS: Final = ("FeatureCollection", "Feature", *GEOMETRIES)

CROSSING: Final = "self-crossing area made valid by the even-odd rule, as QuPath 0.3-0.5 read it"
PASSED_OVER: Final = "no feature or geometry, passed over as QuPath does"
UNKNOWN_TYPE: Final = "object type unknown, read as an annotation as QuPath does"
NO_UUID: Final = "id that is no UUID left out, as QuPath does"
NO_CLASS: Final = "classification without a name left out, as QuPath does"
NO_COLOR: Final = "color that is none left out, as QuPath does"
NO_CELL: Final = "nucleus of an object that is no cell left out, as QuPath does"
NO_CORE: Final = "mark of a missing core on an object that is none left out, as QuPath does"
RESERVED_KEY: Final = f"metadata {OBJECT_ID!r}, QuPath's own name for the id, left out"
SECOND_CHILDREN: Final = "second list of child objects of an object left out"

_KINDS: Final[Mapping[str, Kind]] = {
    "annotation": "annotation",
    "detection": "detection",
    "cell": "cell",
    "tile": "tile",
    "tmacore": "tma_core",
}
_MAX_NESTING: Final = 200

OnRecords = Callable[[str, Sequence[Mapping[str, Any]]], None]
"""(where they stand, records): called with "features", also those below others, with "roots", of which only the child
objects are read, and with "", collections."""

_Flat = tuple[int, Mapping[str, Any], Mapping[str, Any], Kind, int | None]
"""Number of its feature in the document, the feature, its properties, its kind, its parent."""


class FeatureReader:
    """Reads the features of a file, batch by batch.

    Args:
        notes: Counts what was changed.
        on_records: Is shown features and roots.
    """

    def __init__(self, notes: Counter[str], on_records: OnRecords | None = None) -> None:
        self._notes = notes
        self._on_records = on_records
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
            self._show("features", [feature for _, feature, _, _, _ in flat])
            rois, unsure = read_simple_polygons([feature.get("geometry") for _, feature, _, _, _ in flat])
            others = [n for n, roi in enumerate(rois) if roi is None or flat[n][3] == "tma_core"]
            for index in others:
                reached, feature, _, kind, _ = flat[index]
                rois[index] = read_shape(feature.get("geometry"), is_ellipse=kind == "tma_core", notes=self._notes)
            self._mend(rois, [*unsure, *others])
            for item, roi in zip(flat, rois, strict=True):
                reached = item[0]
                assert roi is not None
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
        else:
            self._show("roots", [feature])
        for child in self._children(feature, properties):
            self._flatten(number, child, parent, flat, depth + 1)

    def _kind(self, feature: Mapping[str, Any], properties: Mapping[str, Any]) -> Kind | None:
        """Find the object type under all its names; None for a root object, which is no object of the user."""
        text = type_name(feature, properties)
        if text in _KINDS:  # nearly always
            return _KINDS[text]
        plain = text.replace("_", "").lower().removeprefix("path").removesuffix("object")
        if plain == "root":
            return None
        if plain not in _KINDS:
            self._notes[UNKNOWN_TYPE] += 1
        return _KINDS.get(plain, "annotation")

    def _show(self, what: str, records: Sequence[Mapping[str, Any]]) -> None:
        if self._on_records is not None:
            self._on_records(what, records)

    def _annotation(self, flat: _Flat, roi: Roi) -> Annotation:
        _, feature, properties, kind, parent = flat
        nucleus, identity = feature.get("nucleusGeometry"), feature.get("id")
        name, color = properties.get("name"), properties.get("color", properties.get("colorRGB"))
        metadata = properties.get("metadata")
        return Annotation(
            geometry=roi.geometry,
            shape=roi.shape,
            path_class=self._class(properties.get("classification")),
            kind=kind,
            id=None if identity is None else self._id(identity),
            plane=roi.plane,
            name=name if name is None or isinstance(name, str) else _name(name),
            color=None if color is None else self._color(color),
            measurements=parse_measurements(properties.get("measurements"), self._notes),
            metadata=self._metadata(metadata) if isinstance(metadata, dict) else {},
            parent=parent,
            locked="isLocked" in properties and is_true(properties["isLocked"]),
            nucleus=None if nucleus is None else self._nucleus(nucleus, kind),
            is_missing="isMissing" in properties and self._is_missing(properties["isMissing"], kind),
        )

    def _id(self, value: object) -> str | None:
        made = parse_uuid(value)
        # v0.2 writes the object type there.
        if made is None and not _is_legacy_type(value):
            self._notes[NO_UUID] += 1
        return made

    def _color(self, value: Any) -> int | None:
        """Read the object's own colour; of a list that is none QuPath makes nothing."""
        if isinstance(value, dict) or (isinstance(value, list) and len(value) not in (3, 4)):
            if value:
                self._notes[NO_COLOR] += 1
            return None
        return parse_color(value, "its color")

    def _metadata(self, record: Mapping[str, Any]) -> dict[str, str]:
        if OBJECT_ID in record:
            self._notes[RESERVED_KEY] += 1
        return parse_metadata(record)

    def _is_missing(self, value: object, kind: Kind) -> bool:
        if kind != "tma_core" and is_true(value):
            self._notes[NO_CORE] += 1
        return kind == "tma_core" and is_true(value)

    def _children(self, feature: Mapping[str, Any], properties: Mapping[str, Any]) -> list[Any]:
        """List the child objects, under all names that they have."""
        if not ("childObjects" in properties or "children" in properties or "childObjects" in feature):
            return []
        places = ((properties, "childObjects"), (properties, "children"), (feature, "childObjects"))
        found, *others = [record[name] for record, name in places if name in record]
        if any(others):
            self._notes[SECOND_CHILDREN] += 1
        return found if isinstance(found, list) else []

    def _nucleus(self, record: object, kind: Kind) -> BaseGeometry | None:
        if kind != "cell":
            self._notes[NO_CELL] += 1
            return None
        roi = read_shape(record, notes=self._notes)
        rois: list[Roi | None] = [roi]
        self._mend(rois, [0])
        return (rois[0] or roi).geometry

    def _mend(self, rois: list[Roi | None], unsure: Sequence[int]) -> None:
        """Make areas valid, of those that may be invalid."""
        for index in unsure:
            roi = rois[index]
            if roi is None or roi.geometry.is_valid or roi.geometry.geom_type not in AREAS:
                continue
            mended = mend_crossing(roi.geometry)
            if mended is not roi.geometry:
                self._notes[CROSSING] += 1
                is_one = isinstance(mended, shapely.Polygon) and not mended.interiors
                rois[index] = Roi(mended, "polygon" if is_one else "geometry", roi.plane)

    def _class(self, record: Any) -> PathClass | None:
        """Read each classification once; a file has few."""
        if record is None:
            return None
        key = repr(record)
        if key not in self._classes:
            self._classes[key] = parse_class(record)
        found = self._classes[key]
        if found is None and any(record.values() if isinstance(record, dict) else record):
            self._notes[NO_CLASS] += 1
        return found


def features_of(
    value: Any, source: str, notes: Counter[str] | None = None, on_records: OnRecords | None = None, depth: int = 0
) -> Iterator[Any]:
    """List the features inside the wrappers that QuPath accepts.

    Args:
        value: Decoded JSON of any kind.
        source: The document, for messages.
        notes: Counts what in a list is passed over, as QuPath does, too; None to refuse it.
        on_records: Is shown the collections.
        depth: How many lists it is in.

    Raises:
        FormatError: Something else; QuPath would import nothing of it, without a word.
    """
    if isinstance(value, list) and depth < _MAX_NESTING:
        for item in value:
            if notes is None or isinstance(item, list) or _is_wrapper(item):
                yield from features_of(item, source, notes, on_records, depth + 1)
            else:
                notes[PASSED_OVER] += 1
        return
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "FeatureCollection" and isinstance(value.get("features"), list):
        if on_records is not None:
            on_records("", [value])
        yield from value["features"]
    elif kind == "FeatureCollection":
        raise FormatError(f"{source}: a FeatureCollection without a list of features")
    elif kind == "Feature":
        yield value
    elif isinstance(kind, str) and kind in GEOMETRIES:
        yield {"type": "Feature", "geometry": value}
    else:
        raise FormatError(f"{source}: no FeatureCollection, Feature or geometry but {str(kind or value)[:60]!r}")


def _is_wrapper(value: Any) -> bool:
    return isinstance(value, dict) and text_of(value.get("type")) in _WRAPPERS


def type_name(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """Give the object type as it is written, "annotation" where it is not."""
    for key in ("objectType", "object_type", "type"):
        value = properties.get(key)
        if value is not None:
            return value if isinstance(value, str) else text_of(value) or str(value)
    legacy = feature.get("id")
    return legacy if isinstance(legacy, str) and _is_legacy_type(legacy) else "annotation"


def _is_legacy_type(value: object) -> bool:
    """Whether an id is the object type, as in v0.2: "PathDetectionObject"."""
    return isinstance(value, str) and value.endswith("Object")


def _name(value: Any) -> str:
    text = text_of(value)
    if text is None:
        raise FormatError(f"its name is {str(value)[:60]!r}; a text is expected")
    return text
