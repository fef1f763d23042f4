"""What a scan knows while it runs: what it has found, what is open, and where it is.

Plain Python and numba share the functions of this folder. So there are no objects here, only numbers in lists or
arrays, with names for the places in them. A function tells by its result what it wants to be read next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import make_dataclass
from typing import Final, NamedTuple, Protocol

from qpkit.qupath.java.grammar import TC_REFERENCE
from qpkit.qupath.java.scanning.faults import SHORT

(
    STOP,  # nothing: something is wrong, or the end is reached
    NOTHING,  # nothing before the innermost frame has been asked
    CONTENT,  # any item, blocks too
    VALUE,  # any item but blocks
    CLASS,  # a class description, a reference to one, or null
    TEXT,  # a string or a reference to one
) = range(-1, 5)

CURSOR = 12
"""Numbers in a cursor."""
(
    POS,  # the next byte
    NODES,  # the next row of the columns
    HANDLES,  # the next handle, counted without end
    FORGOTTEN,  # handles that the last reset has made unknown
    CLASSES,  # the next row of the class table
    RESETS,  # 1 after a reset
    TOP,  # where the innermost frame starts
    OPEN_CLASSES,  # class descriptions among the frames
    FAULT,  # what is wrong, 0 for nothing
    AT,  # at which byte
    X,  # the two numbers of its message
    Y,
) = range(CURSOR)

FRAME = 8
"""Numbers in a frame, which is an item that is open."""
(
    F_STATE,  # what was read last
    F_NODE,  # its row
    F_VALUES,  # values that come next
    F_CONTENT,  # not 0: content up to a mark comes behind the values
    F_CLASS,  # row in the class table: its class, or the description itself
    F_CHAIN,  # classes that an object still has before it, from the topmost down
    F_FIELDS,  # fields that a class description still has before it
    F_SUPER,  # the row that a class description's superclass has
) = range(FRAME)

(
    OBJECT_CLASS,
    OBJECT_PART,  # fields and own data of a class of the chain
    ARRAY_CLASS,
    ARRAY_ELEMENTS,
    ENUM_CLASS,
    ENUM_NAME,
    CLASS_DESCRIPTION,  # of a java.lang.Class
    DESCRIPTION_FIELDS,
    DESCRIPTION_ANNOTATIONS,
    DESCRIPTION_SUPERCLASS,
) = range(10)

CLASS_COLUMNS = 8
"""Numbers in a row of the class table."""
(
    C_NODE,  # row of the description
    C_FLAGS,  # SC_*
    C_BYTES,  # of the primitive fields
    C_OBJECTS,  # object fields
    C_SUPER,  # row of the superclass in this table, or -1
    C_DEPTH,  # classes of the chain, this one included
    C_CODE,  # letter of the element type, if it is an array class
    C_DONE,  # 1 when it has been read to its end
) = range(CLASS_COLUMNS)

CLASSES_FULL = -1
"""As FAULT: the class table is full. With a larger one the scan goes on where it stopped.

The scan cannot enlarge it itself: numba loads a variable array again at every access, which is six times slower.
"""


class Numbers(Protocol):
    """A list, an array, or a view of one."""

    def __getitem__(self, place: int, /) -> int: ...

    def __setitem__(self, place: int, number: int, /) -> None: ...

    def __len__(self) -> int: ...


class Scan(NamedTuple):
    """A stream and what the scan knows about it.

    Args:
        data: The stream.
        end: Its length.
        until: Bytes of the top-level string behind which the scan stops.
        room: Rows that the columns have.
        kind: (room,) as are start, body, stop, after, link, defined; see `scan.Columns`.
        classes: The class table, C_* of each class one behind the other.
        frames: F_* of each item that is open, the innermost last.
        cursor: (12,) where the scan is, POS to Y.
    """

    data: Sequence[int]
    end: int
    until: Sequence[int]
    room: int
    kind: Numbers
    start: Numbers
    body: Numbers
    stop: Numbers
    after: Numbers
    link: Numbers
    defined: Numbers
    classes: Numbers
    frames: Numbers
    cursor: Numbers


PlainScan: Final = make_dataclass("PlainScan", Scan._fields, frozen=True, slots=True)
"""A `Scan` for plain Python, which reads its fields three times faster than those of a tuple; numba knows only tuples.
"""


def fail(scan: Scan, fault: int, at: int, x: int = 0, y: int = 0) -> int:
    """Note what is wrong at which byte, with the two numbers of its message."""
    cursor = scan.cursor
    cursor[FAULT] = fault
    cursor[AT] = at
    cursor[X] = x
    cursor[Y] = y
    return STOP


def short(scan: Scan, pos: int, wanted: int) -> int:
    """Note that the stream has fewer bytes from here on than are wanted."""
    return fail(scan, SHORT, pos, wanted, scan.end - pos)


def u16(data: Sequence[int], pos: int) -> int:
    """Read a number of two bytes."""
    return data[pos] * 0x100 + data[pos + 1]


def u32(data: Sequence[int], pos: int) -> int:
    """Read a number of four bytes."""
    # No shifts: numba takes a shifted byte for unsigned, and a sum of signed and unsigned for a double.
    return ((data[pos] * 0x100 + data[pos + 1]) * 0x100 + data[pos + 2]) * 0x100 + data[pos + 3]


def new_handle(scan: Scan, node: int) -> None:
    """Give the next handle to a row."""
    handle = scan.cursor[HANDLES]
    scan.link[node] = handle
    scan.defined[handle] = node
    scan.cursor[HANDLES] = handle + 1


def original(scan: Scan, row: int) -> int:
    """The row that is meant: that of the original, if this one is a reference."""
    return scan.defined[scan.link[row]] if scan.kind[row] == TC_REFERENCE else row


def leaf(scan: Scan, node: int, body: int, stop: int) -> int:
    """Finish an item that holds no others."""
    scan.body[node] = body
    scan.stop[node] = stop
    scan.after[node] = node + 1
    scan.cursor[POS] = stop
    return NOTHING


def push(scan: Scan, node: int, state: int, pos: int) -> int:
    """Open a frame; returns where it starts."""
    cursor, frames = scan.cursor, scan.frames
    top = cursor[TOP] + FRAME
    cursor[TOP] = top
    cursor[POS] = pos
    frames[top + F_STATE] = state
    frames[top + F_NODE] = node
    frames[top + F_VALUES] = 0
    frames[top + F_CONTENT] = 0
    return top


def close(scan: Scan, top: int) -> int:
    """Finish the item of the innermost frame."""
    node = scan.frames[top + F_NODE]
    scan.stop[node] = scan.cursor[POS]
    scan.after[node] = scan.cursor[NODES]
    scan.cursor[TOP] = top - FRAME
    return NOTHING
