"""Say what comes next in an item that is open, by what was read of it last; or close it.

Each function gets where the innermost frame starts (`top`) and returns what is wanted next. Values and content that
follow one another are counted in the frame, so a frame is asked only where something else may come.
"""

from __future__ import annotations

from typing import Final

from qpkit.qupath.java.grammar import (
    BLOCK_DATA,
    ENUM,
    EXTERNALIZABLE,
    MAX_CLASS_DEPTH,
    SERIALIZABLE,
    TC_CLASSDESC,
    TC_NULL,
    WRITE_METHOD,
)
from qpkit.qupath.java.scanning.faults import (
    BAD_COUNT,
    CLASS_TOO_DEEP,
    CLASSLESS,
    FIELD_ORDER,
    FIELD_TYPE,
    NO_ARRAY,
    NO_ENUM,
    NOT_SERIALIZABLE,
    OLD_PROTOCOL,
)
from qpkit.qupath.java.scanning.state import (
    ARRAY_CLASS,
    ARRAY_ELEMENTS,
    C_BYTES,
    C_CODE,
    C_DEPTH,
    C_DONE,
    C_FLAGS,
    C_OBJECTS,
    C_SUPER,
    CLASS,
    CLASS_COLUMNS,
    CLASS_DESCRIPTION,
    DESCRIPTION_ANNOTATIONS,
    DESCRIPTION_FIELDS,
    DESCRIPTION_SUPERCLASS,
    ENUM_CLASS,
    ENUM_NAME,
    F_CHAIN,
    F_CLASS,
    F_CONTENT,
    F_FIELDS,
    F_NODE,
    F_STATE,
    F_SUPER,
    F_VALUES,
    NODES,
    NOTHING,
    OBJECT_CLASS,
    OBJECT_PART,
    OPEN_CLASSES,
    POS,
    TEXT,
    Scan,
    close,
    fail,
    new_handle,
    original,
    short,
    u16,
    u32,
)

OBJECT_LETTER, ARRAY_LETTER = b"L["
_WIDTHS: Final = dict(zip(b"BCDFIJSZ", (1, 2, 8, 4, 4, 8, 2, 1), strict=True))
WIDTH: Final = bytes(_WIDTHS.get(letter, 0) for letter in range(256))
"""Bytes of a primitive, by the letter of its type; 0 for all that is none."""


def next_in_frame(scan: Scan, top: int) -> int:
    """Ask the innermost frame."""
    state = scan.frames[top + F_STATE]
    if state == OBJECT_CLASS:
        return start_object(scan, top)
    if state == OBJECT_PART:
        return next_part(scan, top)
    if state == ARRAY_CLASS:
        return start_array(scan, top)
    if state in (ARRAY_ELEMENTS, ENUM_NAME):
        return close(scan, top)
    if state == ENUM_CLASS:
        return start_enum(scan, top)
    if state == CLASS_DESCRIPTION:
        return finish_class(scan, top)
    if state == DESCRIPTION_FIELDS:
        return next_field(scan, top)
    if state == DESCRIPTION_ANNOTATIONS:
        return want_superclass(scan, top)
    return finish_description(scan, top)


def start_object(scan: Scan, top: int) -> int:
    """Check the class of an object: it says whether Java wrote the fields or the class wrote everything itself."""
    frames = scan.frames
    node = frames[top + F_NODE]
    row = original(scan, node + 1)
    if scan.kind[row] == TC_NULL:
        return fail(scan, CLASSLESS, scan.start[node])
    number = scan.body[row]
    flags = scan.classes[number * CLASS_COLUMNS + C_FLAGS]
    if flags & ENUM or not flags & (SERIALIZABLE | EXTERNALIZABLE):
        return fail(scan, NOT_SERIALIZABLE, scan.start[node])
    if flags & EXTERNALIZABLE and not flags & BLOCK_DATA:
        return fail(scan, OLD_PROTOCOL, scan.start[node])
    new_handle(scan, node)
    scan.body[node] = scan.cursor[POS]
    frames[top + F_STATE] = OBJECT_PART
    frames[top + F_CLASS] = number
    frames[top + F_CONTENT] = flags & EXTERNALIZABLE
    frames[top + F_CHAIN] = 0 if flags & EXTERNALIZABLE else scan.classes[number * CLASS_COLUMNS + C_DEPTH]
    return NOTHING


def next_part(scan: Scan, top: int) -> int:
    """Go on to the next class of an object: skip its primitive fields; its objects and own data follow."""
    frames, classes, pos = scan.frames, scan.classes, scan.cursor[POS]
    below = frames[top + F_CHAIN] - 1
    if below < 0:
        return close(scan, top)
    frames[top + F_CHAIN] = below
    number = frames[top + F_CLASS]
    for _ in range(below):
        number = classes[number * CLASS_COLUMNS + C_SUPER]
    c = number * CLASS_COLUMNS
    size = classes[c + C_BYTES]
    if size > scan.end - pos:
        return short(scan, pos, size)
    scan.cursor[POS] = pos + size
    frames[top + F_VALUES] = classes[c + C_OBJECTS]
    frames[top + F_CONTENT] = classes[c + C_FLAGS] & WRITE_METHOD
    return NOTHING


def start_array(scan: Scan, top: int) -> int:
    """Check the class of an array; skip its numbers, or count its elements."""
    node, pos = scan.frames[top + F_NODE], scan.cursor[POS]
    row = original(scan, node + 1)
    if scan.kind[row] != TC_CLASSDESC:
        return fail(scan, NO_ARRAY, scan.start[node])
    letter = scan.classes[scan.body[row] * CLASS_COLUMNS + C_CODE]
    new_handle(scan, node)
    if scan.end - pos < 4:
        return short(scan, pos, 4)
    count, pos = u32(scan.data, pos), pos + 4
    width = WIDTH[letter]
    if width == 0 and letter not in (OBJECT_LETTER, ARRAY_LETTER):
        return fail(scan, NO_ARRAY, scan.start[node])
    least = width if width else 1  # an object has a byte at least
    if count >= 1 << 31 or count * least > scan.end - pos:
        return fail(scan, BAD_COUNT, scan.start[node], count, scan.end - pos)
    scan.body[node] = pos
    scan.cursor[POS] = pos + count * width
    if width:
        return close(scan, top)
    scan.frames[top + F_STATE] = ARRAY_ELEMENTS
    scan.frames[top + F_VALUES] = count
    return NOTHING


def start_enum(scan: Scan, top: int) -> int:
    """Check the class of an enum constant, and want its name."""
    node = scan.frames[top + F_NODE]
    row = original(scan, node + 1)
    if scan.kind[row] != TC_CLASSDESC or not scan.classes[scan.body[row] * CLASS_COLUMNS + C_FLAGS] & ENUM:
        return fail(scan, NO_ENUM, scan.start[node])
    new_handle(scan, node)
    scan.body[node] = scan.cursor[POS]
    scan.frames[top + F_STATE] = ENUM_NAME
    return TEXT


def finish_class(scan: Scan, top: int) -> int:
    """Finish a java.lang.Class, which has nothing but its description."""
    node = scan.frames[top + F_NODE]
    new_handle(scan, node)
    scan.body[node] = scan.cursor[POS]
    return close(scan, top)


def next_field(scan: Scan, top: int) -> int:
    """Read the next field of a class description, the type of an object as text; annotations follow the last one."""
    data, classes, pos = scan.data, scan.classes, scan.cursor[POS]
    if scan.frames[top + F_FIELDS] == 0:
        scan.frames[top + F_STATE] = DESCRIPTION_ANNOTATIONS
        scan.frames[top + F_CONTENT] = 1
        return NOTHING
    scan.frames[top + F_FIELDS] -= 1
    if scan.end - pos < 3:
        return short(scan, pos, 3)
    letter, size = data[pos], u16(data, pos + 1)
    if scan.end - pos - 3 < size:
        return short(scan, pos + 3, size)
    scan.cursor[POS] = pos + 3 + size
    c = scan.frames[top + F_CLASS] * CLASS_COLUMNS
    if letter in (OBJECT_LETTER, ARRAY_LETTER):
        classes[c + C_OBJECTS] += 1
        return TEXT
    if WIDTH[letter] == 0:
        return fail(scan, FIELD_TYPE, pos, letter)
    if classes[c + C_OBJECTS]:
        return fail(scan, FIELD_ORDER, scan.start[scan.frames[top + F_NODE]])
    classes[c + C_BYTES] += WIDTH[letter]
    return NOTHING


def want_superclass(scan: Scan, top: int) -> int:
    """Want the superclass of a class description, and note which row it will have."""
    scan.frames[top + F_STATE] = DESCRIPTION_SUPERCLASS
    scan.frames[top + F_SUPER] = scan.cursor[NODES]
    return CLASS


def finish_description(scan: Scan, top: int) -> int:
    """Enter the superclass of a class description in the class table."""
    classes, row = scan.classes, scan.frames[top + F_SUPER]
    c = scan.frames[top + F_CLASS] * CLASS_COLUMNS
    if scan.kind[row] != TC_NULL:
        above = scan.body[original(scan, row)]
        classes[c + C_SUPER] = above
        classes[c + C_DEPTH] = classes[above * CLASS_COLUMNS + C_DEPTH] + 1
    classes[c + C_DONE] = 1
    if classes[c + C_DEPTH] > MAX_CLASS_DEPTH:
        return fail(scan, CLASS_TOO_DEEP, scan.start[scan.frames[top + F_NODE]], MAX_CLASS_DEPTH)
    scan.cursor[OPEN_CLASSES] -= 1
    return close(scan, top)
