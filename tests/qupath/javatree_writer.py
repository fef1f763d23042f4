"""Write a tree of nodes as a Java serialization stream. The mirror of `javastream.parse`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from javatree_nodes import (
    FIRST_HANDLE,
    MAGIC,
    PRIMITIVE_SIZE,
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
    JavaString,
    Obj,
    ProxyDesc,
    Reset,
    Stream,
    Value,
    is_external,
)

from qpkit.errors import FormatError
from qpkit.qupath.java.modified_utf8 import encode

_REFERENCE: Final = struct.Struct(">Bi")
_INT: Final = struct.Struct(">i")


def write(stream: Stream) -> bytes:
    """Write a stream; equal to the bytes it was parsed from if nothing was changed.

    Raises:
        FormatError: A name is too long for the format.
    """
    writer = _Writer()
    for item in stream.contents:
        if isinstance(item, Reset):
            writer.out.append(TC_RESET)
            writer.handles.clear()
        else:
            writer.content(item)
            writer.run()
    return MAGIC + bytes(writer.out) + stream.tail


class _Writer:
    """Output, handle table and one pending container (see `javastream._Reader` for why)."""

    __slots__ = ("handles", "out", "pending")

    def __init__(self) -> None:
        self.out = bytearray()
        self.handles: dict[int, int] = {}
        self.pending: Iterator[None] | None = None

    def run(self) -> None:
        """Write the content of the pending container and of everything inside it."""
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

    def content(self, item: Content) -> None:
        """Write a block or a value."""
        if not isinstance(item, Block):
            assert not isinstance(item, Reset)
            self.value(item)
        elif len(item.data) <= 255:
            self.out += bytes((TC_BLOCKDATA, len(item.data))) + item.data
        else:
            self.out += bytes((TC_BLOCKDATALONG,)) + _INT.pack(len(item.data)) + item.data

    def value(self, item: Value) -> None:
        """Write a value, or a reference to it if it was written before."""
        if item is None:
            self.out.append(TC_NULL)
        elif (handle := self.handles.get(id(item))) is not None:
            self.out += _REFERENCE.pack(TC_REFERENCE, handle)
        elif isinstance(item, JavaString):
            self._string(item)
        elif isinstance(item, Obj):
            self.out.append(TC_OBJECT)
            self._class_desc(item.desc)
            self._number(item)
            self.pending = self._object_content(item)
        elif isinstance(item, Array):
            self._array(item)
        elif isinstance(item, Enum):
            self.out.append(TC_ENUM)
            self._class_desc(item.desc)
            self._number(item)
            self.value(item.constant)
        elif isinstance(item, ClassRef):
            self.out.append(TC_CLASS)
            self._class_desc(item.desc)
            self._number(item)
        else:
            self._class_desc(item)

    def _number(self, item: object) -> None:
        self.handles[id(item)] = FIRST_HANDLE + len(self.handles)

    def _string(self, text: JavaString) -> None:
        raw = encode(text)
        self._number(text)
        if len(raw) <= 0xFFFF:
            self.out += struct.pack(">BH", TC_STRING, len(raw)) + raw
        else:
            self.out += struct.pack(">Bq", TC_LONGSTRING, len(raw)) + raw

    def _utf(self, text: str) -> None:
        raw = encode(text)
        if len(raw) > 0xFFFF:
            raise FormatError(f"a name of {len(raw)} bytes is too long for a Java stream: {text[:40]!r}...")
        self.out += struct.pack(">H", len(raw)) + raw

    def _object_content(self, item: Obj) -> Iterator[None]:
        if is_external(item.desc):
            yield from self._annotation(item.parts[0].annotation)
            return
        for desc, part in zip(item.desc.chain, item.parts, strict=True):
            self.out += part.primitives
            for value in part.objects:
                self.value(value)
                if self.pending is not None:
                    yield
            if isinstance(desc, ClassDesc) and desc.flags & WRITE_METHOD:
                yield from self._annotation(part.annotation)

    def _annotation(self, contents: list[Content]) -> Iterator[None]:
        for item in contents:
            self.content(item)
            if self.pending is not None:
                yield
        self.out.append(TC_ENDBLOCKDATA)

    def _array(self, item: Array) -> None:
        self.out.append(TC_ARRAY)
        self._class_desc(item.desc)
        self._number(item)
        size = PRIMITIVE_SIZE.get(item.code)
        if size is None:
            self.out += _INT.pack(len(item.values))
            self.pending = self._elements(item)
        else:
            self.out += _INT.pack(len(item.data) // size) + item.data

    def _elements(self, item: Array) -> Iterator[None]:
        for value in item.values:
            self.value(value)
            if self.pending is not None:
                yield

    def _class_desc(self, desc: Desc | None) -> None:
        if desc is None:
            self.out.append(TC_NULL)
        elif (handle := self.handles.get(id(desc))) is not None:
            self.out += _REFERENCE.pack(TC_REFERENCE, handle)
        elif isinstance(desc, ProxyDesc):
            self._proxy_desc(desc)
        else:
            self._new_class_desc(desc)

    def _new_class_desc(self, desc: ClassDesc) -> None:
        self.out.append(TC_CLASSDESC)
        self._utf(desc.name)
        self.out += struct.pack(">q", desc.suid)
        self._number(desc)
        self.out += struct.pack(">BH", desc.flags, len(desc.fields))
        for item in desc.fields:
            self.out += item.code.encode("ascii")
            self._utf(item.name)
            if item.signature is not None:
                self.value(item.signature)
        self._class_annotation(desc)

    def _proxy_desc(self, desc: ProxyDesc) -> None:
        self.out.append(TC_PROXYCLASSDESC)
        self._number(desc)
        self.out += _INT.pack(len(desc.interfaces))
        for name in desc.interfaces:
            self._utf(name)
        self._class_annotation(desc)

    def _class_annotation(self, desc: Desc) -> None:
        for item in desc.annotation:
            self.content(item)
            self.run()
        self.out.append(TC_ENDBLOCKDATA)
        self._class_desc(desc.superclass)
