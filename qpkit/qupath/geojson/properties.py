"""The properties of GeoJSON features -> values of Annotation: ids, classes, colours, measurements, metadata.

All take decoded JSON of any kind. What is only missing or odd gives nothing, what cannot be understood a FormatError.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from qpkit.core.annotation import PathClass, argb
from qpkit.errors import FormatError
from qpkit.qupath.object_values import OBJECT_ID

_MAX_NESTING: Final = 200
_NO_NUMBER: Final = (bool, dict, list, type(None))
_CANONICAL_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def parse_uuid(value: object) -> str | None:
    """Read an id; QuPath replaces what is no UUID, so it is none."""
    if not isinstance(value, str):
        return None
    if _CANONICAL_UUID.fullmatch(value):
        return value
    try:
        return str(uuid.UUID(value))
    except ValueError:
        return None


def parse_class(record: Any) -> PathClass | None:
    """Read a classification: text, {"name"}, {"names"}, or v0.2's {"name", "parentClass"}."""
    if record == {}:
        return None
    if isinstance(record, dict):
        names, color = _class_names(record), None
        if names is None:
            return None
        if record.get("colorRGB", record.get("color")) not in (None, []):
            color = parse_color(record.get("colorRGB", record.get("color")), "its class colour")
    elif isinstance(record, str):
        names, color = list(PathClass.parse(record).names) if record.replace(":", "").strip() else [], None
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


def parse_color(value: Any, what: str) -> int:
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


def parse_measurements(record: Any) -> dict[str, float]:
    """Read a map or a list of {name, value}; nulls, booleans and nested values are left out, as in v0.5+."""
    if not record:
        return {}
    if isinstance(record, list):
        if not all(isinstance(item, dict) and "name" in item for item in record):
            raise FormatError("its measurements are not a list of {name, value}")
        pairs = {str(item["name"]): item.get("value") for item in record}
    else:
        pairs = record if isinstance(record, dict) else {}
    if set(map(type, pairs.values())) == {float}:  # nearly always
        return pairs
    try:
        return {name: float(value) for name, value in pairs.items() if not isinstance(value, _NO_NUMBER)}
    except (ValueError, OverflowError) as err:
        raise FormatError(f"a measurement is no number ({str(err)[:100]})") from err


def parse_metadata(record: Mapping[str, Any]) -> dict[str, str]:
    """Read texts; other plain values become text, null and QuPath's reserved key are left out."""
    return {key: _text(value) for key, value in record.items() if value is not None and key != OBJECT_ID}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
