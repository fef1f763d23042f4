"""Scan a Java serialization stream once and note where everything is. Knows the grammar, nothing of QuPath.

No object is made: the scan fills columns, one row for each value of the stream (a `Tape`, see `javatape`). The same
function runs as plain Python on small files and compiled by numba on large ones, where compiling pays off. Only what
Java itself writes is accepted (shortest block and string forms), so a copy of the bytes is what Java would write.

Source: "Java Object Serialization Specification", chapter 6 (stream version 5).
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import FormatError
from qpkit.qupath.java.grammar import MAGIC, MAX_DEPTH
from qpkit.qupath.java.scan_loop import CLASS_COLUMNS, FRAME, MESSAGES, NOT_ASCII, walk

_DENSEST: Final = 4
"""Bytes for each value; real files have seven to nine. It bounds the memory that a hostile file can ask for."""

_COMPILE_FROM: Final = 1 << 20
"""Bytes. Plain Python scans a MiB in less time than numba needs to be imported."""


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
    size = len(data)
    rows = size // _DENSEST + 10_000
    raw = until.encode("ascii")
    if size < _COMPILE_FROM:
        columns = [bytearray(rows), *(array("i", bytes(4 * rows)) for _ in range(6))]
        classes = array("q", bytes(8 * CLASS_COLUMNS * 64))
        plain: Callable[..., Any] = walk
        found = plain(data, size, raw, *columns, rows, classes, [0] * (FRAME * min(size, MAX_DEPTH + 70)))
    else:
        offset = np.int32 if size < 2**31 else np.int64
        types = (np.uint8, offset, offset, offset, np.int32, np.int32, np.int32)
        found = _compiled()(
            np.frombuffer(data, np.uint8),
            size,
            np.frombuffer(raw, np.uint8),
            *(np.empty(rows, kind) for kind in types),
            rows,
            np.zeros(CLASS_COLUMNS * 64, np.int64),
            np.zeros(FRAME * (MAX_DEPTH + 70), np.int64),
        )
    return _columns(*found)


def _columns(
    failure: int,
    at: int,
    x: int,
    y: int,
    counts: tuple[int, int, int, int, int],
    node_columns: tuple[Any, ...],
    defined: Any,
    classes: Any,
) -> Columns:
    if failure:
        raise FormatError(f"{MESSAGES[failure].format(int(x), int(y))} at byte {at}")
    nodes, handles, known, end, resets = counts
    types = (np.uint8, np.int64, np.int64, np.int64, np.int32, np.int32)
    cut: list[Any] = [
        np.asarray(column[:nodes], column.dtype if isinstance(column, np.ndarray) else kind)
        for column, kind in zip(node_columns, types, strict=True)
    ]
    table = np.asarray(classes[: known * CLASS_COLUMNS], np.int64).reshape(known, CLASS_COLUMNS)
    kind, start, body, stop, after, link = cut
    return Columns(
        kind=kind,
        start=start,
        body=body,
        stop=stop,
        after=after,
        link=link,
        defined=np.asarray(defined[:handles], np.int32),
        classes=table,
        end=int(end),
        resets=bool(resets),
    )


def not_ascii(columns: Columns) -> NDArray[np.intp]:
    """List the strings that need a look (rows), and give them their plain kind."""
    rows = np.flatnonzero(columns.kind >= NOT_ASCII)
    columns.kind[rows] -= NOT_ASCII
    return rows


@functools.cache
def _compiled() -> Callable[..., Any]:
    """Compile the scan; the result is kept on disk."""
    import numba

    compiled: Callable[..., Any] = numba.njit(cache=True, nogil=True)(walk)
    return compiled
