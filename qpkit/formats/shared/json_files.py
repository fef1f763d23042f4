"""JSON of other programs: read as a whole, numbers and ids checked where they are used."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from qpkit.errors import FormatError
from qpkit.files import replace_file
from qpkit.formats.shared.xml_files import read_bytes


def read_json(path: Path) -> Any:
    """Decode a JSON file (a byte order mark, NaN and Infinity are taken).

    Raises:
        FormatError: Not JSON.
        ProjectError: There is no such file.
    """
    content = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    try:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise FormatError(f"{path}: not JSON ({err})") from err


def write_json(path: Path, document: Any) -> None:
    """Write compact JSON, all or nothing.

    Raises:
        OutputError: It cannot be written.
    """
    replace_file(path, orjson.dumps(document))


def objects_in(record: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """The list of objects under a key; none if it is absent.

    Raises:
        FormatError: It is no list of objects.
    """
    found = record.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise FormatError(f"{where}: {key!r} is not a list of objects")
    return found


def finite(value: Any, where: str) -> float:
    """Check a number.

    Raises:
        FormatError: No number, or not finite.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise FormatError(f"{where}: {value!r} is not a number")
    return float(value)
