"""The tape against the tree reader of the tests, an independent witness; copies of bytes against the original."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from javatree_nodes import Array, Block, Enum, JavaString, Obj
from javatree_reader import parse
from qupath_files import VERSIONS, data_files
from test_javastream import HOSTILE

from qpkit.errors import FormatError
from qpkit.qupath.java import scan as javascan
from qpkit.qupath.java.emitter import Edits, Emitter, Kept
from qpkit.qupath.java.grammar import MAGIC, TC_OBJECT
from qpkit.qupath.java.tape import StreamValue, Tape
from qpkit.qupath.qpdata import hierarchy as objects


def same(view: StreamValue, node: object, seen: set[int]) -> None:
    """A view shows what the tree holds, all the way down."""
    if isinstance(node, JavaString):
        assert view.is_text and view.text == node
    elif node is None:
        assert view.is_null
    elif isinstance(node, Block):
        assert view.is_block and view.data == node.data
    elif isinstance(node, Enum):
        assert (view.class_name, view.text) == (node.desc.name, node.constant)
    elif isinstance(node, Array | Obj):
        assert (view.class_name, view.tape.start[view.row]) == (
            node.class_name if isinstance(node, Obj) else node.desc.name,
            node.offset,
        )
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, Array):
            assert view.data == node.data if node.data else len(view.elements()) == len(node.values)
            for inner, value in zip(view.elements() if not node.data else (), node.values, strict=True):
                same(inner, value, seen)
            return
        theirs = node.fields()
        for name, mine in view.fields().items():
            if isinstance(mine, StreamValue):
                same(mine, theirs[name], seen)
            else:
                assert mine == theirs[name] or mine != mine
        for inner, value in zip(view.own(), node.annotation, strict=True):
            same(inner, value, seen)


@pytest.mark.parametrize("version", VERSIONS)
def test_views_show_what_the_tree_reader_reads(shared: Path, version: str) -> None:
    count = 0
    for path in sorted((shared / "fixtures/qupath" / version / "project").rglob("data.qpdata")):
        content = path.read_bytes()
        tape, seen = Tape(content), set[int]()
        for row, node in zip(tape.top(), parse(content).contents, strict=True):
            same(tape.view(row), node, seen)
        count += len(seen)
    assert count > 1000


def test_compiled_and_plain_walks_are_the_same(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared / "fixtures/qupath/v0.5.1/project/data/3/data.qpdata"
    for content in (path.read_bytes(), MAGIC + b"\x70" * 5000):
        tables = []
        for compile_from in (0, 1 << 40):
            monkeypatch.setattr(javascan, "_COMPILE_FROM", compile_from)
            monkeypatch.setattr(objects, "_COMPILE_FROM", compile_from)
            tape = Tape(content)
            columns = [tape.kind, tape.start, tape.body, tape.stop, tape.after, tape.link, tape.defined]
            roots = [r for r in np.flatnonzero(tape.kind == TC_OBJECT) if tape.java_class(int(r)).name == objects.ROOT]
            table = [objects.find_objects(tape, int(root)).table for root in roots]
            tables.append([column.tolist() for column in [*columns, *table]])
        assert tables[0] == tables[1]
    for content in HOSTILE:
        failures = []
        for compile_from in (0, 1 << 40):
            monkeypatch.setattr(javascan, "_COMPILE_FROM", compile_from)
            with pytest.raises(FormatError, match="at byte") as caught:
                Tape(MAGIC + content)
            failures.append(str(caught.value))
        assert failures[0] == failures[1]


def test_a_file_copied_whole_or_taken_fully_apart_is_the_same_bytes(shared: Path) -> None:
    for path, content in data_files(shared):
        tape = Tape(content, until="EOF")
        assert Emitter(tape).whole() == content, path
        if len(content) < 40_000:
            opened = Edits(replace={row: [Kept(row)] for row in range(len(tape.kind))})
            assert Emitter(tape, opened).whole() == content, path


@pytest.mark.parametrize(("version", "entry"), [("v0.2.3", 11), ("v0.5.1", 4), ("v0.7.0", 3)])
def test_damage_is_refused_exactly_where_the_tree_reader_refuses_it(shared: Path, version: str, entry: int) -> None:
    content = (shared / f"fixtures/qupath/{version}/project/data/{entry}/data.qpdata").read_bytes()
    rng = random.Random(entry)
    accepted = 0
    for _ in range(1500):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.choice([0x70, 0x71, 0x73, 0x74, 0x78, 0xFF, rng.randrange(256)])
        outcomes = []
        for read in (Tape, parse):
            try:
                read(bytes(damaged))
                outcomes.append(True)
            except FormatError as err:
                outcomes.append("impossible name" in str(err))  # the tree reader takes any name
        assert outcomes[0] == outcomes[1]
        accepted += outcomes[0]
    assert 100 < accepted < 1400


def test_a_chain_of_superclasses_without_end_is_refused() -> None:
    def describe(number: int, above: bytes) -> bytes:
        return b"\x72\x00\x04A%03d" % number + bytes(8) + b"\x02\x00\x00\x78" + above

    content = MAGIC + describe(0, b"\x70")
    for number in range(1, 100):
        content += describe(number, b"\x71" + (0x7E0000 + number - 1).to_bytes(4, "big"))
    with pytest.raises(FormatError, match="classes inside each other"):
        Tape(content)


@pytest.mark.parametrize("size", [200_000, 4 << 20])
def test_a_file_of_nothing_but_nulls_is_refused_before_it_fills_the_memory(size: int) -> None:
    with pytest.raises(FormatError, match="as no QuPath file has, at byte"):
        Tape(MAGIC + b"\x70" * size)
