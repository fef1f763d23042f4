"""The one loop that walks over a stream. Plain Python for small files, compiled by numba for large ones.

So it is written in the common language of both: numbers, and columns that are lists or arrays.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from qpkit.qupath.java.grammar import (
    BLOCK_DATA,
    ENUM,
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
    WRITE_METHOD,
)

NOT_ASCII: Final = 0x80
"""Added to the kind of a string that is not plain ASCII until it has been checked."""

_WIDTH: Final = bytes({66: 1, 67: 2, 68: 8, 70: 4, 73: 4, 74: 8, 83: 2, 90: 1}.get(code, 0) for code in range(256))
"""Bytes of a primitive, by the letter of its type: B C D F I J S Z."""

_OBJECT_TYPE, _ARRAY_TYPE = 76, 91  # L [

FRAME: Final = 5
CLASS_COLUMNS: Final = 8
C_NODE, C_FLAGS, C_BYTES, C_OBJECTS, C_SUPER, C_DEPTH, C_CODE, C_DONE = range(CLASS_COLUMNS)

CONTENT, VALUE, CLASS, TEXT = 1, 2, 3, 4

(
    _SHORT,
    _BAD_CODE,
    _BAD_HANDLE,
    _LONG_STRING,
    _LONG_BLOCK,
    _BAD_COUNT,
    _TOO_DEEP,
    _CLASS_TOO_DEEP,
    _NO_CLASS,
    _NO_STRING,
    _CLASSLESS,
    _NOT_SERIALIZABLE,
    _OLD_PROTOCOL,
    _NO_ARRAY,
    _NO_ENUM,
    _BOTH_KINDS,
    _FIELD_TYPE,
    _FIELD_ORDER,
    _BAD_PROXY,
    _INNER_RESET,
    _TOO_DENSE,
) = range(1, 22)

MESSAGES: Final = {
    _SHORT: "the stream ends, or a length is wrong: {0} bytes wanted, {1} left",
    _BAD_CODE: "unexpected or unsupported type code 0x{0:02x}",
    _BAD_HANDLE: "a reference to handle {0}, of which there are {1}",
    _LONG_STRING: "a long string of {0} bytes, which Java writes as a short one",
    _LONG_BLOCK: "a long block of {0} bytes, which Java writes as a short one",
    _BAD_COUNT: "an array of {0} elements, with {1} bytes left",
    _TOO_DEEP: "objects are nested more than {0} deep",
    _CLASS_TOO_DEEP: "more than {0} classes inside each other",
    _NO_CLASS: "a reference to something that is no (finished) class",
    _NO_STRING: "a string is expected",
    _CLASSLESS: "an object without a class",
    _NOT_SERIALIZABLE: "an object of a class that cannot be serialized",
    _OLD_PROTOCOL: "an object in the old stream protocol 1",
    _NO_ARRAY: "something that is no array class is used as an array",
    _NO_ENUM: "something that is no enum is used as an enum",
    _BOTH_KINDS: "a class is serializable and externalizable at once",
    _FIELD_TYPE: "a field has the unknown type 0x{0:02x}",
    _FIELD_ORDER: "a class has primitive fields behind object fields",
    _BAD_PROXY: "a proxy class with {0} interfaces",
    _INNER_RESET: "a reset in the middle of an object",
    _TOO_DENSE: "more than one value in four bytes, as no QuPath file has,",
}
"""What went wrong; {0} and {1} are the two numbers that come with it."""


def walk(  # type: ignore[no-untyped-def]  # lists or arrays: numba compiles it for arrays
    data, end, until, kind, start, body, stop, after, link, defined, room, classes, frames
):
    """Walk over the stream with an own stack; see `javascan.scan`. One loop, because numba and Python share it.

    A frame is (type code, node, state, count, class or field or part).
    """
    nodes = handles = base = known = resets = 0
    depth = -1
    class_depth = 0
    pos = 4
    failure = at = x = y = 0
    while True:
        want = 0
        if depth < 0:
            if pos >= end:
                break
            want = CONTENT
        else:
            f = depth * FRAME
            kind_here = frames[f]
            node = frames[f + 1]
            state = frames[f + 2]
            done = False
            if kind_here == TC_OBJECT:
                if state == 0:
                    want = CLASS
                    frames[f + 2] = 1
                elif state == 1:
                    row = node + 1
                    if kind[row] == TC_NULL:
                        failure, at = _CLASSLESS, start[node]
                        break
                    if kind[row] == TC_REFERENCE:
                        row = defined[link[row]]
                    cls = body[row]
                    flags = classes[cls * CLASS_COLUMNS + C_FLAGS]
                    if flags & ENUM or not flags & (SERIALIZABLE | EXTERNALIZABLE):
                        failure, at = _NOT_SERIALIZABLE, start[node]
                        break
                    if flags & EXTERNALIZABLE and not flags & BLOCK_DATA:
                        failure, at = _OLD_PROTOCOL, start[node]
                        break
                    link[node] = handles
                    defined[handles] = node
                    handles += 1
                    body[node] = pos
                    frames[f + 4] = cls
                    frames[f + 3] = classes[cls * CLASS_COLUMNS + C_DEPTH]
                    frames[f + 2] = 5 if flags & EXTERNALIZABLE else 2
                elif state == 2:  # the next class of the chain, topmost first; count is how many are left
                    left = frames[f + 3]
                    if left == 0:
                        done = True
                    else:
                        cls = frames[f + 4]
                        for _ in range(left - 1):
                            cls = classes[cls * CLASS_COLUMNS + C_SUPER]
                        size = classes[cls * CLASS_COLUMNS + C_BYTES]
                        if size > end - pos:
                            failure, at, x, y = _SHORT, pos, size, end - pos
                            break
                        pos += size
                        # Object fields and own data of this class: both in the state, so that a frame stays small.
                        frames[f + 2] = 6 + 2 * classes[cls * CLASS_COLUMNS + C_OBJECTS]
                        if classes[cls * CLASS_COLUMNS + C_FLAGS] & WRITE_METHOD:
                            frames[f + 2] += 1
                elif state == 5:
                    if pos >= end:
                        failure, at, x, y = _SHORT, pos, 1, 0
                        break
                    if data[pos] == TC_ENDBLOCKDATA:
                        pos += 1
                        done = True
                    else:
                        want = CONTENT
                elif state == 4:
                    if pos >= end:
                        failure, at, x, y = _SHORT, pos, 1, 0
                        break
                    if data[pos] == TC_ENDBLOCKDATA:
                        pos += 1
                        frames[f + 3] -= 1
                        frames[f + 2] = 2
                    else:
                        want = CONTENT
                elif state >= 8:
                    want = VALUE
                    frames[f + 2] = state - 2
                elif state == 7:
                    frames[f + 2] = 4
                else:
                    frames[f + 3] -= 1
                    frames[f + 2] = 2
            elif kind_here == TC_ARRAY:
                if state == 0:
                    want = CLASS
                    frames[f + 2] = 1
                elif state == 1:
                    row = node + 1
                    if kind[row] == TC_REFERENCE:
                        row = defined[link[row]]
                    if kind[row] != TC_CLASSDESC:
                        failure, at = _NO_ARRAY, start[node]
                        break
                    code = classes[body[row] * CLASS_COLUMNS + C_CODE]
                    link[node] = handles
                    defined[handles] = node
                    handles += 1
                    if end - pos < 4:
                        failure, at, x, y = _SHORT, pos, 4, end - pos
                        break
                    count = (data[pos] << 24) | (data[pos + 1] << 16) | (data[pos + 2] << 8) | (data[pos + 3] << 0)
                    pos += 4
                    body[node] = pos
                    size = _WIDTH[code] + 0
                    if size == 0 and code != _OBJECT_TYPE and code != _ARRAY_TYPE:
                        failure, at = _NO_ARRAY, start[node]
                        break
                    if count >= 1 << 31 or count > (end - pos) // max(size, 1):
                        failure, at, x, y = _BAD_COUNT, start[node], count, end - pos
                        break
                    if size:
                        pos += count * size
                        done = True
                    else:
                        frames[f + 2] = 2
                        frames[f + 3] = count
                elif frames[f + 3] > 0:
                    frames[f + 3] -= 1
                    want = VALUE
                else:
                    done = True
            elif kind_here == TC_ENUM:
                if state == 0:
                    want = CLASS
                    frames[f + 2] = 1
                elif state == 1:
                    row = node + 1
                    if kind[row] == TC_REFERENCE:
                        row = defined[link[row]]
                    if kind[row] != TC_CLASSDESC or not classes[body[row] * CLASS_COLUMNS + C_FLAGS] & ENUM:
                        failure, at = _NO_ENUM, start[node]
                        break
                    link[node] = handles
                    defined[handles] = node
                    handles += 1
                    body[node] = pos
                    want = TEXT
                    frames[f + 2] = 2
                else:
                    done = True
            elif kind_here == TC_CLASS:
                if state == 0:
                    want = CLASS
                    frames[f + 2] = 1
                else:
                    link[node] = handles
                    defined[handles] = node
                    handles += 1
                    body[node] = pos
                    done = True
            else:  # a class or proxy description
                cls = frames[f + 4]
                c = cls * CLASS_COLUMNS
                if state == 0:  # fields; count is how many are left
                    if frames[f + 3] == 0:
                        frames[f + 2] = 1
                    else:
                        frames[f + 3] -= 1
                        if end - pos < 3:
                            failure, at, x, y = _SHORT, pos, 3, end - pos
                            break
                        code = data[pos]
                        size = (data[pos + 1] << 8) | (data[pos + 2] << 0)
                        if end - pos - 3 < size:
                            failure, at, x, y = _SHORT, pos + 3, size, end - pos - 3
                            break
                        field = pos
                        pos += 3 + size
                        width = _WIDTH[code] + 0
                        if code in (_OBJECT_TYPE, _ARRAY_TYPE):
                            want = TEXT
                            classes[c + C_OBJECTS] += 1
                        elif width == 0:
                            failure, at, x = _FIELD_TYPE, field, code
                            break
                        if width:
                            if classes[c + C_OBJECTS]:
                                failure, at = _FIELD_ORDER, start[node]
                                break
                            classes[c + C_BYTES] += width
                elif state == 1:
                    if pos >= end:
                        failure, at, x, y = _SHORT, pos, 1, 0
                        break
                    if data[pos] == TC_ENDBLOCKDATA:
                        pos += 1
                        want = CLASS
                        frames[f + 2] = 2
                        frames[f + 3] = nodes  # the row that the superclass will have
                    else:
                        want = CONTENT
                else:
                    row = frames[f + 3]
                    above = -1
                    if kind[row] != TC_NULL:
                        if kind[row] == TC_REFERENCE:
                            row = defined[link[row]]
                        above = body[row]
                        classes[c + C_DEPTH] = classes[above * CLASS_COLUMNS + C_DEPTH] + 1
                    classes[c + C_SUPER] = above
                    classes[c + C_DONE] = 1
                    if classes[c + C_DEPTH] > MAX_CLASS_DEPTH:
                        failure, at, x = _CLASS_TOO_DEEP, start[node], MAX_CLASS_DEPTH
                        break
                    class_depth -= 1
                    done = True
            if done:
                stop[node] = pos
                after[node] = nodes
                depth -= 1
                continue
            if want == 0:
                continue
        # Read one item: a row of the tape, perhaps a new frame.
        if pos >= end:
            failure, at, x, y = _SHORT, pos, 1, 0
            break
        if nodes == room:
            failure, at = _TOO_DENSE, pos
            break
        tag = data[pos]
        node = nodes
        nodes += 1
        kind[node] = tag
        start[node] = pos
        body[node] = pos + 1
        link[node] = -1
        after[node] = nodes
        pos += 1
        if tag == TC_NULL:
            if want == TEXT:
                failure, at = _NO_STRING, pos - 1
                break
            stop[node] = pos
        elif tag == TC_REFERENCE:
            if end - pos < 4:
                failure, at, x, y = _SHORT, pos, 4, end - pos
                break
            target = (data[pos] << 24) | (data[pos + 1] << 16) | (data[pos + 2] << 8) | (data[pos + 3] << 0)
            target += base - FIRST_HANDLE
            if target < base or target >= handles:
                failure, at, x, y = _BAD_HANDLE, pos - 1, target - base, handles - base
                break
            pos += 4
            stop[node] = pos
            link[node] = target
            row = defined[target]
            if want == TEXT and kind[row] & 0x7F != TC_STRING and kind[row] & 0x7F != TC_LONGSTRING:
                failure, at = _NO_STRING, pos - 5
                break
            if want == CLASS and (
                kind[row] not in (TC_CLASSDESC, TC_PROXYCLASSDESC) or not classes[body[row] * CLASS_COLUMNS + C_DONE]
            ):
                failure, at = _NO_CLASS, pos - 5
                break
        elif (tag in (TC_STRING, TC_LONGSTRING)) and want != CLASS:
            head = 2 if tag == TC_STRING else 8
            if end - pos < head:
                failure, at, x, y = _SHORT, pos, head, end - pos
                break
            size = 0
            if tag == TC_LONGSTRING and data[pos] >= 0x80:
                failure, at, x, y = _SHORT, pos - 1, -1, end - pos
                break
            for k in range(head):
                size = size * 256 + data[pos + k]
            if tag == TC_LONGSTRING and size <= 0xFFFF:
                failure, at, x = _LONG_STRING, pos - 1, size
                break
            pos += head
            if size > end - pos:
                failure, at, x, y = _SHORT, pos, size, end - pos
                break
            body[node] = pos
            for k in range(pos, pos + size):
                if data[k] >= 0x80 or data[k] == 0:
                    kind[node] = tag + NOT_ASCII
                    break
            pos += size
            stop[node] = pos
            link[node] = handles
            defined[handles] = node
            handles += 1
            if depth < 0 and size > 0 and size == len(until):
                same = True
                for k in range(size):
                    if data[pos - size + k] != until[k]:
                        same = False
                if same:
                    break
        elif want == TEXT:
            failure, at = _NO_STRING, pos - 1
            break
        elif tag in (TC_CLASSDESC, TC_PROXYCLASSDESC):
            class_depth += 1
            if class_depth > MAX_CLASS_DEPTH:
                failure, at, x = _CLASS_TOO_DEEP, pos - 1, MAX_CLASS_DEPTH
                break
            if (known + 1) * CLASS_COLUMNS > len(classes):
                classes = np.concatenate((classes, np.zeros_like(classes)))
            c = known * CLASS_COLUMNS
            classes[c + C_NODE] = node
            classes[c + C_SUPER] = -1
            classes[c + C_DEPTH] = 1
            body[node] = known
            known += 1
            link[node] = handles
            defined[handles] = node
            handles += 1
            count = 0
            if tag == TC_CLASSDESC:
                if end - pos < 2:
                    failure, at, x, y = _SHORT, pos, 2, end - pos
                    break
                size = (data[pos] << 8) | (data[pos + 1] << 0)
                if end - pos - 2 < size + 11:
                    failure, at, x, y = _SHORT, pos + 2, size + 11, end - pos - 2
                    break
                if size > 1 and data[pos + 2] == 91:
                    classes[c + C_CODE] = data[pos + 3]
                pos += 2 + size + 8
                flags = data[pos]
                classes[c + C_FLAGS] = flags
                if flags & SERIALIZABLE and flags & EXTERNALIZABLE:
                    failure, at = _BOTH_KINDS, start[node]
                    break
                count = (data[pos + 1] << 8) | (data[pos + 2] << 0)
                pos += 3
            else:
                classes[c + C_FLAGS] = SERIALIZABLE
                if end - pos < 4:
                    failure, at, x, y = _SHORT, pos, 4, end - pos
                    break
                size = (data[pos] << 24) | (data[pos + 1] << 16) | (data[pos + 2] << 8) | (data[pos + 3] << 0)
                pos += 4
                if size > (end - pos) // 2:
                    failure, at, x = _BAD_PROXY, start[node], size
                    break
                for _ in range(size):
                    if end - pos < 2:
                        failure = _SHORT
                        break
                    width = (data[pos] << 8) | (data[pos + 1] << 0)
                    if end - pos - 2 < width:
                        failure = _SHORT
                        break
                    pos += 2 + width
                if failure:
                    at, x, y = pos, 2, end - pos
                    break
            depth += 1
            f = depth * FRAME
            frames[f] = TC_CLASSDESC
            frames[f + 1] = node
            frames[f + 2] = 0
            frames[f + 3] = count
            frames[f + 4] = known - 1
        elif want == CLASS:
            failure, at, x = _BAD_CODE, pos - 1, tag
            break
        elif tag in (TC_OBJECT, TC_ARRAY, TC_ENUM, TC_CLASS):
            depth += 1
            if depth - class_depth >= MAX_DEPTH:
                failure, at, x = _TOO_DEEP, pos - 1, MAX_DEPTH
                break
            f = depth * FRAME
            frames[f] = tag
            frames[f + 1] = node
            frames[f + 2] = 0
            frames[f + 3] = 0
            frames[f + 4] = 0
        elif tag == TC_BLOCKDATA and want == CONTENT:
            if pos >= end:
                failure, at, x, y = _SHORT, pos, 1, 0
                break
            size = data[pos] + 0
            pos += 1
            if size > end - pos:
                failure, at, x, y = _SHORT, pos, size, end - pos
                break
            body[node] = pos
            pos += size
            stop[node] = pos
        elif tag == TC_BLOCKDATALONG and want == CONTENT:
            if end - pos < 4:
                failure, at, x, y = _SHORT, pos, 4, end - pos
                break
            size = (data[pos] << 24) | (data[pos + 1] << 16) | (data[pos + 2] << 8) | (data[pos + 3] << 0)
            pos += 4
            if size <= 255:
                failure, at, x = _LONG_BLOCK, start[node], size
                break
            if size > end - pos:
                failure, at, x, y = _SHORT, pos, size, end - pos
                break
            body[node] = pos
            pos += size
            stop[node] = pos
        elif tag == TC_RESET and depth < 0:
            stop[node] = pos
            base = handles
            resets = 1
        elif tag == TC_RESET:
            failure, at = _INNER_RESET, pos - 1
            break
        else:
            failure, at, x = _BAD_CODE, pos - 1, tag
            break
    counts = (nodes, handles, known, pos, resets)
    return failure, at, x, y, counts, (kind, start, body, stop, after, link), defined, classes
