"""The scan in plain Python against the compiled one: columns, faults and bytes, on whole and on damaged streams."""

from __future__ import annotations

import struct
import subprocess
import sys
from types import FunctionType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from javatree_nodes import (
    Array,
    Block,
    ClassDesc,
    ClassRef,
    Enum,
    Field,
    JavaString,
    Obj,
    Part,
    ProxyDesc,
    Reset,
    Stream,
)
from javatree_reader import parse, write

from qpkit.errors import FormatError
from qpkit.qupath.java import scan as javascan
from qpkit.qupath.java.grammar import MAGIC, MAX_CLASS_DEPTH, MAX_DEPTH, TC_CLASSDESC, TC_PROXYCLASSDESC
from qpkit.qupath.java.scanning import compiling
from qpkit.qupath.java.scanning.faults import MESSAGES
from qpkit.qupath.java.tape import Tape

_OBJECT = JavaString("Ljava/lang/Object;")
_PRIMITIVES = [Field(code, code.lower()) for code in "BCDFIJSZ"]


def everything() -> bytes:
    """A stream with all that the grammar has: "head" first, "last" before the tail."""
    top = ClassDesc(
        "Top", 1, 3, [Field("I", "n"), Field("L", "o", _OBJECT)], [Block(b"note"), JavaString("a")]
    ).finish()
    fields = [*_PRIMITIVES, Field("L", "o", _OBJECT), Field("[", "p", JavaString("[I"))]
    sub = ClassDesc("Sub", 2, 2, fields, superclass=top).finish()
    external = ClassDesc("External", 3, 0x0C).finish()
    constants = ClassDesc("Constants", 0, 0x12, superclass=ClassDesc("java.lang.Enum", 0, 0x12).finish()).finish()
    handler = ClassDesc("java.lang.reflect.Proxy", 9, 2, [Field("L", "h", _OBJECT)]).finish()
    proxy = ProxyDesc(("java.util.List", "b"), superclass=handler).finish()
    numbers = Array(ClassDesc("[I", 4, 2).finish(), struct.pack(">3i", 1, 2, 3))
    objects, arrays = ClassDesc("[Ljava.lang.Object;", 5, 2).finish(), ClassDesc("[[I", 6, 2).finish()
    one, text = Enum(constants, JavaString("ONE")), JavaString("µ\0x")
    derived = Obj(sub, [Part(bytes(4), [text], [Block(b"own"), one, None]), Part(bytes(30), [None, numbers])])
    own = Obj(external, [Part(annotation=[Block(b"x" * 300), derived, Block(b"y"), numbers, text])])
    values = [own, None, text, one, Enum(constants, JavaString("TWO"))]
    before = [
        JavaString("head"),
        Block(b"b"),
        derived,
        Array(objects, values=values),
        Array(arrays, values=[numbers] * 2),
    ]
    classes = [ClassRef(sub), ClassRef(None), Obj(proxy, [Part(objects=[own]), Part()]), external]
    return write(Stream([*before, *classes, Reset(), text, own, JavaString("last"), Block(b"tail")]))


def many_classes(count: int) -> bytes:
    """Objects of so many classes; the table begins with fewer rows."""
    one = b"\x73\x72\x00\x04A%03d" + bytes(8) + b"\x02\x00\x01L\x00\x01x\x74\x00\x01Y\x78\x70\x70"
    return MAGIC + b"".join(one % number for number in range(count))


def outcome(data: bytes, *, until: str, is_compiled: bool) -> dict[str, object] | str:
    """The columns, or the message of the error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(javascan, "_COMPILE_FROM", 0 if is_compiled else 1 << 40)
        try:
            found = javascan.scan(data, until=until)
        except FormatError as err:
            return str(err)
    return {name: np.asarray(getattr(found, name)).tolist() for name in javascan.Columns.__slots__}


WHOLE = [everything(), many_classes(150)]
_PLACES = st.one_of(st.integers(4, 1600), st.integers(4, 5000))
_BYTES = st.one_of(st.sampled_from([*range(0x70, 0x80), 0xF4, 0xFC, 0, 2, 4, 8, 0x10]), st.integers(0, 255))


@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(_PLACES, _BYTES), max_size=4),
    st.one_of(st.none(), _PLACES),
    st.sampled_from(["", "last", "head"]),
)
def test_plain_and_compiled_scans_of_a_damaged_stream_are_the_same(
    whole: bytes, flips: list[tuple[int, int]], stop: int | None, until: str
) -> None:
    damaged = bytearray(whole)
    for place, byte in flips:
        damaged[place % len(damaged)] = byte
    data = MAGIC + bytes(damaged[4:stop])
    assert outcome(data, until=until, is_compiled=False) == outcome(data, until=until, is_compiled=True)


def test_every_truncation_ends_the_plain_and_the_compiled_scan_at_the_same_byte() -> None:
    whole = everything()
    for length in range(4, len(whole)):
        plain, fast = (outcome(whole[:length], until="", is_compiled=each) for each in (False, True))
        assert plain == fast


@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_scan_finds_all_classes_and_stops_behind_the_last_string(is_compiled: bool) -> None:
    stream = parse(everything(), until="last")
    found = outcome(everything(), until="last", is_compiled=is_compiled)
    assert isinstance(found, dict) and found["end"] == len(everything()) - len(stream.tail) and found["resets"]
    kinds = [found["kind"][entry[0]] for entry in found["classes"]]  # type: ignore[index]  # lists
    assert kinds.count(TC_PROXYCLASSDESC) == 1 and kinds.count(TC_CLASSDESC) == len(kinds) - 1
    assert outcome(everything(), until="head", is_compiled=is_compiled)["end"] == 4 + 7  # type: ignore[index]  # a dict


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("count", [63, 64, 65, 128, 300])
def test_the_class_table_grows_while_a_description_is_open(count: int, is_compiled: bool) -> None:
    found = outcome(many_classes(count), until="", is_compiled=is_compiled)
    assert isinstance(found, dict)
    assert found["classes"] == [[5 * n + 1, 2, 0, 1, -1, 1, 0, 1] for n in range(count)]
    assert len(Tape(many_classes(count)).classes) == count


def described(name: bytes, flags: int, fields: bytes = b"\0\0", above: bytes = b"\x70") -> bytes:
    return b"\x72" + struct.pack(">H", len(name)) + name + bytes(8) + bytes([flags]) + fields + b"\x78" + above


_HANDLE = b"\x71\x00\x7e\x00\x00"
_OBJECTS = b"\x75" + described(b"[Ljava.lang.Object;", 2)
FAULTS = [
    (b"\x74\x00\x05ab", "the stream ends, or a length is wrong: 5 bytes wanted, 2 left at byte 7"),
    (b"\x7c\xff" + bytes(7), "the stream ends, or a length is wrong: -1 bytes wanted, 8 left at byte 4"),
    (
        b"\x7c\x7f" + b"\xff" * 7,
        "the stream ends, or a length is wrong: 9223372036854775807 bytes wanted, 0 left at byte 13",
    ),
    (b"\x7b", "unexpected or unsupported type code 0x7b at byte 4"),
    (b"\x78", "unexpected or unsupported type code 0x78 at byte 4"),
    (b"\x73\x74\x00\x00", "unexpected or unsupported type code 0x74 at byte 5"),
    (_HANDLE, "a reference to handle 0, of which there are 0 at byte 4"),
    (b"\x74\0\0\x79\x74\0\0\x71\x00\x7e\x00\x01", "a reference to handle 1, of which there are 1 at byte 11"),
    (b"\x74\0\0\x71\x00\x00\x00\x00", "a reference to handle -8257536, of which there are 1 at byte 7"),
    (b"\x7c" + bytes(7) + b"\x01a", "a long string of 1 bytes, which Java writes as a short one at byte 4"),
    (b"\x7a\0\0\0\x01a", "a long block of 1 bytes, which Java writes as a short one at byte 4"),
    (b"\x75" + described(b"[I", 2) + b"\0\0\0\x02abcdefg", "an array of 2 elements, with 7 bytes left at byte 4"),
    (_OBJECTS + b"\xff\xff\xff\xff", "an array of 4294967295 elements, with 0 bytes left at byte 4"),
    (
        _OBJECTS + b"\0\0\0\1" + (b"\x75" + _HANDLE + b"\0\0\0\1") * MAX_DEPTH,
        f"objects are nested more than {MAX_DEPTH} deep at byte {4 + len(_OBJECTS) + 4 + 10 * (MAX_DEPTH - 1)}",
    ),
    (
        b"\x73" + described(b"A", 2, above=b"") * 100,
        f"more than {MAX_CLASS_DEPTH} classes inside each other at byte {5 + 16 * MAX_CLASS_DEPTH}",
    ),
    (b"\x73" + described(b"A", 2, above=_HANDLE), "a reference to something that is no (finished) class at byte 21"),
    (b"\x74\0\0\x73" + _HANDLE, "a reference to something that is no (finished) class at byte 8"),
    (described(b"A", 2, b"\0\1L\0\1x\x70"), "a string is expected at byte 23"),
    (described(b"A", 2, b"\0\1L\0\1x\xf4\0\0"), "a string is expected at byte 23"),
    (described(b"A", 2, b"\0\1L\0\1x" + _HANDLE), "a string is expected at byte 23"),
    (b"\x73\x70", "an object without a class at byte 4"),
    (b"\x73" + described(b"A", 0), "an object of a class that cannot be serialized at byte 4"),
    (b"\x73" + described(b"A", 0x12), "an object of a class that cannot be serialized at byte 4"),
    (b"\x73" + described(b"A", 4), "an object in the old stream protocol 1 at byte 4"),
    (b"\x75" + described(b"A", 2) + bytes(4), "something that is no array class is used as an array at byte 4"),
    (b"\x75\x70", "something that is no array class is used as an array at byte 4"),
    (b"\x7e" + described(b"A", 2) + b"\x74\0\0", "something that is no enum is used as an enum at byte 4"),
    (described(b"A", 6), "a class is serializable and externalizable at once at byte 4"),
    (described(b"A", 2, b"\0\1Q\0\1x"), "a field has the unknown type 0x51 at byte 19"),
    (
        described(b"A", 2, b"\0\2L\0\1x\x74\0\0I\0\1y"),
        "a class has primitive fields behind object fields at byte 4",
    ),
    (b"\x7d\x7f\xff\xff\xff", "a proxy class with 2147483647 interfaces at byte 4"),
    (_OBJECTS + b"\0\0\0\1\x79", f"a reset in the middle of an object at byte {4 + len(_OBJECTS) + 4}"),
    (b"\x70" * 20_000, "more than one value in four bytes, as no QuPath file has, at byte 15005"),
]
"""Streams without the magic number, and what is wrong with them."""


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize(("content", "message"), FAULTS, ids=[message[:40] for _, message in FAULTS])
def test_a_fault_is_told_with_its_numbers_and_its_byte(content: bytes, message: str, is_compiled: bool) -> None:
    assert outcome(MAGIC + content, until="", is_compiled=is_compiled) == message


def test_no_fault_is_left_untested() -> None:
    told = [message for _, message in FAULTS]
    for text in MESSAGES.values():
        assert any(message.startswith(text.split("{")[0]) for message in told), text


def test_a_small_file_is_read_without_numba() -> None:
    code = (
        "import sys; from qpkit.qupath.java.tape import Tape; "
        f"Tape({MAGIC + described(b'A', 2)!r}); assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_second_process_takes_the_compiled_scan_from_disk() -> None:
    outcome(everything(), until="", is_compiled=True)
    code = (
        "from qpkit.qupath.java import scan; from qpkit.qupath.java.scanning.compiling import compiled; "
        f"scan._COMPILE_FROM = 0; scan.scan({MAGIC + described(b'A', 2)!r}, until=''); "
        "print(sum(compiled(scan.walk).stats.cache_misses.values()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.split() == [b"0"]


LEAST = 1


def _inner(number: int) -> int:
    return number + LEAST


def _outer(number: int) -> int:
    return _inner(number) * 2


def test_a_compiled_function_is_not_kept_when_one_that_it_calls_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def stamp() -> int:
        return compiling.stamp(compiling.called(_outer))

    before = stamp()
    assert stamp() == before and compiling.called(_outer) == [_outer, _inner]
    monkeypatch.setitem(globals(), "LEAST", 2)
    after_constant = stamp()
    monkeypatch.setitem(globals(), "_inner", FunctionType((lambda number: number - LEAST).__code__, globals()))
    assert len({before, after_constant, stamp()}) == 3
