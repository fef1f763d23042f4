"""Read one item of a stream: a row of the columns, and a frame if it holds others.

Each function gets the row (`node`) and the byte behind what has been read of it (`pos`), and returns what is wanted
next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qpkit.qupath.java.grammar import (
    EXTERNALIZABLE,
    FIRST_HANDLE,
    MAX_CLASS_DEPTH,
    MAX_DEPTH,
    SERIALIZABLE,
    TC_ARRAY,
    TC_BLOCKDATA,
    TC_BLOCKDATALONG,
    TC_CLASS,
    TC_CLASSDESC,
    TC_ENDBLOCKDATA,
    TC_ENUM,
    TC_LONGSTRING,
    TC_NULL,
    TC_OBJECT,
    TC_PROXYCLASSDESC,
    TC_REFERENCE,
    TC_RESET,
    TC_STRING,
)
from qpkit.qupath.java.scanning.faults import (
    BAD_CODE,
    BAD_HANDLE,
    BAD_PROXY,
    BOTH_KINDS,
    CLASS_TOO_DEEP,
    INNER_RESET,
    LONG_BLOCK,
    LONG_STRING,
    NO_CLASS,
    NO_STRING,
    SHORT,
    TOO_DEEP,
    TOO_DENSE,
)
from qpkit.qupath.java.scanning.state import (
    ARRAY_CLASS,
    C_CODE,
    C_DEPTH,
    C_DONE,
    C_FLAGS,
    C_NODE,
    C_SUPER,
    CLASS,
    CLASS_COLUMNS,
    CLASS_DESCRIPTION,
    CLASSES,
    CLASSES_FULL,
    CONTENT,
    DESCRIPTION_FIELDS,
    ENUM_CLASS,
    F_CLASS,
    F_CONTENT,
    F_FIELDS,
    FORGOTTEN,
    FRAME,
    HANDLES,
    NODES,
    NOTHING,
    OBJECT_CLASS,
    OPEN_CLASSES,
    POS,
    RESETS,
    STOP,
    TEXT,
    TOP,
    Scan,
    fail,
    leaf,
    new_handle,
    push,
    short,
    u16,
    u32,
)

NOT_ASCII: Final = 0x80
"""Added to the kind of a string that is not plain ASCII until it has been checked."""

STRINGS: Final = (TC_STRING, TC_LONGSTRING)
DESCRIPTIONS: Final = (TC_CLASSDESC, TC_PROXYCLASSDESC)
BLOCKS: Final = (TC_BLOCKDATA, TC_BLOCKDATALONG)
(ARRAY_LETTER,) = b"["


def read_item(scan: Scan, want: int) -> int:
    """Read the next item, which must be what is wanted; the most frequent kinds come first."""
    cursor = scan.cursor
    pos, node = cursor[POS], cursor[NODES]
    if pos >= scan.end:
        return short(scan, pos, 1)
    tag = scan.data[pos]
    if tag == TC_ENDBLOCKDATA and want == CONTENT and cursor[TOP] >= 0:
        return end_content(scan, pos + 1)
    if node == scan.room:
        return fail(scan, TOO_DENSE, pos)
    scan.kind[node] = tag
    scan.start[node] = pos
    cursor[NODES] = node + 1
    if tag == TC_REFERENCE:
        return read_reference(scan, node, pos + 1, want)
    if tag == TC_NULL:
        return read_null(scan, node, pos + 1, want)
    if want == TEXT and tag not in STRINGS:
        return fail(scan, NO_STRING, pos)
    if want == CLASS and tag not in DESCRIPTIONS:
        return fail(scan, BAD_CODE, pos, tag)
    return read_new_item(scan, node, pos + 1, tag, want)


def end_content(scan: Scan, pos: int) -> int:
    """Read the mark behind what a class wrote itself."""
    scan.frames[scan.cursor[TOP] + F_CONTENT] = 0
    scan.cursor[POS] = pos
    return NOTHING


def read_new_item(scan: Scan, node: int, pos: int, tag: int, want: int) -> int:
    """Read an item that is neither null nor a reference."""
    if tag == TC_OBJECT:
        return open_item(scan, node, pos, OBJECT_CLASS)
    if tag == TC_ARRAY:
        return open_item(scan, node, pos, ARRAY_CLASS)
    if tag in BLOCKS:
        return read_block(scan, node, pos) if want == CONTENT else fail(scan, BAD_CODE, pos - 1, tag)
    if tag in STRINGS:
        return read_string(scan, node, pos)
    if tag in DESCRIPTIONS:
        return read_description(scan, node, pos)
    if tag == TC_ENUM:
        return open_item(scan, node, pos, ENUM_CLASS)
    if tag == TC_CLASS:
        return open_item(scan, node, pos, CLASS_DESCRIPTION)
    if tag == TC_RESET:
        return read_reset(scan, node, pos)
    return fail(scan, BAD_CODE, pos - 1, tag)


def read_null(scan: Scan, node: int, pos: int, want: int) -> int:
    """Read null, which is no name and no type."""
    if want == TEXT:
        return fail(scan, NO_STRING, pos - 1)
    scan.link[node] = -1
    return leaf(scan, node, pos, pos)


def read_reference(scan: Scan, node: int, pos: int, want: int) -> int:
    """Read a reference to a string or class, if one is wanted."""
    if scan.end - pos < 4:
        return short(scan, pos, 4)
    cursor = scan.cursor
    forgotten, handles = cursor[FORGOTTEN], cursor[HANDLES]
    handle = u32(scan.data, pos) - FIRST_HANDLE + forgotten
    if handle < forgotten or handle >= handles:
        return fail(scan, BAD_HANDLE, pos - 1, handle - forgotten, handles - forgotten)
    if want == CLASS and not is_finished_class(scan, scan.defined[handle]):
        return fail(scan, NO_CLASS, pos - 1)
    # The mark is taken off only when the scan is over.
    if want == TEXT and scan.kind[scan.defined[handle]] & ~NOT_ASCII not in STRINGS:
        return fail(scan, NO_STRING, pos - 1)
    scan.link[node] = handle
    return leaf(scan, node, pos, pos + 4)


def is_finished_class(scan: Scan, row: int) -> bool:
    """Whether a row is a class that has been read to its end; before, it could be its own superclass."""
    return scan.kind[row] in DESCRIPTIONS and scan.classes[scan.body[row] * CLASS_COLUMNS + C_DONE] == 1


def read_string(scan: Scan, node: int, pos: int) -> int:
    """Read a string, long ones only where a short one cannot hold it; stop behind the one that ends the scan."""
    data, left = scan.data, scan.end - pos
    head = 2 if scan.kind[node] == TC_STRING else 8
    if left < head:
        return short(scan, pos, head)
    if head == 2:
        size = u16(data, pos)
    else:
        if data[pos] >= 0x80:  # a negative length
            return fail(scan, SHORT, pos - 1, -1, left)
        size = u32(data, pos) * 0x1_0000_0000 + u32(data, pos + 4)
        if size <= 0xFFFF:
            return fail(scan, LONG_STRING, pos - 1, size)
    body = pos + head
    if size > scan.end - body:
        return short(scan, body, size)
    if not is_ascii(data, body, body + size):
        scan.kind[node] += NOT_ASCII
    new_handle(scan, node)
    leaf(scan, node, body, body + size)
    return STOP if scan.cursor[TOP] < 0 and is_last(scan, body, size) else NOTHING


def is_ascii(data: Sequence[int], start: int, stop: int) -> bool:
    """Whether each character is one byte; Java writes zero as two."""
    for code in data[start:stop]:  # noqa: SIM110  # numba knows no all(); plain Python is slower with an index
        if code == 0 or code >= 0x80:
            return False
    return True


def is_last(scan: Scan, body: int, size: int) -> bool:
    """Whether this string is the one behind which the scan stops."""
    if size == 0 or size != len(scan.until):
        return False
    for k in range(size):  # noqa: SIM110  # numba knows no all()
        if scan.data[body + k] != scan.until[k]:
            return False
    return True


def read_block(scan: Scan, node: int, pos: int) -> int:
    """Read a block of bytes, long ones only where a short one cannot hold it."""
    head = 1 if scan.kind[node] == TC_BLOCKDATA else 4
    if scan.end - pos < head:
        return short(scan, pos, head)
    size = scan.data[pos] if head == 1 else u32(scan.data, pos)
    if head == 4 and size <= 0xFF:
        return fail(scan, LONG_BLOCK, pos - 1, size)
    body = pos + head
    if size > scan.end - body:
        return short(scan, body, size)
    scan.link[node] = -1
    return leaf(scan, node, body, body + size)


def read_reset(scan: Scan, node: int, pos: int) -> int:
    """Forget all handles, which is possible between objects only."""
    cursor = scan.cursor
    if cursor[TOP] >= 0:
        return fail(scan, INNER_RESET, pos - 1)
    cursor[FORGOTTEN] = cursor[HANDLES]
    cursor[RESETS] = 1
    scan.link[node] = -1
    return leaf(scan, node, pos, pos)


def open_item(scan: Scan, node: int, pos: int, state: int) -> int:
    """Open an object, array, enum constant or java.lang.Class: each starts with the description of a class."""
    top = push(scan, node, state, pos)
    if top // FRAME - scan.cursor[OPEN_CLASSES] >= MAX_DEPTH:
        return fail(scan, TOO_DEEP, pos - 1, MAX_DEPTH)
    return CLASS


def read_description(scan: Scan, node: int, pos: int) -> int:
    """Open the description of a class, with a row of its own in the class table."""
    cursor, classes = scan.cursor, scan.classes
    cursor[OPEN_CLASSES] += 1
    if cursor[OPEN_CLASSES] > MAX_CLASS_DEPTH:
        return fail(scan, CLASS_TOO_DEEP, pos - 1, MAX_CLASS_DEPTH)
    number = cursor[CLASSES]
    cursor[CLASSES] = number + 1
    c = number * CLASS_COLUMNS
    classes[c + C_NODE] = node
    classes[c + C_SUPER] = -1
    classes[c + C_DEPTH] = 1
    scan.body[node] = number
    new_handle(scan, node)
    top = push(scan, node, DESCRIPTION_FIELDS, pos)
    scan.frames[top + F_CLASS] = number
    is_proxy = scan.kind[node] == TC_PROXYCLASSDESC
    if (read_interfaces(scan, top, pos) if is_proxy else read_class_head(scan, top, pos)) == STOP:
        return STOP
    # Only now that the description is taken up: the scan goes on behind it with a larger table.
    return fail(scan, CLASSES_FULL, pos) if c + CLASS_COLUMNS == len(classes) else NOTHING


def read_class_head(scan: Scan, top: int, pos: int) -> int:
    """Read name, serialVersionUID, flags and number of fields."""
    data, classes, frames = scan.data, scan.classes, scan.frames
    c = frames[top + F_CLASS] * CLASS_COLUMNS
    if scan.end - pos < 2:
        return short(scan, pos, 2)
    name, size = pos + 2, u16(data, pos)
    if scan.end - name < size + 11:
        return short(scan, name, size + 11)
    if size > 1 and data[name] == ARRAY_LETTER:
        classes[c + C_CODE] = data[name + 1]
    behind = name + size + 8  # the serialVersionUID has eight bytes
    flags = data[behind]
    classes[c + C_FLAGS] = flags
    if flags & SERIALIZABLE and flags & EXTERNALIZABLE:
        return fail(scan, BOTH_KINDS, pos - 1)
    frames[top + F_FIELDS] = u16(data, behind + 1)
    scan.cursor[POS] = behind + 3
    return NOTHING


def read_interfaces(scan: Scan, top: int, pos: int) -> int:
    """Skip the names of a proxy's interfaces; it has no fields."""
    data = scan.data
    if scan.end - pos < 4:
        return short(scan, pos, 4)
    count = u32(data, pos)
    pos += 4
    if count > (scan.end - pos) // 2:
        return fail(scan, BAD_PROXY, pos - 5, count)
    for _ in range(count):
        if scan.end - pos < 2 or scan.end - pos - 2 < u16(data, pos):
            return short(scan, pos, 2)
        pos += 2 + u16(data, pos)
    scan.classes[scan.frames[top + F_CLASS] * CLASS_COLUMNS + C_FLAGS] = SERIALIZABLE
    scan.frames[top + F_FIELDS] = 0
    scan.cursor[POS] = pos
    return NOTHING
