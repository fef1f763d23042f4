"""Find the objects of a hierarchy on the tape: which row is whose name, class, ROI, children.

Source: writeExternal/readExternal of PathObject, PathROIObject, PathCellObject and TMACoreObject, v0.2.3 to v0.7.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled
from qpkit.core.annotation import Kind
from qpkit.qupath.java.grammar import TC_BLOCKDATA, TC_BLOCKDATALONG, TC_NULL, TC_OBJECT, TC_REFERENCE
from qpkit.qupath.java.tape import Tape

_PREFIX: Final = "qupath.lib.objects."
ROOT: Final = _PREFIX + "PathRootObject"
KINDS: Final[Mapping[str, Kind]] = {
    _PREFIX + "PathAnnotationObject": "annotation",
    _PREFIX + "PathDetectionObject": "detection",
    _PREFIX + "PathCellObject": "cell",
    _PREFIX + "PathTileObject": "tile",
    _PREFIX + "TMACoreObject": "tma_core",
}
_ROLES: Final[Mapping[str, int]] = {
    _PREFIX + "MetadataMap": 1,
    "java.lang.Boolean": 2,
    ROOT: 3,
    **{name: 4 + number for number, name in enumerate(KINDS)},
}
_FIRST_OBJECT, _CELL, _TMA_CORE = 3, 6, 8
_KIND_OF_ROLE: Final[Mapping[int, Kind]] = {_ROLES[name]: kind for name, kind in KINDS.items()}

_COLUMNS: Final = 15
# From NAME to NUCLEUS in the order of the stream, which `_walk` counts on.
ROW, PARENT, ROLE, NAME, COLOR, METADATA, MEASUREMENTS, SLOT, LAST, LOCKED, PATH_CLASS, ROI, TAIL, NUCLEUS, REST = (
    range(_COLUMNS)
)
_COMPILE_FROM: Final = 100_000
"""Rows; see `java.scan`."""

_UNKNOWN_MAX: Final = 16

_ENDS_EARLY, _NO_COUNT, _NO_TAIL, _NO_CORE_TAIL, _BAD_COUNT, _NO_CHILD, _TWICE, _NO_OBJECT = range(1, 9)

_MESSAGES: Final = {
    _ENDS_EARLY: "the {0} ends too early or holds stray bytes",
    _NO_COUNT: "the {0} lacks its block of 4 bytes",
    _NO_TAIL: "the {0} lacks its block of 8 bytes",
    _NO_CORE_TAIL: "the {0} lacks its block of 9 bytes",
    _BAD_COUNT: "the {0} claims {1} children",
    _NO_CHILD: "a child object is expected in a {0}",
    _TWICE: "the same {0} is in the hierarchy twice",
    _NO_OBJECT: "an object is expected in a {0}",
}


@dataclass(frozen=True, slots=True)
class PathObjects:
    """All objects of a hierarchy, depth first in QuPath's order; number 0 is the root.

    Args:
        table: (n, 15) int32. Rows of the tape, -1 for what the object does not have: the object, its parent (a number,
            not a row), role, name, colour, metadata, measurements, the block with the number of children, the last
            child (the block, if there is none), lock, class, ROI, the block with the class probability, nucleus, first
            value behind the body.
        unknown: What was not understood, one line each.
    """

    table: NDArray[np.int32]
    unknown: tuple[str, ...]

    def column(self, number: int) -> NDArray[np.int64]:
        """One column without the root's entry."""
        return self.table[1:, number].astype(np.int64)

    def part(self, first: int, stop: int) -> PathObjects:
        """The root and the objects first..stop (exclusive)."""
        return PathObjects(np.concatenate([self.table[:1], self.table[first:stop]]), ())

    def kind(self, place: int) -> Kind:
        """Kind of one object; the first below the root is 0."""
        return _KIND_OF_ROLE[int(self.table[1 + place, ROLE])]

    def kinds(self) -> list[Kind]:
        """Kind of each object, without the root."""
        return [_KIND_OF_ROLE[role] for role in self.column(ROLE).tolist()]


def find_objects(tape: Tape, root: int) -> PathObjects:
    """Walk over a hierarchy.

    Args:
        tape: The file.
        root: Row of the PathRootObject.

    Raises:
        FormatError: Not laid out as in v0.2 to v0.7. Children of an unknown class are left out and named in `unknown`.
    """
    roles = np.array([_ROLES.get(item.name, 0) for item in tape.classes], np.int64)
    rows = np.flatnonzero(tape.kind == TC_OBJECT)
    count = int(np.count_nonzero(roles[tape.class_of(rows)] >= _FIRST_OBJECT))
    table = np.full(count * _COLUMNS, -1, np.int32)
    columns: list[Any] = [tape.kind, tape.start, tape.body, tape.stop, tape.after, tape.link, tape.defined, roles]
    data: Any = np.frombuffer(tape.data, np.uint8)
    walk: Callable[..., Any] = _walk
    if len(tape.kind) < _COMPILE_FROM:
        data, columns = tape.data, [column.tolist() for column in columns]
    else:
        walk = compiled(_walk)
    stack, unknown = np.zeros(3 * (count + 1), np.int64), np.zeros(_UNKNOWN_MAX, np.int64)
    seen = np.zeros(len(tape.kind), np.bool_)
    failure, at, x, found, strange = walk(data, *columns, root, table, stack, seen, unknown)
    if failure:
        raise tape.fail(_MESSAGES[failure].format(tape.java_class(int(at)).name, int(x)), int(at))
    made = table.reshape(count, _COLUMNS)[:found]
    return PathObjects(made, (*_strangers(tape, unknown, strange), *_rests(tape, made)))


def _strangers(tape: Tape, rows: NDArray[np.int64], count: int) -> list[str]:
    named = [f"object class {tape.java_class(int(r)).name} at byte {tape.start[r]}" for r in rows[:count]]
    return [*named, f"{count - len(named)} more objects of unknown classes"] if count > len(named) else named


def _rests(tape: Tape, table: NDArray[np.int32]) -> list[str]:
    rest = table[table[:, REST] >= 0][:_UNKNOWN_MAX]
    return [f"values behind a {tape.java_class(int(r)).name} at byte {tape.start[r]}" for r in rest[:, ROW]]


def _walk(  # type: ignore[no-untyped-def]  # lists or arrays: numba compiles it for arrays
    data, kind, start, body, stop, after, link, defined, roles, root, table, stack, seen, unknown
):
    """Fill the table; see `find_objects`. A frame is (number of the object, next row, children left)."""
    found = strange = 0
    failure = at = x = 0
    depth = -1
    node, parent = root, -1
    while True:
        if node >= 0:  # begin an object
            t = found * _COLUMNS
            row = node + 1
            if kind[row] == TC_REFERENCE:
                row = defined[link[row]]
            table[t + ROW] = node
            table[t + PARENT] = parent
            table[t + ROLE] = roles[body[row]]
            seen[node] = True
            item = after[node + 1]
            end = after[node]
            for field in (NAME, COLOR, METADATA, MEASUREMENTS):
                if item >= end or kind[item] == TC_BLOCKDATA or kind[item] == TC_BLOCKDATALONG:
                    failure, at = _ENDS_EARLY, node
                    break
                if field == METADATA:  # left out by v0.2/v0.3 if empty
                    row = item
                    if kind[row] == TC_REFERENCE:
                        row = defined[link[row]]
                    if kind[row] != TC_OBJECT:
                        continue
                    row += 1
                    if kind[row] == TC_REFERENCE:
                        row = defined[link[row]]
                    if roles[body[row]] != 1:
                        continue
                table[t + field] = item
                item = after[item]
            if failure:
                break
            if item >= end or kind[item] != TC_BLOCKDATA or stop[item] - body[item] != 4:
                failure, at = _NO_COUNT, node
                break
            b = body[item]
            count = (data[b] << 24) | (data[b + 1] << 16) | (data[b + 2] << 8) | (data[b + 3] << 0)
            # Every child takes a row at least.
            if count > end - item:
                failure, at, x = _BAD_COUNT, node, count
                break
            table[t + SLOT] = item
            table[t + LAST] = item
            depth += 1
            stack[3 * depth] = found
            stack[3 * depth + 1] = after[item]
            stack[3 * depth + 2] = count
            found += 1
            node = -1
        number = stack[3 * depth]
        t = number * _COLUMNS
        own = table[t + ROW]
        end = after[own]
        item = stack[3 * depth + 1]
        if stack[3 * depth + 2] > 0:  # the next child
            if item >= end or kind[item] == TC_BLOCKDATA or kind[item] == TC_BLOCKDATALONG:
                failure, at = _ENDS_EARLY, own
                break
            child = item
            if kind[child] == TC_REFERENCE:
                child = defined[link[child]]
            if kind[child] != TC_OBJECT:
                failure, at = _NO_CHILD, own
                break
            table[t + LAST] = item
            stack[3 * depth + 1] = after[item]
            stack[3 * depth + 2] -= 1
            row = child + 1
            if kind[row] == TC_REFERENCE:
                row = defined[link[row]]
            # References in a circle would never end.
            if seen[child]:
                failure, at = _TWICE, child
                break
            if roles[body[row]] <= _FIRST_OBJECT:
                if strange < _UNKNOWN_MAX:
                    unknown[strange] = child
                strange += 1
                continue
            node, parent = child, number
            continue
        role = table[t + ROLE]
        if role != _FIRST_OBJECT:  # what PathROIObject and the classes below it add
            field = LOCKED
            while field <= NUCLEUS:
                if field == TAIL:
                    width = 9 if role == _TMA_CORE else 8  # class probability (NaN if unset), then isMissing
                    if item >= end or kind[item] != TC_BLOCKDATA or stop[item] - body[item] != width:
                        failure, at = (_NO_CORE_TAIL if width == 9 else _NO_TAIL), own
                        break
                elif field == NUCLEUS and role != _CELL:
                    break
                else:
                    if item >= end or kind[item] == TC_BLOCKDATA or kind[item] == TC_BLOCKDATALONG:
                        failure, at = _ENDS_EARLY, own
                        break
                    row = item
                    if kind[row] == TC_REFERENCE:
                        row = defined[link[row]]
                    if kind[row] != TC_OBJECT and kind[row] != TC_NULL:
                        failure, at = _NO_OBJECT, own
                        break
                    if field == LOCKED:  # missing in the oldest files
                        boolean = False
                        if kind[row] == TC_OBJECT:
                            row += 1
                            if kind[row] == TC_REFERENCE:
                                row = defined[link[row]]
                            boolean = roles[body[row]] == 2
                        if not boolean:
                            field += 1
                            continue
                table[t + field] = item
                item = after[item]
                field += 1
            if failure:
                break
        if item < end:
            table[t + REST] = item
        depth -= 1
        if depth < 0:
            break
    return failure, at, x, found, strange
