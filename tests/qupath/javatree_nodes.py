"""The nodes of a Java serialization stream: what `javastream` parses into and writes from.

Nodes are mutable and compared by identity: the same node twice in a tree is one Java object that is
referred to twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = b"\xac\xed\x00\x05"
TC_NULL: Final = 0x70
TC_REFERENCE: Final = 0x71
TC_CLASSDESC: Final = 0x72
TC_OBJECT: Final = 0x73
TC_STRING: Final = 0x74
TC_ARRAY: Final = 0x75
TC_CLASS: Final = 0x76
TC_BLOCKDATA: Final = 0x77
TC_ENDBLOCKDATA: Final = 0x78
TC_RESET: Final = 0x79
TC_BLOCKDATALONG: Final = 0x7A
TC_LONGSTRING: Final = 0x7C
TC_PROXYCLASSDESC: Final = 0x7D
TC_ENUM: Final = 0x7E
FIRST_HANDLE: Final = 0x7E0000

WRITE_METHOD: Final = 0x01
SERIALIZABLE: Final = 0x02
EXTERNALIZABLE: Final = 0x04
BLOCK_DATA: Final = 0x08
ENUM: Final = 0x10

PRIMITIVE_SIZE: Final[Mapping[str, int]] = {"B": 1, "C": 2, "D": 8, "F": 4, "I": 4, "J": 8, "S": 2, "Z": 1}
_STRUCT_CODE: Final[Mapping[str, str]] = {
    "B": "b",
    "C": "H",
    "D": "d",
    "F": "f",
    "I": "i",
    "J": "q",
    "S": "h",
    "Z": "?",
}

Primitive: TypeAlias = int | float | bool


class JavaString(str):
    """A string of the stream: equal to the same `str`, but with an identity of its own."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Primitive data that a class wrote itself, as one block of the stream."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Reset:
    """All handles are forgotten from here on (top level only)."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a class; `signature` is an object field's type ("Ljava/lang/String;"), None for a primitive."""

    code: str
    name: str
    signature: JavaString | None = None


@dataclass(slots=True, eq=False)
class ClassDesc:
    """A class as the stream describes it.

    Args:
        name: "java.lang.Integer", "[F".
        suid: serialVersionUID.
        flags: SC_* bits.
        fields: Primitive ones first, as Java orders them.
        annotation: What annotateClass wrote; empty in practice.
        superclass: The next class up, if that is serializable too.
        chain: From the topmost class down to this one; empty while the description is being read.
    """

    name: str
    suid: int
    flags: int
    fields: Sequence[Field] = ()
    annotation: list[Content] = field(default_factory=list)
    superclass: Desc | None = None
    chain: tuple[Desc, ...] = ()
    primitives: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    layout: struct.Struct = field(default=struct.Struct(">"))

    def finish(self) -> ClassDesc:
        """Work out the layout once fields and superclass are known."""
        self.primitives = tuple(f.name for f in self.fields if f.signature is None)
        self.objects = tuple(f.name for f in self.fields if f.signature is not None)
        self.layout = struct.Struct(">" + "".join(_STRUCT_CODE[f.code] for f in self.fields if f.signature is None))
        self.chain = (*(self.superclass.chain if self.superclass else ()), self)
        return self


@dataclass(slots=True, eq=False)
class ProxyDesc:
    """The class of a java.lang.reflect.Proxy."""

    interfaces: tuple[str, ...]
    annotation: list[Content] = field(default_factory=list)
    superclass: Desc | None = None
    chain: tuple[Desc, ...] = ()

    @property
    def name(self) -> str:
        """A name for messages."""
        return f"proxy of {', '.join(self.interfaces)}"

    def finish(self) -> ProxyDesc:
        """Work out the layout: a proxy has no fields of its own."""
        self.chain = (*(self.superclass.chain if self.superclass else ()), self)
        return self


@dataclass(slots=True, eq=False)
class Part:
    """What one class of an object's chain stored: raw primitive fields, object fields, own data."""

    primitives: bytes = b""
    objects: list[Value] = field(default_factory=list)
    annotation: list[Content] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Obj:
    """An object. An externalizable one has a single part with nothing but an annotation.

    Args:
        desc: Its class.
        parts: One for each class of `desc.chain`, topmost first.
        offset: Where it starts in the stream that it was read from, -1 for a new one.
    """

    desc: Desc
    parts: list[Part] = field(default_factory=list)
    offset: int = -1

    @property
    def class_name(self) -> str:
        """The Java class."""
        return self.desc.name

    @property
    def annotation(self) -> list[Content]:
        """What the most derived class wrote itself."""
        return self.parts[-1].annotation

    def fields(self) -> dict[str, Value | Primitive]:
        """All fields by name; a derived class hides a field of the same name above it."""
        found: dict[str, Value | Primitive] = {}
        for desc, part in self._described_parts():
            found.update(zip(desc.primitives, desc.layout.unpack(part.primitives), strict=True))
            found.update(zip(desc.objects, part.objects, strict=True))
        return found

    def _described_parts(self) -> Iterator[tuple[ClassDesc, Part]]:
        if is_external(self.desc):
            return
        for desc, part in zip(self.desc.chain, self.parts, strict=True):
            if isinstance(desc, ClassDesc):
                yield desc, part


@dataclass(slots=True, eq=False)
class Array:
    """An array: raw big-endian bytes for primitives (NaN payloads survive), a list for objects.

    Args:
        desc: Class "[F", "[Ljava.lang.Object;", ...
        data: Bytes of the elements; empty for an object array.
        values: Elements of an object array; empty for a primitive one.
        offset: Where it starts in the stream that it was read from, -1 for a new one.
    """

    desc: ClassDesc
    data: bytes = b""
    values: list[Value] = field(default_factory=list)
    offset: int = -1

    @property
    def code(self) -> str:
        """The element type: "F", "D", "B", ..., "L" or "["."""
        return self.desc.name[1:2]

    def numbers(self) -> NDArray[np.float64]:
        """Elements of a [F or [D as doubles, shape (n,)."""
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            return np.frombuffer(self.data, ">f4" if self.code == "F" else ">f8").astype(np.float64)


@dataclass(slots=True, eq=False)
class Enum:
    """An enum constant."""

    desc: ClassDesc
    constant: JavaString


@dataclass(slots=True, eq=False)
class ClassRef:
    """A java.lang.Class object."""

    desc: Desc | None


Desc: TypeAlias = ClassDesc | ProxyDesc
Value: TypeAlias = JavaString | Obj | Array | Enum | ClassRef | ClassDesc | ProxyDesc | None
Content: TypeAlias = Value | Block | Reset


@dataclass(slots=True)
class Stream:
    """A whole stream.

    Args:
        contents: Top level.
        tail: Bytes behind the place where the parser was told to stop; written back as they are.
        classes: Every class description, in the order of the stream.
    """

    contents: list[Content]
    tail: bytes = b""
    classes: list[ClassDesc] = field(default_factory=list)


def is_external(desc: Desc) -> bool:
    """Say whether objects of a class write all their data themselves."""
    return isinstance(desc, ClassDesc) and bool(desc.flags & EXTERNALIZABLE)
