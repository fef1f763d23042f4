from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from javatree_nodes import MAGIC, Array, Block, ClassDesc, Field, JavaString, Obj, Part, Reset, Stream
from javatree_reader import parse, write
from qupath_files import data_files

from qpkit.errors import FormatError
from qpkit.qupath.java.emitter import Emitter
from qpkit.qupath.java.modified_utf8 import decode, encode
from qpkit.qupath.java.tape import Tape

_OBJECT_ARRAY = b"\x75\x72\x00\x13[Ljava.lang.Object;" + struct.pack(">qBH", -8012369246846506644, 2, 0) + b"\x78\x70"


def test_every_data_file_is_written_back_byte_for_byte(shared: Path) -> None:
    count = 0
    for path, content in data_files(shared):
        assert write(parse(content)) == content, path
        count += 1
    assert count >= 70


@given(st.text(st.characters()))
def test_modified_utf8_keeps_every_string_lone_surrogates_too(text: str) -> None:
    assert decode(encode(text)) == decode(encode(decode(encode(text))))
    assert encode(decode(encode(text))) == encode(text)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert decode(encode(text)) == text


def test_modified_utf8_is_what_java_writes() -> None:
    assert encode("a\0µ😀\ud83d") == b"a\xc0\x80\xc2\xb5\xed\xa0\xbd\xed\xb8\x80\xed\xa0\xbd"
    for raw in (b"\0", "😀".encode(), b"\xc1\x81", b"\xff"):
        with pytest.raises(ValueError):
            decode(raw)


@pytest.mark.parametrize("length", [0, 65_535, 65_536])
def test_long_strings_and_long_blocks_take_their_own_form(length: int) -> None:
    stream = Stream([JavaString("x" * length), Block(b"b" * min(length, 300)), None])
    again = parse(write(stream))
    assert again.contents == stream.contents


def test_the_same_text_twice_stays_two_strings() -> None:
    one, two = JavaString("a"), JavaString("a")
    content = write(Stream([one, two, one]))
    assert content == MAGIC + b"\x74\x00\x01a" * 2 + b"\x71\x00\x7e\x00\x00"
    first, second, third = parse(content).contents
    assert first is third and first is not second


def test_a_reset_forgets_all_handles() -> None:
    text = JavaString("a")
    content = write(Stream([text, Reset(), text]))
    assert content == MAGIC + b"\x74\x00\x01a\x79\x74\x00\x01a"
    assert write(parse(content)) == content


def test_nan_payloads_survive() -> None:
    raw = b"\x7f\xa0\x00\x01\xff\xc1\x23\x45"
    array = parse(write(Stream([Array(ClassDesc("[F", 1, 2).finish(), raw)]))).contents[0]
    assert isinstance(array, Array) and array.data == raw
    signalling = struct.pack(">q", 0x7FF0000000000001)
    box = ClassDesc("X", 1, 2, [Field("D", "value")])
    content = write(Stream([Obj(box.finish(), [Part(signalling)])]))
    assert signalling in content and write(parse(content)) == content


def test_deep_nesting_is_read_and_bottomless_nesting_refused() -> None:
    deep = MAGIC + _OBJECT_ARRAY
    one = b"\x75\x71\x00\x7e\x00\x00"
    content = deep + b"\x00\x00\x00\x01" + (one + b"\x00\x00\x00\x01") * 5000 + b"\x70"
    assert write(parse(content)) == content
    assert Emitter(Tape(content)).whole() == content
    for read in (parse, Tape):
        with pytest.raises(FormatError, match="deep"):
            read(deep + b"\x00\x00\x00\x01" + (one + b"\x00\x00\x00\x01") * 30_000 + b"\x70")


def test_nested_classes_are_refused_before_python_gives_up() -> None:
    start = b"\x72\x00\x01A" + bytes(8) + b"\x02\x00\x00\x78"
    with pytest.raises(FormatError, match="classes inside each other"):
        parse(MAGIC + b"\x73" + start * 5000)
    with pytest.raises(FormatError, match="classes inside each other"):
        Tape(MAGIC + b"\x73" + start * 5000)


HOSTILE = [
    _OBJECT_ARRAY + b"\x7f\xff\xff\xff",
    _OBJECT_ARRAY + b"\xff\xff\xff\xff",
    b"\x7c\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x7c\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x7a\x7f\xff\xff\xff",
    b"\x7a\x00\x00\x00\x01a",  # a long block that Java writes as a short one
    b"\x7d\x7f\xff\xff\xff",
    b"\x71\x00\x7e\x00\x00",
    b"\x7b",  # an exception
    b"\x78",
    b"\x73\x70",
    b"\x73\x72\x00\x01A" + bytes(8) + b"\x06\x00\x00\x78\x70",  # serializable and externalizable
    b"\x73\x72\x00\x01A" + bytes(8) + b"\x02\x00\x00\x78\x71\x00\x7e\x00\x00",  # its own superclass
    b"\x73\x72\x00\x01A" + bytes(8) + b"\x02\x00\x01Q\x00\x01a\x78\x70",  # unknown field type
]
"""Streams (without the magic number) that Java would not write."""


@pytest.mark.parametrize("content", HOSTILE)
def test_hostile_streams_are_refused_with_the_byte(content: bytes) -> None:
    for read in (parse, Tape):
        with pytest.raises(FormatError, match="at byte"):
            read(MAGIC + content)


def test_every_truncation_is_refused_or_a_shorter_stream(shared: Path) -> None:
    content = (shared / "fixtures/qupath/v0.2.3/project/data/7/data.qpdata").read_bytes()
    for length in range(len(content)):
        try:
            stream = parse(content[:length])
        except FormatError:
            continue
        assert write(stream) == content[:length]


def test_random_damage_is_refused_or_read_as_it_is(shared: Path) -> None:
    content = (shared / "fixtures/qupath/v0.5.1/project/data/4/data.qpdata").read_bytes()
    rng = random.Random(20)
    for _ in range(2000):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            stream = parse(bytes(damaged))
        except FormatError:
            continue
        assert write(stream) == damaged
