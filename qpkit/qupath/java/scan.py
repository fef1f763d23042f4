"""Scan a Java serialization stream once and note where everything is. Knows the grammar, nothing of QuPath.

No object is made: the scan fills columns, one row for each value of the stream (a `Tape`, see `tape`). The same
functions (folder `scanning`) run as plain Python on small files and compiled by numba on large ones, where compiling
pays off. Only what Java itself writes is accepted (shortest block and string forms), so a copy of the bytes is what
Java would write.

Source: "Java Object Serialization Specification", chapter 6 (stream version 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import FormatError
from qpkit.qupath.java.grammar import MAGIC, MAX_DEPTH
from qpkit.qupath.java.scanning.compiling import compiled
from qpkit.qupath.java.scanning.faults import MESSAGES
from qpkit.qupath.java.scanning.items import NOT_ASCII
from qpkit.qupath.java.scanning.loop import walk
from qpkit.qupath.java.scanning.state import (
    AT,
    CLASS_COLUMNS,
    CLASSES,
    CLASSES_FULL,
    CURSOR,
    FAULT,
    FRAME,
    HANDLES,
    NODES,
    POS,
    RESETS,
    TOP,
    PlainScan,
    Scan,
    X,
    Y,
)

_DENSEST: Final = 4
"""Bytes for each value; real files have seven to nine. It bounds the memory that a hostile file can ask for."""

_COMPILE_FROM: Final = 1 << 20
"""Bytes. Plain Python scans a MiB in less time than numba needs to be imported."""

_CLASSES: Final = 64
"""Rows of the class table to begin with; QuPath's files have about thirty classes."""

_FRAMES: Final = MAX_DEPTH + 70
"""Objects, and the class descriptions that may be open inside the innermost one."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the scan found, one row for each node, in the order of the stream.

    Args:
        kind: (n,) uint8, the type code (TC_*).
        start: (n,) byte of the type code.
        body: (n,) where the own data begin: behind the class of an object, array (and its length) or enum constant;
            the bytes of a string or block; the row in `classes` of a class description.
        stop: (n,) behind the last byte.
        after: (n,) row behind the last node inside this one.
        link: (n,) own handle, or the handle that a reference means; -1 for null, blocks and resets.
        defined: (handles,) row of the node that has a handle.
        classes: (classes, 8) int64: node, flags, bytes of primitive fields, object fields, superclass's row or -1,
            number of classes from the topmost down, element type of an array class, finished.
        end: Where the scan stopped.
        resets: Whether handles were reset in between.
    """

    kind: NDArray[np.uint8]
    start: NDArray[np.integer[Any]]
    body: NDArray[np.integer[Any]]
    stop: NDArray[np.integer[Any]]
    after: NDArray[np.int32]
    link: NDArray[np.int32]
    defined: NDArray[np.int32]
    classes: NDArray[np.int64]
    end: int
    resets: bool


def scan(data: bytes, *, until: str) -> Columns:
    """Scan a whole stream.

    Args:
        data: From the magic number to the end.
        until: Stop behind the top-level string that equals this ("" never equals).

    Raises:
        FormatError: Not a stream, truncated, or not what Java writes; the message has the byte offset. Strings are
            not decoded yet: see `not_ascii`.
    """
    if data[:4] != MAGIC:
        raise FormatError(f"not a Java serialization stream (starts with {data[:4].hex(' ') or 'nothing'}) at byte 0")
    begin, run = (_plain, walk) if len(data) < _COMPILE_FROM else (_arrays, compiled(walk))
    state = begin(data, until.encode("ascii"), len(data) // _DENSEST + 10_000)
    run(state)
    while state.cursor[FAULT] == CLASSES_FULL:
        state = _with_larger_class_table(state)
        run(state)
    return _columns(state)


def _plain(data: bytes, until: bytes, rows: int) -> Any:
    """Begin a scan in plain Python."""
    return PlainScan(
        data,
        len(data),
        until,
        rows,
        bytearray(rows),
        *(memoryview(bytearray(4 * rows)).cast("i") for _ in range(6)),  # written to faster than an array("i")
        classes=[0] * (CLASS_COLUMNS * _CLASSES),
        frames=[0] * (FRAME * min(len(data), _FRAMES)),
        cursor=_cursor(),
    )


def _arrays(data: bytes, until: bytes, rows: int) -> Scan:
    """Begin a scan compiled by numba."""
    offset = np.int32 if len(data) < 2**31 else np.int64
    stream, last = (cast("Sequence[int]", np.frombuffer(content, np.uint8)) for content in (data, until))
    return Scan(
        stream,
        len(data),
        last,
        rows,
        kind=np.empty(rows, np.uint8),
        start=np.empty(rows, offset),
        body=np.empty(rows, offset),
        stop=np.empty(rows, offset),
        after=np.empty(rows, np.int32),
        link=np.empty(rows, np.int32),
        defined=np.empty(rows, np.int32),
        classes=np.zeros(CLASS_COLUMNS * _CLASSES, np.int64),
        frames=np.zeros(FRAME * _FRAMES, np.int64),
        cursor=np.array(_cursor(), np.int64),
    )


def _cursor() -> list[int]:
    """Behind the magic number, with no frame open."""
    cursor = [0] * CURSOR
    cursor[POS], cursor[TOP] = len(MAGIC), -FRAME
    return cursor


def _with_larger_class_table(state: Any) -> Any:
    """Double the class table; the scan goes on where it was."""
    classes = state.classes
    if isinstance(state, Scan):
        return state._replace(classes=np.concatenate((classes, np.zeros_like(classes))))
    return replace(state, classes=classes + [0] * len(classes))


def _columns(state: Any) -> Columns:
    """Cut the columns to what was found.

    Raises:
        FormatError: The scan met a fault.
    """
    cursor = [int(number) for number in state.cursor]
    if cursor[FAULT]:
        raise FormatError(f"{MESSAGES[cursor[FAULT]].format(cursor[X], cursor[Y])} at byte {cursor[AT]}")
    nodes, is_compiled = cursor[NODES], isinstance(state, Scan)
    offset = state.start.dtype if is_compiled else np.int64
    cut = np.asarray if is_compiled else np.array  # small columns are copied, so that the empty rows are let go
    return Columns(
        kind=cut(state.kind[:nodes], np.uint8),
        start=cut(state.start[:nodes], offset),
        body=cut(state.body[:nodes], offset),
        stop=cut(state.stop[:nodes], offset),
        after=cut(state.after[:nodes], np.int32),
        link=cut(state.link[:nodes], np.int32),
        defined=cut(state.defined[: cursor[HANDLES]], np.int32),
        classes=cut(state.classes[: cursor[CLASSES] * CLASS_COLUMNS], np.int64).reshape(-1, CLASS_COLUMNS),
        end=cursor[POS],
        resets=bool(cursor[RESETS]),
    )


def not_ascii(columns: Columns) -> NDArray[np.intp]:
    """List the strings that need a look (rows), and give them their plain kind."""
    rows = np.flatnonzero(columns.kind >= NOT_ASCII)
    columns.kind[rows] -= NOT_ASCII
    return rows
