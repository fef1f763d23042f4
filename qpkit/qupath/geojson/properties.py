"""The properties of GeoJSON features -> values of Annotation: ids, classes, colours, measurements, metadata.

All take decoded JSON of any kind. What is only missing or odd gives nothing, what cannot be understood a FormatError.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from qpkit.core.annotation import PathClass, argb
from qpkit.errors import FormatError
from qpkit.qupath.geojson.class_names import names_in
from qpkit.qupath.geojson.gson import alone, double_of, int_of, measurement_of, text_of, uuid_of
from qpkit.qupath.object_values import OBJECT_ID

NOT_MEASURED: Final = "measurements that are no number, or have the name of another one, left out"

_MAX_NESTING: Final = 200
_NO_NUMBER: Final = (bool, dict, list, type(None))
_CANONICAL_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def parse_uuid(value: object) -> str | None:
    """Read an id; QuPath replaces what is no UUID for Java, so it is none."""
    if isinstance(value, str) and _CANONICAL_UUID.fullmatch(value):
        return value
    text = text_of(value)
    return None if text is None else uuid_of(text)


def parse_class(record: Any) -> PathClass | None:
    """Read a classification: text, {"name"}, {"names"} where there is no name, or v0.2's {"name", "parentClass"}.

    Blank names, as before a leading colon, are left out, which not all versions of QuPath accept.
    """
    if isinstance(record, dict):
        names, color = _class_names(record), None
        if not names:
            return None
        if record.get("colorRGB", record.get("color")) not in (None, []):
            color = parse_color(record.get("colorRGB", record.get("color")), "its class colour")
        return PathClass(tuple(names), color)
    if not isinstance(record, str):
        raise FormatError(f"its classification is {str(record)[:60]!r}; a name or an object is expected")
    names = names_in(record)
    return PathClass(tuple(names)) if names else None


def _class_names(record: Mapping[str, Any], depth: int = 0) -> list[str]:
    name, parent = record.get("name"), record.get("parentClass")
    above = _class_names(parent, depth + 1) if isinstance(parent, dict) and depth < _MAX_NESTING else []
    if name is None and "colorRGB" not in record and "parentClass" not in record:
        names = record.get("names")
        if names is not None and not isinstance(names, list):
            raise FormatError(f"its class names are {str(names)[:60]!r}; a list is expected")
        return [part for item in names or [] if item is not None for part in names_in(_class_text(item))]
    return above if name is None else [*above, *names_in(_class_text(name))]


def _class_text(name: Any) -> str:
    text = None if isinstance(name, list) else text_of(name)
    if text is None:
        raise FormatError(f"its class name is {str(name)[:60]!r}; a text is expected")
    return text


def parse_color(value: Any, what: str) -> int:
    """Read [r, g, b], [r, g, b, a] or a signed ARGB integer; of larger numbers the last 8 bits count, as in QuPath."""
    number = int_of(alone(value))
    if number is not None:
        return number
    if not isinstance(value, list) or len(value) not in (3, 4):
        raise FormatError(f"{what} is {str(value)[:60]!r}; [red, green, blue] is expected")
    numbers = [item & 255 for item in (int_of(alone(item)) for item in value) if item is not None]
    if len(numbers) != len(value):
        raise FormatError(f"{what} is {str(value)[:60]!r}; numbers from 0 to 255 are expected")
    opaque = argb(*numbers[:3])
    if len(numbers) == 3 or numbers[3] == 255:
        return opaque
    packed = (numbers[3] << 24) | (opaque & 0xFFFFFF)
    return packed - (1 << 32) if packed >= 1 << 31 else packed


def parse_measurements(record: Any, notes: Counter[str] | None = None) -> dict[str, float]:
    """Read a map or a list of {name, value}; nulls, booleans and nested values are left out, as in v0.5+.

    Args:
        record: Decoded JSON.
        notes: Counts what was left out but nulls; of equal names the last one counts.
    """
    if not record:
        return {}
    if isinstance(record, list):
        if not all(isinstance(item, dict) and "name" in item for item in record):
            raise FormatError("its measurements are not a list of {name, value}")
        pairs = {
            name if isinstance(name := item["name"], str) else text_of(name) or str(name): item.get("value")
            for item in record
        }
        if len(pairs) < len(record) and notes is not None:
            notes[NOT_MEASURED] += len(record) - len(pairs)
    else:
        pairs = record if isinstance(record, dict) else {}
    if set(map(type, pairs.values())) == {float}:  # nearly always
        return pairs
    if isinstance(record, list):
        pairs = {name: alone(value) for name, value in pairs.items()}
    made = {name: _number(value) for name, value in pairs.items() if not isinstance(value, _NO_NUMBER)}
    left_out = sum(value is not None for name, value in pairs.items() if name not in made)
    if left_out and notes is not None:
        notes[NOT_MEASURED] += left_out
    return made


def _number(value: float | str) -> float:
    number = measurement_of(value) if isinstance(value, str) else double_of(value)
    if number is None:
        raise FormatError(f"a measurement is {str(value)[:60]!r}, which is no number")
    return number


def parse_metadata(record: Mapping[str, Any]) -> dict[str, str]:
    """Read texts; other plain values become text, null and QuPath's reserved key are left out."""
    return {key: _text(value) for key, value in record.items() if value is not None and key != OBJECT_ID}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
