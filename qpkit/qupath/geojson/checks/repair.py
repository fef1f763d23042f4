"""Mend raw GeoJSON features that no reader could take, where there is no doubt about what was meant.

What is left wrong after that is the reader's to refuse. Shapes that cross themselves are the writer's business.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from qpkit.qupath.geojson.class_names import names_in
from qpkit.qupath.geojson.gson import alone, double_of, int_of, is_finite, measurement_of, text_of

CHILDREN_BESIDE: Final = "childObjects written beside their parent"
RING_CLOSED: Final = "open ring closed"
COLOR_READ: Final = 'colour "#rrggbb" made [red, green, blue]'
COLOR_DROPPED: Final = "colour that cannot be read dropped"
CLASS_TEXT: Final = "class that is a number or a list made a class name"
CLASS_DROPPED: Final = "class whose name is no text dropped"
CLASS_BLANK: Final = "needless colon or blank part of a class name left out"
CLASS_NAMES: Final = 'class of "names" that not all versions read made a class name'
CLASS_LINE: Final = "line break in a class name made a blank"
NAME_TEXT: Final = "name that is a list made a text"
NAME_DROPPED: Final = "name that is no text dropped"
PLANE_MOVED: Final = "negative plane made 0 (c: -1, all channels)"
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
            made[name] = _plane(_close_rings(made[name], notes), notes)
    if isinstance(own.get("name"), list | dict):
        own["name"] = _name(own["name"], notes)
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
    value = alone(value)
    if isinstance(value, str) and (match := _HEX.fullmatch(value)):
        notes[COLOR_READ] += 1
        return [int(part, 16) for part in match.groups()]
    number = int_of(value)
    if number is not None:
        return number
    if isinstance(value, list) and len(value) in (3, 4) and all(int_of(alone(item)) is not None for item in value):
        return value
    if value != []:
        notes[COLOR_DROPPED] += 1
    return None


def _plane(geometry: Mapping[str, Any], notes: Counter[str]) -> Mapping[str, Any]:
    plane = geometry.get("plane")
    if not isinstance(plane, dict):
        return geometry
    moved = dict(plane)
    for key, least in (("c", -1), ("z", 0), ("t", 0)):
        number = int_of(plane.get(key))
        if number is not None and number < least:
            moved[key] = least
    if moved == plane:
        return geometry
    notes[PLANE_MOVED] += 1
    return {**geometry, "plane": moved}


def _name(value: Any, notes: Counter[str]) -> str | None:
    """Make a text of a list of plain values; a list of one is one for QuPath, too."""
    single = text_of(value)
    if single is not None:
        return single
    texts = [text_of(item) for item in value] if isinstance(value, list) else []
    known = [text for text in texts if text is not None]
    notes[NAME_TEXT if known else NAME_DROPPED] += 1
    return ", ".join(known) if known else None


def _class(record: Any, notes: Counter[str]) -> Any:
    if isinstance(record, list | int | float) and not isinstance(record, bool):
        notes[CLASS_TEXT] += 1
        record = {"names": record} if isinstance(record, list) else str(record)
    if isinstance(record, str):
        return _parts([record], notes)
    if not isinstance(record, dict):
        return record
    made = dict(record)
    for key in ("color", "colorRGB"):
        if made.get(key) is not None:
            made[key] = _color(made[key], notes)
    # A null would hide "color" from `parse_class`.
    if made.get("colorRGB") is None:
        made.pop("colorRGB", None)
    made["name"] = _class_name(record, notes)
    made.pop("names", None)
    if isinstance(made.get("parentClass"), dict):
        made["parentClass"] = _class(made["parentClass"], notes)
    else:
        made.pop("parentClass", None)
    return made


def _class_name(record: Mapping[str, Any], notes: Counter[str]) -> str | None:
    """Give the class name as one text, from "names" where there is no name."""
    name, names = record.get("name"), record.get("names")
    if name is None and names is not None:
        if not isinstance(names, list) or "colorRGB" in record or "parentClass" in record:
            notes[CLASS_NAMES] += 1
        name = names
    elif isinstance(name, list):
        notes[CLASS_TEXT] += 1
    if name is None:
        return None
    texts = [text_of(item) for item in (name if isinstance(name, list) else [name])]
    known = [text for text in texts if text is not None]
    if len(known) < len(texts):
        notes[CLASS_BLANK if known else CLASS_DROPPED] += 1
    return _parts(known, notes) or None


def _parts(names: list[str], notes: Counter[str]) -> str:
    """Join the parts of a class name that are not blank, without line breaks."""
    parts = [names_in(name) for name in names]
    if any(len(found) != name.count(":") + 1 for found, name in zip(parts, names, strict=True)):
        notes[CLASS_BLANK] += 1
    return ": ".join(_line(part, notes) for found in parts for part in found)


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
        number = double_of(value)
        if name is not None and number is not None and is_finite(number):
            yield text_of(name) or str(name), number
        elif not (isinstance(value, str) and measurement_of(value) is not None and name is None):
            notes[VALUE_DROPPED] += 1
