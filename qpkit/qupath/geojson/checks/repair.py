"""Mend raw GeoJSON features that no reader could take, where there is no doubt about what was meant.

What is left wrong after that is the reader's to refuse. Shapes that cross themselves are the writer's business.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from qpkit.qupath.geojson.checks.gson import is_double, is_finite, is_measurement

CHILDREN_BESIDE: Final = "childObjects written beside their parent"
RING_CLOSED: Final = "open ring closed"
COLOR_READ: Final = 'colour "#rrggbb" made [red, green, blue]'
COLOR_DROPPED: Final = "colour that cannot be read dropped"
CLASS_TEXT: Final = "class that is a number or a list made a class name"
CLASS_LINE: Final = "line break in a class name made a blank"
VALUE_DROPPED: Final = "measurement that is no finite number dropped"

_HEX: Final = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_BREAKS: Final = re.compile(r"\s*[\r\n]+\s*")
_MAX_NESTING: Final = 200


def repair(feature: Any, notes: Counter[str], depth: int = 0) -> Iterator[Any]:
    """Mend a feature.

    Args:
        feature: Decoded JSON of any kind; it is not changed.
        notes: Counts what was done.

    Yields:
        The feature and the features below it, without childObjects; what is no feature as it is.
    """
    if not isinstance(feature, dict):
        yield feature
        return
    properties = feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    children = properties.get("childObjects", properties.get("children", feature.get("childObjects")))
    yield _alone(feature, properties, notes)
    if isinstance(children, list) and depth < _MAX_NESTING:
        for child in children:
            notes[CHILDREN_BESIDE] += 1
            yield from repair(child, notes, depth + 1)


def _alone(feature: Mapping[str, Any], properties: Mapping[str, Any], notes: Counter[str]) -> dict[str, Any]:
    made = {key: value for key, value in feature.items() if key != "childObjects"}
    own = {key: value for key, value in properties.items() if key not in ("childObjects", "children")}
    for name in ("geometry", "nucleusGeometry"):
        if isinstance(made.get(name), dict):
            made[name] = _close_rings(made[name], notes)
    if own.get("color") is not None:
        own["color"] = _color(own["color"], notes)
    if own.get("classification") is not None:
        own["classification"] = _class(own["classification"], notes)
    if own.get("measurements") is not None:
        own["measurements"] = dict(_measurements(own["measurements"], notes))
    made["properties"] = own
    return made


def _close_rings(geometry: Mapping[str, Any], notes: Counter[str]) -> Mapping[str, Any]:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "GeometryCollection" and isinstance(geometry.get("geometries"), list):
        parts = [_close_rings(part, notes) if isinstance(part, dict) else part for part in geometry["geometries"]]
        return {**geometry, "geometries": parts}
    if kind not in ("Polygon", "MultiPolygon") or not isinstance(coordinates, list):
        return geometry
    polygons = [coordinates] if kind == "Polygon" else coordinates
    open_rings = [ring for polygon in polygons if isinstance(polygon, list) for ring in polygon if _is_open(ring)]
    if not open_rings:
        return geometry
    notes[RING_CLOSED] += len(open_rings)
    closed = [
        [[*ring, ring[0]] if _is_open(ring) else ring for ring in polygon] if isinstance(polygon, list) else polygon
        for polygon in polygons
    ]
    return {**geometry, "coordinates": closed[0] if kind == "Polygon" else closed}


def _is_open(ring: Any) -> bool:
    return isinstance(ring, list) and len(ring) >= 3 and ring[0] != ring[-1]


def _color(value: Any, notes: Counter[str]) -> Any:
    if isinstance(value, str) and (match := _HEX.fullmatch(value)):
        notes[COLOR_READ] += 1
        return [int(part, 16) for part in match.groups()]
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 31) <= value < 1 << 31:
        return value
    if isinstance(value, list) and len(value) in (3, 4) and all(map(_is_byte, value)):
        return value
    if value != []:
        notes[COLOR_DROPPED] += 1
    return None


def _is_byte(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 255


def _class(record: Any, notes: Counter[str]) -> Any:
    if isinstance(record, list | int | float) and not isinstance(record, bool):
        notes[CLASS_TEXT] += 1
        record = {"names": [str(item) for item in record]} if isinstance(record, list) else str(record)
    if isinstance(record, str):
        return _line(record, notes)
    if not isinstance(record, dict):
        return record
    made = dict(record)
    for key in ("color", "colorRGB"):
        if made.get(key) is not None:
            made[key] = _color(made[key], notes)
    # A null would hide "color" from `parse_class`.
    if made.get("colorRGB") is None:
        made.pop("colorRGB", None)
    if isinstance(made.get("names"), list):
        made["names"] = [_line(str(name), notes) for name in made["names"] if name is not None and str(name).strip()]
        if not made["names"]:
            made.pop("names")
    if made.get("name") is not None:
        made["name"] = _line(str(made["name"]), notes)
        if not made["name"].strip(" :"):
            made["name"] = None
    return made


def _line(name: str, notes: Counter[str]) -> str:
    if "\n" not in name and "\r" not in name:
        return name
    notes[CLASS_LINE] += 1
    return _BREAKS.sub(" ", name).strip()


def _measurements(record: Any, notes: Counter[str]) -> Iterator[tuple[str, float]]:
    """Give the measurements that are finite numbers."""
    if isinstance(record, dict):
        pairs = list(record.items())
    else:
        items = record if isinstance(record, list) else [record]
        pairs = [(item.get("name"), item.get("value")) if isinstance(item, dict) else (None, None) for item in items]
    for name, value in pairs:
        if name is not None and is_double(value) and is_finite(value):
            yield str(name), float(value.strip().rstrip("fFdD")) if isinstance(value, str) else float(value)
        elif not (isinstance(value, str) and is_measurement(value) and name is None):
            notes[VALUE_DROPPED] += 1
