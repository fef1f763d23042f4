"""The Java Object Serialization Stream grammar: parse and write. Knows nothing of QuPath.

A stream becomes a tree of plain nodes that can be edited; no Java class is ever made. Handles are not kept: the
writer numbers nodes anew by identity, so a node that occurs twice in the tree is written once and referred to
afterwards. Only what Java itself writes is accepted (shortest block and string forms, canonical modified UTF-8),
which gives the law `write(parse(data)) == data` for everything that parses.

Source: "Java Object Serialization Specification", chapter 6 (stream version 5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from javatree_nodes import (
    BLOCK_DATA,
    ENUM,
    EXTERNALIZABLE,
    FIRST_HANDLE,
    MAGIC,
    PRIMITIVE_SIZE,
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
    Array,
    Block,
    ClassDesc,
    ClassRef,
    Content,
    Desc,
    Enum,
    Field,
    JavaString,
    Obj,
    Part,
    ProxyDesc,
    Reset,
    Stream,
    Value,
    is_external,
)
from javatree_writer import write

from qpkit.errors import FormatError
from qpkit.memory import gc_paused
from qpkit.qupath.java.modified_utf8 import decode

__all__ = ["parse", "write"]

MAX_DEPTH: Final = 20_000
"""Objects inside objects; deeper is refused. Memory only: the parser does not recurse for them."""

MAX_CLASS_DEPTH: Final = 60
"""Superclasses and objects in class annotations, for which the parser does recurse."""

_INT: Final = struct.Struct(">i")
_USHORT: Final = struct.Struct(">H")
_LONG: Final = struct.Struct(">q")


def parse(data: bytes, *, until: str | None = None) -> Stream:
    """Parse a whole stream.

    Args:
        data: From the magic number to the end.
        until: Stop behind the top-level string that equals this; the rest is kept unread in `Stream.tail`.

    Raises:
        FormatError: Not a stream, truncated, or not what Java writes; the message has the byte offset.
    """
    if data[:4] != MAGIC:
        raise FormatError(f"not a Java serialization stream (starts with {data[:4].hex(' ') or 'nothing'}) at byte 0")
    with gc_paused(len(data)):
        return _Reader(data).stream(until)


class _Reader:
    """Cursor, handle table and one pending container.

    `_value` returns a container at once (its handle must exist before its content is read) and leaves the
    generator that fills it in `pending`; whoever called yields, and `_run` fills it before going on. So nesting
    costs memory, not Python frames.
    """

    __slots__ = ("class_depth", "classes", "data", "end", "handles", "pending", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.end = len(data)
        self.pos = 4
        self.handles: list[Value] = []
        self.pending: Iterator[None] | None = None
        self.class_depth = 0
        self.classes: list[ClassDesc] = []

    def stream(self, until: str | None) -> Stream:
        contents: list[Content] = []
        while self.pos < self.end:
            if self.data[self.pos] == TC_RESET:
                self.pos += 1
                self.handles.clear()
                contents.append(Reset())
                continue
            item = self._content()
            self._run()
            contents.append(item)
            if until is not None and isinstance(item, JavaString) and item == until:
                break
        return Stream(contents, self.data[self.pos :], self.classes)

    def _fail(self, what: str, at: int | None = None) -> FormatError:
        return FormatError(f"{what} at byte {self.pos if at is None else at}")

    def _run(self) -> None:
        """Fill the pending container and everything inside it."""
        if self.pending is None:
            return
        stack = [self.pending]
        self.pending = None
        while stack:
            if next(stack[-1], True):
                stack.pop()
                continue
            assert self.pending is not None
            stack.append(self.pending)
            self.pending = None
            if len(stack) > MAX_DEPTH:
                raise self._fail(f"objects are nested more than {MAX_DEPTH} deep")

    def _take(self, count: int) -> bytes:
        start = self.pos
        stop = start + count
        if count < 0 or stop > self.end:
            raise self._fail(f"the stream ends, or a length is wrong: {count} bytes wanted, {self.end - start} left")
        self.pos = stop
        return self.data[start:stop]

    def _byte(self) -> int:
        byte = self._peek()
        self.pos += 1
        return byte

    def _int(self) -> int:
        return int(_INT.unpack(self._take(4))[0])

    def _peek(self) -> int:
        if self.pos >= self.end:
            raise self._fail("the stream ends too early")
        return self.data[self.pos]

    def _utf(self) -> str:
        start = self.pos
        (length,) = _USHORT.unpack(self._take(2))
        return self._decoded(self._take(length), start)

    def _decoded(self, raw: bytes, start: int) -> str:
        try:
            return decode(raw)
        except ValueError as err:
            raise self._fail(f"a string is not modified UTF-8 ({err})", start) from err

    def _content(self) -> Content:
        """Read a value or block data, as annotations and the top level hold them."""
        start = self.pos
        tag = self._peek()
        if tag == TC_BLOCKDATA:
            self.pos += 1
            return Block(self._take(self._byte()))
        if tag == TC_BLOCKDATALONG:
            self.pos += 1
            length = self._int()
            if 0 <= length <= 255:
                raise self._fail(f"a long block of {length} bytes, which Java writes as a short one", start)
            return Block(self._take(length))
        return self._value()

    def _value(self) -> Value:
        """Read an object, string, array, enum constant, class, null or a reference to an earlier one."""
        start = self.pos
        tag = self._byte()
        if tag == TC_NULL:
            return None
        if tag == TC_REFERENCE:
            return self._reference()
        if tag == TC_OBJECT:
            return self._object(start)
        if tag in (TC_STRING, TC_LONGSTRING):
            return self._string(tag, start)
        if tag == TC_ARRAY:
            return self._array(start)
        if tag == TC_ENUM:
            return self._enum(start)
        if tag == TC_CLASS:
            return self._class_ref()
        if tag in (TC_CLASSDESC, TC_PROXYCLASSDESC):
            self.pos = start
            return self._class_desc(start)
        raise self._fail(f"unexpected or unsupported type code 0x{tag:02x}", start)

    def _reference(self) -> Value:
        start = self.pos
        handle = self._int() - FIRST_HANDLE
        if not 0 <= handle < len(self.handles):
            raise self._fail(f"a reference to handle {handle}, of which there are {len(self.handles)}", start - 1)
        return self.handles[handle]

    def _string(self, tag: int, start: int) -> JavaString:
        if tag == TC_STRING:
            text = JavaString(self._utf())
        else:
            (length,) = _LONG.unpack(self._take(8))
            if 0 <= length <= 0xFFFF:
                raise self._fail(f"a long string of {length} bytes, which Java writes as a short one", start)
            text = JavaString(self._decoded(self._take(length), start))
        self.handles.append(text)
        return text

    def _class_ref(self) -> ClassRef:
        node = ClassRef(self._class_desc(self.pos))
        self.handles.append(node)
        return node

    def _enum(self, start: int) -> Enum:
        desc = self._real_class(start)
        if not desc.flags & ENUM:
            raise self._fail(f"{desc.name} is used as an enum but is none", start)
        slot = len(self.handles)
        self.handles.append(None)
        constant = self._string_value()
        node = Enum(desc, constant)
        self.handles[slot] = node
        return node

    def _string_value(self) -> JavaString:
        start = self.pos
        tag = self._byte()
        if tag in (TC_STRING, TC_LONGSTRING):
            return self._string(tag, start)
        text = self._reference() if tag == TC_REFERENCE else None
        if not isinstance(text, JavaString):
            raise self._fail("a string is expected", start)
        return text

    def _array(self, start: int) -> Array:
        desc = self._real_class(start)
        node = Array(desc, offset=start)
        self.handles.append(node)
        count = self._int()
        size = PRIMITIVE_SIZE.get(node.code)
        if not desc.name.startswith("[") or (size is None and node.code not in ("L", "[")):
            raise self._fail(f"{desc.name!r} is used as an array but is none", start)
        if not 0 <= count <= (self.end - self.pos) // (size or 1):
            raise self._fail(f"an array of {count} elements, with {self.end - self.pos} bytes left", start)
        if size is not None:
            node.data = self._take(count * size)
        else:
            self.pending = self._elements(node.values, count)
        return node

    def _elements(self, values: list[Value], count: int) -> Iterator[None]:
        for _ in range(count):
            values.append(self._value())
            if self.pending is not None:
                yield

    def _object(self, start: int) -> Obj:
        desc = self._class_desc(start)
        if desc is None:
            raise self._fail("an object without a class", start)
        if isinstance(desc, ClassDesc):
            if desc.flags & ENUM or not desc.flags & (SERIALIZABLE | EXTERNALIZABLE):
                raise self._fail(f"an object of {desc.name}, which cannot be serialized", start)
            if desc.flags & EXTERNALIZABLE and not desc.flags & BLOCK_DATA:
                raise self._fail(f"an object of {desc.name} in the old stream protocol 1", start)
        node = Obj(desc, offset=start)
        self.handles.append(node)
        self.pending = self._external(node) if is_external(desc) else self._parts(node)
        return node

    def _external(self, node: Obj) -> Iterator[None]:
        part = Part()
        node.parts.append(part)
        return self._annotation(part.annotation)

    def _parts(self, node: Obj) -> Iterator[None]:
        for desc in node.desc.chain:
            part = Part()
            node.parts.append(part)
            if not isinstance(desc, ClassDesc):
                continue
            if desc.layout.size:
                part.primitives = self._take(desc.layout.size)
            for _ in desc.objects:
                part.objects.append(self._value())
                if self.pending is not None:
                    yield
            if desc.flags & WRITE_METHOD:
                yield from self._annotation(part.annotation)

    def _annotation(self, contents: list[Content]) -> Iterator[None]:
        while self._peek() != TC_ENDBLOCKDATA:
            contents.append(self._content())
            if self.pending is not None:
                yield
        self.pos += 1

    def _real_class(self, start: int) -> ClassDesc:
        desc = self._class_desc(start)
        if not isinstance(desc, ClassDesc):
            raise self._fail("an array or enum constant without a class of its own", start)
        return desc

    def _class_desc(self, start: int) -> Desc | None:
        """Read a class description, a reference to one, or null."""
        tag = self._byte()
        if tag == TC_NULL:
            return None
        if tag == TC_REFERENCE:
            desc = self._reference()
            if not isinstance(desc, ClassDesc | ProxyDesc) or not desc.chain:
                raise self._fail("a reference to something that is no (finished) class", start)
            return desc
        if tag not in (TC_CLASSDESC, TC_PROXYCLASSDESC):
            raise self._fail(f"a class is expected, not type code 0x{tag:02x}", start)
        self.class_depth += 1
        if self.class_depth > MAX_CLASS_DEPTH:
            raise self._fail(f"more than {MAX_CLASS_DEPTH} classes inside each other", start)
        made = self._new_class(start) if tag == TC_CLASSDESC else self._new_proxy(start)
        self.class_depth -= 1
        return made

    def _new_class(self, start: int) -> ClassDesc:
        name = self._utf()
        (suid,) = _LONG.unpack(self._take(8))
        desc = ClassDesc(name, suid, 0)
        self.handles.append(desc)
        desc.flags = self._byte()
        if desc.flags & SERIALIZABLE and desc.flags & EXTERNALIZABLE:
            raise self._fail(f"class {name} is serializable and externalizable at once", start)
        (count,) = _USHORT.unpack(self._take(2))
        desc.fields = [self._field() for _ in range(count)]
        self._class_annotation(desc)
        codes = [field.signature is not None for field in desc.fields]
        if codes != sorted(codes):
            raise self._fail(f"class {name} has primitive fields behind object fields", start)
        self.classes.append(desc)
        return desc.finish()

    def _new_proxy(self, start: int) -> ProxyDesc:
        desc = ProxyDesc(())
        self.handles.append(desc)
        count = self._int()
        if not 0 <= count <= (self.end - self.pos) // 2:
            raise self._fail(f"a proxy class with {count} interfaces", start)
        desc.interfaces = tuple(self._utf() for _ in range(count))
        self._class_annotation(desc)
        return desc.finish()

    def _field(self) -> Field:
        start = self.pos
        code = chr(self._byte())
        name = self._utf()
        if code in PRIMITIVE_SIZE:
            return Field(code, name)
        if code not in ("L", "["):
            raise self._fail(f"field {name!r} has the unknown type {code!r}", start)
        return Field(code, name, self._string_value())

    def _class_annotation(self, desc: Desc) -> None:
        while self._peek() != TC_ENDBLOCKDATA:
            desc.annotation.append(self._content())
            self._run()
        self.pos += 1
        desc.superclass = self._class_desc(self.pos)
