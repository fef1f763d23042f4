"""Values of other programs that have no place of their own: kept as metadata of the object, as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

DESCRIPTION: Final = "ANNOTATION_DESCRIPTION"
"""The key of metadata that QuPath shows as the description of an annotation.

Source: PathAnnotationObject.java (KEY_ANNOTATION_TEXT), 0.2 to 0.7.
"""


def as_metadata(values: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Make metadata of named values of any kind: an object gives an entry for each of its own, empty ones give none.

    Args:
        values: Names, which may come more than once, and values as JSON has them.
    """
    made: dict[str, str] = {}
    for name, value in values:
        if isinstance(value, Mapping):
            inner = [(f"{name}.{key}", _text(item)) for key, item in value.items()]
        else:
            inner = [(name, _text(value))]
        for key, text in inner:
            if text:
                made[free_key(key, made)] = text
    return made


def _text(value: Any) -> str:
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def free_key(key: str, taken: Mapping[str, str]) -> str:
    """Number a key if it is taken."""
    number = 2
    name = key
    while name in taken:
        name, number = f"{key} {number}", number + 1
    return name
