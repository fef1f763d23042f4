"""Find the rules that a classification breaks.

QuPath 0.3 reads "name", "parentClass" and "colorRGB". Later versions read them, too, if "colorRGB" or "parentClass" is
there, else "name" (or "names") and "color". The old form checks hardly any name, the new form every part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qpkit.qupath.geojson.checks import rules as rules
from qpkit.qupath.geojson.checks.rules import Rule
from qpkit.qupath.geojson.class_names import names_in, split_name, strip_name
from qpkit.qupath.geojson.gson import int_of, text_of

_MAX_NESTING = 200


def check_class(record: Any) -> Iterator[Rule]:
    """Find what is wrong with a classification, of any kind."""
    if record is None:
        yield rules.CLASS_NULL
    elif isinstance(record, str):
        yield rules.CLASS_TEXT
        yield from _check_names([strip_name(part) for part in split_name(record)])
    elif not isinstance(record, dict):
        yield rules.CLASS_OTHER
    elif not _has_texts(record):
        yield rules.CLASS_NO_TEXT
    else:
        yield from _check_03(record)
        yield from _check_04(record)
        yield from _check_changes(record)


def _has_texts(record: Mapping[str, Any], depth: int = 0) -> bool:
    """Whether the names here and in the parents are texts, so far as all versions look at them."""
    parent = record.get("parentClass")
    if isinstance(parent, dict) and depth < _MAX_NESTING and not _has_texts(parent, depth + 1):
        return False
    return _is_text(record.get("name"))


def _is_text(value: Any) -> bool:
    return not isinstance(value, list | dict)


def _check_03(record: Mapping[str, Any], depth: int = 0) -> Iterator[Rule]:
    """Check what 0.3 reads."""
    yield from _check_old(record)
    parent = record.get("parentClass")
    if parent is not None and (not isinstance(parent, dict) or depth > _MAX_NESTING):
        yield rules.CLASS_PARENT_BAD
        return
    if parent is not None:
        yield from _check_03(parent, depth + 1)
    name = text_of(record.get("name"))
    if name is None:
        if parent is not None and names_in(text_of(parent.get("name")) or ""):
            yield rules.CLASS_BLANK_CHILD
        return
    parts = split_name(strip_name(name))
    if parent is not None and names_in(text_of(parent.get("name")) or ""):
        if not strip_name(name):
            yield rules.CLASS_BLANK_CHILD
        elif ":" in name:
            yield rules.CLASS_COLON_CHILD
    elif ":" in name and len(parts) < 2:
        yield rules.CLASS_COLON_LAST
    if any(_has_line_break(part) for part in ([name] if parent is not None else parts)):
        yield rules.CLASS_LINE_BREAK_03


def _check_old(record: Mapping[str, Any]) -> Iterator[Rule]:
    rgb = record.get("colorRGB")
    if rgb is not None and int_of(rgb) is None:
        yield rules.CLASS_RGB_BAD


def _check_04(record: Mapping[str, Any]) -> Iterator[Rule]:
    """Check what 0.4 and later read."""
    if not record:
        return
    if "colorRGB" in record or "parentClass" in record:
        yield from _check_04_parent(record)
    elif "color" in record and ("name" in record or "names" in record):
        yield from _check_04_new(record)
    else:
        yield rules.CLASS_NO_COLOR


def _check_04_parent(record: Mapping[str, Any], depth: int = 0) -> Iterator[Rule]:
    name, parent = text_of(record.get("name")), record.get("parentClass")
    if not isinstance(parent, dict) or depth > _MAX_NESTING:
        if ":" in (name or ""):
            if _is_odd(name or ""):
                yield rules.CLASS_COLON_KEPT
        elif name is not None and not strip_name(name):
            yield rules.CLASS_BLANK_KEPT
        return
    yield from _check_04_parent(parent, depth + 1)
    is_base = not isinstance(parent.get("parentClass"), dict) and parent.get("name") is not None
    if is_base and record.get("colorRGB") is None and parent.get("colorRGB") is None:
        yield rules.CLASS_NO_COLOR
    if name is None:
        if text_of(parent.get("name")) is not None:
            yield rules.CLASS_BLANK
    elif ":" in name:
        yield rules.CLASS_COLON_INSIDE
    else:
        yield from _check_names([strip_name(name)])


def _check_04_new(record: Mapping[str, Any]) -> Iterator[Rule]:
    name, names, color = record.get("name"), record.get("names"), record["color"]
    if color is not None and not _is_color_list(color):
        yield rules.CLASS_COLOR_BAD
    if names is not None and not (isinstance(names, list) and all(map(_is_text, names))):
        yield rules.CLASS_NAMES_BAD
        return
    if name is not None:
        yield from _check_names([strip_name(part) for part in split_name(text_of(name) or "")])
    elif names and not (len(names) == 1 and names[0] is None):
        yield from _check_names([strip_name(text_of(item) or "") for item in names])
        if any(":" in (text_of(item) or "") for item in names):
            yield rules.CLASS_COLON_INSIDE


def _check_names(names: list[str]) -> Iterator[Rule]:
    """Check stripped names as 0.4 and later do."""
    if not all(names):
        yield rules.CLASS_BLANK
    if any(map(_has_line_break, names)):
        yield rules.CLASS_LINE_BREAK


def _is_odd(name: str) -> bool:
    return not all(map(strip_name, name.split(":")))


def _has_line_break(name: str) -> bool:
    name = strip_name(name)
    return "\n" in name or "\r" in name


def _is_color_list(color: Any) -> bool:
    return isinstance(color, list) and len(color) in (0, 1, 3, 4) and all(int_of(item) is not None for item in color)


def _check_changes(record: Mapping[str, Any]) -> Iterator[Rule]:
    """Find what the versions read in different ways."""
    name, names = text_of(record.get("name")), record.get("names")
    if name is None and isinstance(names, list) and names:
        yield rules.CLASS_NAMES_LOST
        if "colorRGB" in record or "parentClass" in record:
            yield rules.CLASS_NAMES_LOST_04
    has_name = name is not None or (isinstance(names, list) and names)
    if has_name and record.get("color") and record.get("colorRGB") is None:
        yield rules.CLASS_COLOR_LOST
    if any(
        isinstance(text, str) and not text.isascii() for text in (name, *(names if isinstance(names, list) else ()))
    ):
        yield rules.TEXT_ENCODING
