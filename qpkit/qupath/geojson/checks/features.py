"""Find the rules that GeoJSON features break, as QuPath's importers of v0.3 to v0.7 would meet them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from qpkit.qupath.geojson.checks import rules as rules
from qpkit.qupath.geojson.checks.classes import check_class
from qpkit.qupath.geojson.checks.geometries import check_nucleus, check_shapes
from qpkit.qupath.geojson.checks.rules import Rule
from qpkit.qupath.geojson.features import GEOMETRIES
from qpkit.qupath.geojson.gson import double_of, is_integer, is_plain, measurement_of, text_of, uuid_of

_TYPES: Final = {
    name: kind
    for kind, names in {
        "annotation": ("annotation", "PathAnnotationObject", "unknown"),
        "detection": ("detection", "PathDetectionObject"),
        "cell": ("cell", "PathCellObject"),
        "tile": ("tile", "PathTileObject"),
        "tma_core": ("tmaCore", "tma_core", "TMACoreObject"),
        "root": ("root", "PathRootObject"),
    }.items()
    for name in names
}
_LEGACY: Final = frozenset(name for name in _TYPES if name.endswith("Object"))
# Half a step beyond the largest float: from here on a double becomes an infinite one.
_FLOAT_END: Final = 3.4028235677973366e38
_MAX_NESTING: Final = 200


class FeatureCheck:
    """Checks the features of one document and counts the objects that QuPath reads from them."""

    def __init__(self) -> None:
        self.objects = 0
        self.objects_with_children = 0
        self._ids: set[str] = set()
        self._classes: dict[str, frozenset[Rule]] = {}

    def check(self, features: Sequence[Any]) -> list[set[Rule]]:
        """Find what is wrong with each feature, what is wrong with its childObjects included."""
        shapes = check_shapes([item.get("geometry") if isinstance(item, dict) else None for item in features])
        found = []
        for feature, shape in zip(features, shapes, strict=True):
            self.objects += 1
            found.append(self._check(feature, shape, 0))
        return found

    def _check(self, feature: Any, shape: set[Rule], depth: int) -> set[Rule]:
        if not isinstance(feature, dict):
            return {rules.NO_OBJECT}
        self.objects_with_children += 1
        found = set(shape)
        found.update(self._check_id(feature))
        if "nucleusGeometry" in feature:
            found.update(check_nucleus(feature["nucleusGeometry"]))
        properties = feature.get("properties", {})
        if not isinstance(properties, dict):
            return found | {rules.PROPERTIES_NULL}
        found.update(_check_properties(properties))
        found.update(_check_type(feature, properties))
        if "classification" in properties:
            found.update(self._check_class(properties["classification"]))
        children = properties.get("childObjects", properties.get("children"))
        if isinstance(children, list) and depth < _MAX_NESTING:
            found.update(self._check_children(children, depth))
        return found

    def _check_children(self, children: list[Any], depth: int) -> Iterator[Rule]:
        if children:
            yield rules.CHILDREN_LOST
        shapes = check_shapes([item.get("geometry") if isinstance(item, dict) else None for item in children])
        for child, shape in zip(children, shapes, strict=True):
            for rule in self._check(child, shape, depth + 1):
                younger = rules.since_04(rule)
                if younger.versions:
                    yield younger

    def _check_id(self, feature: Mapping[str, Any]) -> Iterator[Rule]:
        if "id" not in feature:
            return
        text = text_of(feature["id"])
        if text is None:
            yield rules.ID_NULL
        elif text not in _LEGACY:
            known = uuid_of(text)
            if known is None:
                yield rules.ID_REPLACED
            elif known in self._ids:
                yield rules.ID_TWICE
            else:
                self._ids.add(known)

    def _check_class(self, record: Any) -> frozenset[Rule]:
        """Check each classification once; a file has few."""
        key = repr(record)
        if key not in self._classes:
            self._classes[key] = frozenset(check_class(record))
        return self._classes[key]


def check_wrapper(value: Any) -> tuple[list[Any], set[Rule]]:
    """Open what stands at the top of a document, or in the array there.

    Returns:
        Features, and what is wrong with the wrapper itself. What QuPath passes over gives no features.
    """
    if not isinstance(value, dict) or "type" not in value:
        return [], {rules.NO_GEOJSON}
    kind = value["type"]
    if not is_plain(kind):
        return [], {rules.WRAPPER_TYPE}
    if kind == "Feature":
        return [value], set()
    if kind == "FeatureCollection" and isinstance(value.get("features"), list):
        return value["features"], set()
    if isinstance(kind, str) and kind in GEOMETRIES:
        bare = {key: item for key, item in value.items() if key in ("type", "coordinates", "geometries")}
        return [{"type": "Feature", "geometry": bare}], set()
    return [], {rules.NO_GEOJSON}


def _check_properties(properties: Mapping[str, Any]) -> Iterator[Rule]:
    if "name" in properties:
        if not is_plain(properties["name"]):
            yield rules.NAME_NULL
        elif not (text_of(properties["name"]) or "").isascii():
            yield rules.TEXT_ENCODING
    if "color" in properties:
        yield from _check_color(properties["color"])
    if isinstance(properties.get("metadata"), dict) and properties["metadata"]:
        yield rules.METADATA_LOST
    if isinstance(properties.get("plane"), dict):
        yield rules.PLANE_MISPLACED
    if isinstance(properties.get("nucleusGeometry"), dict):
        yield rules.NUCLEUS_MISPLACED
    measurements = properties.get("measurements")
    if isinstance(measurements, list):
        yield from _check_measurement_list(measurements)
    elif isinstance(measurements, dict) and measurements:
        yield from _check_measurement_map(measurements)


def _check_color(color: Any) -> Iterator[Rule]:
    if isinstance(color, list):
        if len(color) != 3:
            yield rules.COLOR_LOST
        elif not all(map(is_integer, color)):
            yield rules.COLOR_BAD
    elif isinstance(color, dict):
        yield rules.COLOR_LOST
    elif color is not None and not is_integer(color):
        yield rules.COLOR_BAD


def _check_measurement_list(record: list[Any]) -> Iterator[Rule]:
    for item in record:
        name = text_of(item.get("name")) if isinstance(item, dict) else None
        number = double_of(item.get("value")) if name is not None else None
        if name is None or number is None:
            yield rules.LIST_BAD
        else:
            yield from _check_measurement(name, number)


def _check_measurement_map(record: Mapping[str, Any]) -> Iterator[Rule]:
    yield rules.MAP_LOST
    for name, value in record.items():
        if isinstance(value, str):
            yield rules.MAP_BAD
            if measurement_of(value) is None:
                yield rules.MAP_TEXT
        elif isinstance(value, bool) or not isinstance(value, int | float):
            yield rules.MAP_BAD
            yield rules.MAP_VALUE_LOST
        yield from _check_measurement(name, double_of(value) or 0.0)


def _check_measurement(name: str, number: float) -> Iterator[Rule]:
    if not name.isascii():
        yield rules.TEXT_ENCODING
    if _FLOAT_END <= abs(number) < math.inf:
        yield rules.VALUE_INFINITE


def _check_type(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[Rule]:
    """Compare what 0.3 and what later versions take for the object's type."""
    identity = text_of(feature.get("id"))
    legacy = identity if identity in _LEGACY else "annotation"
    new = text_of(next((properties[key] for key in ("objectType", "object_type", "type") if key in properties), legacy))
    old = text_of(next((properties[key] for key in ("object_type", "type") if key in properties), legacy))
    if new is None:
        yield rules.TYPE_NULL
    if old is None:
        yield rules.TYPE_NULL_03
    kind = _TYPES.get(new or "")
    if kind is None and new is not None:
        yield rules.TYPE_UNKNOWN
    if kind is not None and kind not in ("annotation", _TYPES.get(old or "", "annotation")):
        yield rules.TYPE_LOST
    if kind == "root":
        yield rules.TYPE_ROOT
    if _TYPES.get(old or "") == "root":
        yield rules.TYPE_ROOT_03
    if kind == "tma_core":
        yield rules.CORE_SKIPPED
