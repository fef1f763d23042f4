"""Which fields of a file a reader reads: all others are counted, so that none is dropped in silence.

A reader names the fields that it reads, and those that say nothing about the objects. What a file has beyond them is
a note; tests/formats/test_formats_fields.py changes every field of every sample to see that the names are true.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

NOT_READ: Final = "fields not read"
_MOST_NAMES: Final = 20

ANY: Final = "*"
"""Among the names of a record: it is read whatever it holds, but for the records that are named below it."""

LISTED: Final = "[]"
"""Below a path: the records in a list, where these have other fields than a record that stands there alone."""

_BLANK: Final[tuple[object, ...]] = (None, "", [], {})

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
        nested: Paths of records that may hold one of their own kind under the same name, as deep as they like.
    """

    read: Names
    idle: Names = field(default_factory=dict)
    usual: Mapping[str, Collection[str]] = field(default_factory=dict)
    nested: Collection[str] = ()

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
        for path in fields.nested:
            record = root.at(path)
            record.below[path.rpartition("/")[2]] = record
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


class UnreadJson:
    """Counts the fields of JSON objects, or of rows, that their reader does not read; null and empty ones say nothing.

    Args:
        fields: Those of the format.
    """

    def __init__(self, fields: Fields) -> None:
        self._root = _Record.of(fields)
        self._found: Counter[str] = Counter()

    def look(self, path: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Count in records that stand at a path; those of a large file may come piece by piece."""
        _look_at_objects(records, self._root.at(path), path, self._found)

    def notes(self) -> Counter[str]:
        """Sentences about all that was looked at."""
        return _notes(self._found)


def unread_json(record: Mapping[str, Any], fields: Fields) -> Counter[str]:
    """Count the fields of one JSON object, and of those in it, that its reader does not read."""
    unread = UnreadJson(fields)
    unread.look("", [record])
    return unread.notes()


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


def _look_at_objects(records: Sequence[Mapping[str, Any]], known: _Record, path: str, found: Counter[str]) -> None:
    """Look at many records of one kind, field by field, which for many is far faster than record by record."""
    for name in dict.fromkeys(chain.from_iterable(records)):
        values, where = [record.get(name) for record in records], _joined(path, name)
        is_read = name in known.names or ANY in known.names
        if name in known.below:
            others = _look_below(values, known.below[name], where, found)
            found[where] += 0 if is_read else sum(value not in _BLANK for value in others)
        elif not is_read:
            found[where] += sum(value not in _BLANK for value in values)
        elif name in known.usual:
            found[where] += sum(value is not None and str(value) not in known.usual[name] for value in values)
        elif ANY not in known.names and dict in set(map(type, values)):
            found[where] += sum(isinstance(value, dict) and bool(value) for value in values)


def _look_below(values: Sequence[Any], known: _Record, path: str, found: Counter[str]) -> list[Any]:
    """Look at the records among values and in lists of them; gives the values that are no records."""
    others: list[Any] = []
    at = known
    while values:
        kinds = set(map(type, values))
        if dict in kinds:
            _look_at_objects([value for value in values if isinstance(value, dict)], at, path, found)
        if kinds - {dict, list}:
            others += [value for value in values if not isinstance(value, dict | list)]
        values = list(chain.from_iterable(value for value in values if isinstance(value, list)))
        at = known.below.get(LISTED, known)
    return others


def _notes(found: Counter[str]) -> Counter[str]:
    """Sentences; of a file of very many strange names only the commonest are named."""
    named = [(path, count) for path, count in found.most_common(_MOST_NAMES) if count]
    notes = Counter({f"{NOT_READ} ({path})": count for path, count in named})
    notes[f"{NOT_READ} (others)"] = found.total() - notes.total()
    return +notes


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path and name else path or name
