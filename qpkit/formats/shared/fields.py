"""Which fields of a file a reader reads: all others are counted, so that none is dropped in silence.

A reader names the fields that it reads, and those that say nothing about the objects. What a file has beyond them is
a note; tests/formats/test_formats_fields.py changes every field of every sample to see that the names are true.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

NOT_READ: Final = "fields not read"
_MOST_NAMES: Final = 20

ANY: Final = "*"
"""Among the names of a record: it is read whatever it holds, but for the records that are named below it."""

Names = Mapping[str, str]
"""Path of a record below the root ("" is the root) -> names of its fields, with blanks between. In XML "@a" is an
attribute and "a" an element of nothing but text; a record without fields of its own has ""."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The fields of a format.

    Args:
        read: What its reader reads.
        idle: What says nothing about the objects: how a viewer shows them, what it computed from them, addresses.
        usual: Full paths of fields that are not read, and the values with which they say nothing.
    """

    read: Names
    idle: Names = field(default_factory=dict)
    usual: Mapping[str, Collection[str]] = field(default_factory=dict)

    def idle_paths(self) -> set[str]:
        """Full paths of the idle fields."""
        return {_joined(path, name) for path, names in self.idle.items() for name in names.split() or [""]}


@dataclass(slots=True)
class _Record:
    """What is known of a record: names of attributes (XML), names of other fields, and the records below it."""

    attributes: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    usual: dict[str, Collection[str]] = field(default_factory=dict)
    below: dict[str, _Record] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Fields) -> _Record:
        """The root."""
        root = cls()
        named = [(path, name) for names in (fields.read, fields.idle) for path in names for name in names[path].split()]
        for path in (*fields.read, *fields.idle):
            root.at(path)
        for path, name in (*named, *(path.rpartition("/")[::2] for path in fields.usual)):
            record = root.at(path)
            (record.attributes if name.startswith("@") else record.names).add(name.removeprefix("@"))
        for path, values in fields.usual.items():
            place, _, name = path.rpartition("/")
            root.at(place).usual[name] = values
        return root

    def at(self, path: str) -> _Record:
        """The record of a path, made if there is none."""
        found = self
        for part in path.split("/") if path else ():
            found = found.below.setdefault(part, _Record())
        return found


def unread_xml(root: ET.Element, fields: Fields) -> Counter[str]:
    """Count the attributes, texts and elements of an XML file that its reader does not read; blank ones say nothing."""
    found: Counter[str] = Counter()
    _look_at_element(root, _Record.of(fields), "", found)
    return _notes(found)


def unread_json(record: Mapping[str, Any], fields: Fields) -> Counter[str]:
    """Count the fields of a JSON object that its reader does not read; null and empty ones say nothing."""
    found: Counter[str] = Counter()
    _look_at_object(record, _Record.of(fields), "", found)
    return _notes(found)


def _look_at_element(element: ET.Element, known: _Record, path: str, found: Counter[str]) -> None:
    if not known.attributes.issuperset(element.attrib):
        strange = [name for name in element.attrib if name not in known.attributes]
        found.update(_joined(path, f"@{name}") for name in strange if element.attrib[name].strip())
    for name, values in known.usual.items():
        value = element.get(name[1:]) if name.startswith("@") else element.findtext(name)
        found[_joined(path, name)] += bool(value and value.strip() and value.strip() not in values)
    if element.text and not element.text.isspace():
        found[_joined(path, "text")] += 1
    for child in element:
        if child.tail and not child.tail.isspace():
            found[_joined(path, "text")] += 1
        below = known.below.get(child.tag)
        if below is not None:
            _look_at_element(child, below, _joined(path, child.tag), found)
        elif child.tag not in known.names:
            found[_joined(path, child.tag)] += 1
        elif child.attrib or len(child):
            where = _joined(path, child.tag)
            found.update(_joined(where, name) for name in (*(f"@{n}" for n in child.attrib), *(c.tag for c in child)))


def _look_at_object(record: Mapping[str, Any], known: _Record, path: str, found: Counter[str]) -> None:
    for name, value in record.items():
        if name in known.below:
            _look_below(value, known.below[name], _joined(path, name), found)
        elif ANY in known.names:
            continue
        elif name not in known.names:
            found[_joined(path, name)] += value not in (None, "", [], {})
        elif name in known.usual:
            found[_joined(path, name)] += value is not None and str(value) not in known.usual[name]
        elif isinstance(value, dict) and value:
            found[_joined(path, name)] += 1


def _look_below(value: Any, known: _Record, path: str, found: Counter[str]) -> None:
    if isinstance(value, dict):
        _look_at_object(value, known, path, found)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                _look_below(item, known, path, found)


def _notes(found: Counter[str]) -> Counter[str]:
    """Sentences; of a file of very many strange names only the commonest are named."""
    named = [(path, count) for path, count in found.most_common(_MOST_NAMES) if count]
    notes = Counter({f"{NOT_READ} ({path})": count for path, count in named})
    notes[f"{NOT_READ} (others)"] = found.total() - notes.total()
    return +notes


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path and name else path or name
