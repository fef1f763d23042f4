"""A scanned Java stream and a view of each value in it. Nothing is decoded before somebody asks.

A `StreamValue` looks at one row of the tape and has no state of its own; two of one Java object are equal, however they
were reached.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import FormatError
from qpkit.qupath.java.grammar import (
    EXTERNALIZABLE,
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
from qpkit.qupath.java.modified_utf8 import decode
from qpkit.qupath.java.scan import not_ascii, scan
from qpkit.qupath.java.scanning.state import C_NODE, C_SUPER

Primitive: TypeAlias = int | float | bool

_STRUCT_CODE: Final = dict(zip("BCDFIJSZ", "bHdfiqh?", strict=True))
_USHORT: Final = struct.Struct(">H")
_TITLES: Final[Mapping[int, str]] = {TC_STRING: "a string", TC_LONGSTRING: "a string", TC_CLASS: "java.lang.Class"}


@dataclass(frozen=True, slots=True)
class JavaClass:
    """A class as the stream describes it.

    Args:
        name: "java.lang.Integer", "[F"; of a proxy "proxy".
        suid: serialVersionUID.
        flags: SC_* bits.
        fields: (type code, name, type or None) in Java's order: primitive ones first.
        superclass: Row of the next class up in `Tape.classes`, or -1.
        row: Of the description in the tape.
    """

    name: str
    suid: int
    flags: int
    fields: tuple[tuple[str, str, str | None], ...]
    superclass: int
    row: int

    @property
    def primitives(self) -> tuple[str, ...]:
        """Names of the primitive fields."""
        return tuple(name for _, name, kind in self.fields if kind is None)

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the object fields."""
        return tuple(name for _, name, kind in self.fields if kind is not None)

    @property
    def layout(self) -> struct.Struct:
        """How the primitive fields lie."""
        return struct.Struct(">" + "".join(_STRUCT_CODE[code] for code, _, kind in self.fields if kind is None))


class Tape:
    """The columns of a stream with its bytes.

    Attributes:
        data: The whole file.
        kind, start, body, stop, after, link, defined: See `scan.Columns`.
        classes: Every class description, in the order of the stream.
        end: Where the scan stopped; what follows is not looked at.
    """

    def __init__(self, data: bytes, *, until: str = "") -> None:
        """Scan a stream.

        Args:
            data: From the magic number to the end.
            until: Stop behind the top-level string that equals this.

        Raises:
            FormatError: Not what Java writes; the message has the byte offset.
        """
        columns = scan(data, until=until)
        self.data = data
        self.kind, self.start, self.body, self.stop = columns.kind, columns.start, columns.body, columns.stop
        self.after, self.link, self.defined = columns.after, columns.link, columns.defined
        self.end, self.resets = columns.end, columns.resets
        for row in not_ascii(columns):
            # The text is dropped: a string that is no modified UTF-8 ends the reading here and not later, in an edit.
            self.text(int(row))
        self._classes = columns.classes
        self.classes = [self._describe(int(entry[C_NODE]), int(entry[C_SUPER])) for entry in columns.classes]

    def top(self) -> Iterator[int]:
        """Rows of the top level."""
        row, count = 0, len(self.kind)
        while row < count:
            yield row
            row = int(self.after[row])

    def children(self, row: int) -> Iterator[int]:
        """Rows directly inside a row, the class first."""
        child, stop = row + 1, int(self.after[row])
        while child < stop:
            yield child
            child = int(self.after[child])

    def resolved(self, row: int) -> int:
        """The row that is meant: that of the original, if this one is a reference."""
        return int(self.defined[self.link[row]]) if self.kind[row] == TC_REFERENCE else row

    def originals(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """`resolved` for many rows, (n,)."""
        found = np.array(rows, np.int64)
        references = np.flatnonzero(self.kind[found] == TC_REFERENCE)
        found[references] = self.defined[self.link[found[references]]]
        return found

    def class_of(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Classes (numbers in `classes`) of objects, arrays and enum constants, (n,)."""
        return np.asarray(self.body[self.originals(rows + 1)], np.int64)

    def java_class(self, row: int) -> JavaClass:
        """The class of an object, array or enum constant."""
        return self.classes[int(self.body[self.resolved(row + 1)])]

    def text(self, row: int) -> str:
        """Decode a string.

        Raises:
            FormatError: It is not modified UTF-8.
        """
        return self._decode(int(self.body[row]), int(self.stop[row]))

    def texts(self, rows: NDArray[np.integer[Any]]) -> list[str | None]:
        """Decode many strings; null gives None."""
        there = np.flatnonzero(self.kind[rows] != TC_NULL)
        made = np.full(len(rows), None, object)
        made[there] = self._texts(self.body[rows[there]], self.stop[rows[there]])
        found: list[str | None] = made.tolist()
        return found

    def _texts(self, starts: NDArray[np.integer[Any]], stops: NDArray[np.integer[Any]]) -> list[str]:
        data, bounds = self.data, [*zip(starts.tolist(), stops.tolist(), strict=True)]
        raw = b"".join([data[start:stop] for start, stop in bounds])
        if not raw.isascii():
            return [self._decode(start, stop) for start, stop in bounds]
        text = raw.decode("ascii")  # which needs no second look: `not_ascii` has refused strings with a raw zero
        ends = np.cumsum(stops - starts, dtype=np.int64).tolist()
        return [text[start:stop] for start, stop in itertools.pairwise([0, *ends])]

    def arrays(self, rows: NDArray[np.int64], code: str, *, owners: NDArray[np.int64]) -> list[bytes]:
        """Bytes of primitive arrays of one type.

        Args:
            rows: (n,) originals.
            code: "F", "D", "B".
            owners: (n,) the objects to name in an error.

        Raises:
            FormatError: One of them is something else.
        """
        good = self.kind[rows] == TC_ARRAY
        known = [number for number, desc in enumerate(self.classes) if desc.name == f"[{code}"]
        good[good] = np.isin(self.class_of(rows[good]), known)
        if not good.all():
            owner = int(owners[~good][0])
            raise self.fail(f"a {self.java_class(owner).name} without its numbers", owner)
        data = self.data
        return [data[a:b] for a, b in zip(self.body[rows].tolist(), self.stop[rows].tolist(), strict=True)]

    def bytes_of(self, row: int) -> bytes:
        """Own bytes of a block, or elements of a primitive array."""
        return self.data[self.body[row] : self.stop[row]]

    def fail(self, what: str, row: int) -> FormatError:
        """Make the error for a row: what, and at which byte."""
        return FormatError(f"{what} at byte {self.start[row]}")

    def view(self, row: int) -> StreamValue:
        """Look at a row."""
        return StreamValue(self, self.resolved(row))

    def _decode(self, start: int, stop: int) -> str:
        try:
            return decode(self.data[start:stop])
        except ValueError as err:
            raise FormatError(f"a string is not modified UTF-8 ({err}) at byte {start}") from err

    def _utf(self, pos: int) -> tuple[str, int]:
        stop = pos + 2 + int(_USHORT.unpack_from(self.data, pos)[0])
        return self._decode(pos + 2, stop), stop

    def _describe(self, row: int, superclass: int) -> JavaClass:
        """Decode a class description; the scan has made sure that it is whole."""
        start = int(self.start[row])
        if self.kind[row] == TC_PROXYCLASSDESC:
            pos = start + 5
            for _ in range(int.from_bytes(self.data[start + 1 : pos], "big")):
                pos = self._utf(pos)[1]
            return JavaClass("proxy", 0, 2, (), superclass, row)
        name, pos = self._utf(start + 1)
        if not name.isprintable():
            raise FormatError(f"a class with the impossible name {name!r} at byte {start}")
        suid, flags, count = struct.unpack_from(">qBH", self.data, pos)
        pos += 11
        fields = []
        types = self.children(row)
        for _ in range(count):
            code = chr(self.data[pos])
            field, pos = self._utf(pos + 1)
            kind = None
            if code in ("L", "["):
                at = next(types)
                kind = self.text(self.resolved(at))
                pos = int(self.stop[at])
            fields.append((code, field, kind))
        return JavaClass(name, suid, flags, tuple(fields), superclass, row)


@dataclass(frozen=True, slots=True)
class StreamValue:
    """One value of a stream. Make it with `Tape.view`."""

    tape: Tape
    row: int

    @property
    def kind(self) -> int:
        """The type code."""
        return int(self.tape.kind[self.row])

    @property
    def is_null(self) -> bool:
        """Whether it is null."""
        return self.kind == TC_NULL

    @property
    def is_block(self) -> bool:
        """Whether it is no value but bytes that a class wrote itself (or a reset)."""
        return self.kind in (TC_BLOCKDATA, TC_BLOCKDATALONG, TC_RESET)

    @property
    def is_text(self) -> bool:
        """Whether it is a string."""
        return self.kind in (TC_STRING, TC_LONGSTRING)

    @property
    def is_object(self) -> bool:
        """Whether it is an object: no string, array, enum constant or class."""
        return self.kind == TC_OBJECT

    @property
    def is_array(self) -> bool:
        """Whether it is an array."""
        return self.kind == TC_ARRAY

    @property
    def class_name(self) -> str:
        """Class of an object, array or enum constant; else a word for messages."""
        if self.kind in (TC_OBJECT, TC_ARRAY, TC_ENUM):
            return self.tape.java_class(self.row).name
        if self.kind in (TC_CLASSDESC, TC_PROXYCLASSDESC):
            return "a class description"
        return "null" if self.is_null else _TITLES.get(self.kind, "stray bytes")

    @property
    def text(self) -> str:
        """A string, or the name of an enum constant."""
        return self.tape.text(self.row if self.is_text else self.tape.resolved(list(self.tape.children(self.row))[-1]))

    @property
    def data(self) -> bytes:
        """Bytes of a block, or elements of a primitive array."""
        return self.tape.bytes_of(self.row)

    def elements(self) -> list[StreamValue]:
        """Elements of an object array."""
        return [self.tape.view(row) for row in list(self.tape.children(self.row))[1:]]

    def fields(self) -> dict[str, StreamValue | Primitive]:
        """All fields by name; a derived class hides a field of the same name above it. Objects may be null views."""
        found: dict[str, StreamValue | Primitive] = {}
        for part in self._parts():
            found.update(part[0])
        return found

    def own(self) -> list[StreamValue]:
        """What the most derived class wrote itself: values and blocks."""
        if not self.is_object:
            return []
        return [self.tape.view(row) for row in self._parts()[-1][1]]

    def own_of_top(self) -> list[StreamValue]:
        """What the topmost class wrote itself."""
        return [self.tape.view(row) for row in self._parts()[0][1]] if self.is_object else []

    def _parts(self) -> list[tuple[dict[str, StreamValue | Primitive], list[int]]]:
        """(fields, rows of own data) of each class, topmost first."""
        tape = self.tape
        children = tape.children(self.row)
        next(children)
        own_class = tape.java_class(self.row)
        if own_class.flags & EXTERNALIZABLE:
            return [({}, list(children))]
        pos = int(tape.body[self.row])
        parts: list[tuple[dict[str, StreamValue | Primitive], list[int]]] = []
        for desc in self._chain(own_class):
            layout = desc.layout
            fields: dict[str, StreamValue | Primitive] = dict(
                zip(desc.primitives, layout.unpack_from(tape.data, pos), strict=True)
            )
            pos += layout.size
            for name in desc.objects:
                child = next(children)
                fields[name] = tape.view(child)
                pos = int(tape.stop[child])
            own = []
            if desc.flags & WRITE_METHOD:
                # The end mark has no row of its own, so only the byte tells where own data end.
                while tape.data[pos] != TC_ENDBLOCKDATA:
                    own.append(next(children))
                    pos = int(tape.stop[own[-1]])
                pos += 1
            parts.append((fields, own))
        return parts

    def _chain(self, desc: JavaClass) -> list[JavaClass]:
        chain = [desc]
        while chain[-1].superclass >= 0:
            chain.append(self.tape.classes[chain[-1].superclass])
        return chain[::-1]
