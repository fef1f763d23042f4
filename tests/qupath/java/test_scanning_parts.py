"""The small functions of the scan one by one: numbers, strings, frames."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpkit.qupath.java.grammar import FIRST_HANDLE, MAGIC, TC_OBJECT, TC_REFERENCE, TC_STRING
from qpkit.qupath.java.scanning.faults import SHORT, TOO_DENSE
from qpkit.qupath.java.scanning.frames import WIDTH
from qpkit.qupath.java.scanning.items import NOT_ASCII, is_ascii
from qpkit.qupath.java.scanning.loop import walk
from qpkit.qupath.java.scanning.state import (
    AT,
    CLASS_COLUMNS,
    CURSOR,
    F_NODE,
    F_STATE,
    FAULT,
    FRAME,
    HANDLES,
    NODES,
    OBJECT_CLASS,
    POS,
    STOP,
    TOP,
    PlainScan,
    X,
    Y,
    close,
    leaf,
    new_handle,
    original,
    push,
    short,
    u16,
    u32,
)


def scan_of(data: bytes, *, until: bytes = b"", room: int = 50) -> PlainScan:  # type: ignore[valid-type]
    cursor = [0] * CURSOR
    cursor[POS], cursor[TOP] = len(MAGIC), -FRAME
    columns = [[0] * room for _ in range(7)]
    return PlainScan(
        data, len(data), until, room, *columns, classes=[0] * (CLASS_COLUMNS * 8), frames=[0] * (FRAME * 8),
        cursor=cursor,
    )  # fmt: skip


@given(st.binary(min_size=4, max_size=12), st.data())
def test_numbers_are_read_as_python_reads_them(data: bytes, draw: st.DataObject) -> None:
    pos = draw.draw(st.integers(0, len(data) - 4))
    assert u16(data, pos) == int.from_bytes(data[pos : pos + 2], "big")
    assert u32(data, pos) == int.from_bytes(data[pos : pos + 4], "big")


@given(st.binary(max_size=9), st.integers(0, 9), st.integers(0, 9))
def test_zero_is_not_ascii_as_java_writes_it_as_two_bytes(data: bytes, start: int, stop: int) -> None:
    part = data[start:stop]
    assert is_ascii(data, start, stop) == (part.isascii() and b"\0" not in part)


def test_widths_are_those_of_the_struct_module() -> None:
    codes = {"B": "b", "C": "H", "D": "d", "F": "f", "I": "i", "J": "q", "S": "h", "Z": "?"}
    widths = {letter: struct.calcsize(f">{code}") for letter, code in codes.items()}
    assert {chr(letter): width for letter, width in enumerate(WIDTH) if width} == widths


@given(st.lists(st.integers(0, 40), max_size=7))
def test_frames_close_in_the_opposite_order(nodes: list[int]) -> None:
    scan = scan_of(MAGIC)
    tops = [push(scan, node, OBJECT_CLASS, 10 + place) for place, node in enumerate(nodes)]
    assert [top // FRAME for top in tops] == list(range(len(nodes)))
    for place, (node, top) in reversed(list(enumerate(zip(nodes, tops, strict=True)))):
        assert (scan.frames[top + F_NODE], scan.frames[top + F_STATE], scan.cursor[TOP]) == (node, OBJECT_CLASS, top)
        scan.cursor[POS], scan.cursor[NODES] = 20 + place, 30 + place
        close(scan, top)
        assert (scan.stop[node], scan.after[node]) == (20 + place, 30 + place)
    assert scan.cursor[TOP] == -FRAME


def test_a_reference_means_the_row_that_got_the_handle() -> None:
    scan = scan_of(MAGIC)
    for row in (3, 5):
        scan.kind[row] = TC_OBJECT
        new_handle(scan, row)
    scan.kind[7], scan.link[7] = TC_REFERENCE, 1
    assert (original(scan, 7), original(scan, 3), scan.cursor[HANDLES]) == (5, 3, 2)
    leaf(scan, 7, 11, 15)
    assert (scan.body[7], scan.stop[7], scan.after[7], scan.cursor[POS]) == (11, 15, 8, 15)


def test_what_is_missing_is_noted_with_both_numbers() -> None:
    scan = scan_of(MAGIC + b"ab")
    assert short(scan, 5, 4) == STOP
    assert [scan.cursor[place] for place in (FAULT, AT, X, Y)] == [SHORT, 5, 4, 1]


def text(content: bytes) -> bytes:
    return struct.pack(">BH", TC_STRING, len(content)) + content


@given(st.lists(st.sampled_from([b"a", b"", b"\xc2\xb5", b"EOF", b"xyz"]), max_size=6))
def test_a_walk_over_strings_finds_each_and_stops_behind_the_last(parts: list[bytes]) -> None:
    data = MAGIC + b"".join(map(text, parts))
    scan = scan_of(data, until=b"EOF")
    walk(scan)
    read = parts[: parts.index(b"EOF") + 1] if b"EOF" in parts else parts
    rows = range(scan.cursor[NODES])
    assert [data[scan.body[row] : scan.stop[row]] for row in rows] == read
    assert [scan.kind[row] == TC_STRING + NOT_ASCII for row in rows] == [not part.isascii() for part in read]
    assert scan.cursor[POS] == len(MAGIC) + sum(map(len, map(text, read)))
    assert (scan.cursor[FAULT], scan.cursor[HANDLES]) == (0, len(read))


@pytest.mark.parametrize(("room", "fault"), [(3, 0), (2, TOO_DENSE)])
def test_a_walk_ends_where_the_columns_are_full(room: int, fault: int) -> None:
    reference = struct.pack(">Bi", TC_REFERENCE, FIRST_HANDLE)
    scan = scan_of(MAGIC + text(b"a") + reference * 2, room=room)
    walk(scan)
    assert (scan.cursor[FAULT], scan.cursor[NODES]) == (fault, room)
    assert list(scan.link[:room]) == [0] * room
