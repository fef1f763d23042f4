"""The parts of a data file one by one: header, places, steps, objects, edits."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from javatree_nodes import Block, ClassDesc, Field, JavaString, Obj, Part, Stream
from javatree_reader import parse, write
from qupath_files import comparable
from qupath_strategies import lists, path_classes

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import FormatError, ProjectError
from qpkit.qupath.java.tape import Tape
from qpkit.qupath.object_values import OBJECT_ID
from qpkit.qupath.qpdata.edits import HierarchyEdits
from qpkit.qupath.qpdata.file import QpData, read_qpdata
from qpkit.qupath.qpdata.hierarchy import MEASUREMENTS, METADATA, PATH_CLASS, find_objects
from qpkit.qupath.qpdata.image_data import FILE_END, find_places, find_root, read_header, read_step
from qpkit.qupath.qpdata.new_file import new_qpdata
from qpkit.qupath.qpdata.object_reader import (
    read_annotations,
    read_classes_of,
    read_measurements,
    read_metadata,
    read_path_class,
)
from qpkit.qupath.qpdata.object_writer import children_of, identified

TEXT = JavaString("Ljava/lang/String;")


def tape_of(objects: list[Annotation]) -> Tape:
    return Tape(new_qpdata(image_type="OTHER", objects=objects).to_bytes(), until=FILE_END)


def objects_on(tape: Tape) -> Any:
    return find_objects(tape, find_root(find_places(tape, []), tape))


# Header and places


@pytest.mark.parametrize(("text", "version"), [("Data file version 3", 3), ("Data file version 2", 2)])
def test_a_known_header_is_read_with_the_text_behind_it(text: str, version: int) -> None:
    header = Block(struct.pack(">H", len(text)) + text.encode())
    assert read_header(Tape(write(Stream([header, JavaString("{}")])))) == (version, "{}", [])
    assert read_header(Tape(write(Stream([header, None])))) == (version, "", [])
    assert read_header(Tape(write(Stream([header])))) == (version, "", [])


@pytest.mark.parametrize("text", ["Data file version 4", "Data file version x", "Data file version "])
def test_an_unknown_version_is_noted(text: str) -> None:
    version, _, unknown = read_header(Tape(write(Stream([Block(struct.pack(">H", len(text)) + text.encode())]))))
    assert version in (0, 4) and unknown == [f"header {text!r}"]


@pytest.mark.parametrize("item", [None, JavaString("Data file version 3"), Block(b"\0\x05hello"), Block(b"")])
def test_a_stream_with_another_start_is_no_data_file(item: Any) -> None:
    with pytest.raises(FormatError, match="no QuPath data file"):
        read_header(Tape(write(Stream([item]))))


def test_strangers_beside_the_hierarchy_and_a_missing_end_are_noted() -> None:
    content = new_qpdata(image_type="OTHER").to_bytes()
    stream = parse(content)
    whole: list[str] = []
    places = find_places(Tape(content, until=FILE_END), whole)
    assert whole == [] and places.end is not None and places.hierarchy is not None
    stream.contents.insert(3, Obj(ClassDesc("a.Stranger", 1, 2).finish(), [Part()]))
    stream.contents.pop()
    found: list[str] = []
    find_places(Tape(write(stream), until=FILE_END), found)
    assert found == ["a.Stranger beside the hierarchy", "no end mark"]
    more: list[str] = []
    find_places(Tape(content + b"abc", until=FILE_END), more)
    assert more == ["3 bytes behind the end mark"]
    stream.contents[2:] = []
    tape = Tape(write(stream))
    with pytest.raises(FormatError, match="there is no hierarchy"):
        find_root(find_places(tape, []), tape)


def step(name: str, fields: list[Field], *objects: Any) -> Any:
    desc = ClassDesc(f"qupath.lib.plugins.workflow.{name}", 1, 2, fields).finish()
    return Tape(write(Stream([Obj(desc, [Part(objects=list(objects))])]))).view(0)


def test_a_step_of_the_history_is_read_by_its_class() -> None:
    fields = [Field("L", "map", JavaString("Ljava/util/Map;")), Field("L", "name", TEXT), Field("L", "script", TEXT)]
    scripted = read_step(step("DefaultScriptableWorkflowStep", fields, None, JavaString("Name"), JavaString("run()")))
    assert (scripted.name, scripted.script, scripted.parameters) == ("Name", "run()", {})
    bare = read_step(step("DefaultScriptableWorkflowStep", fields, None, None, None))
    assert (bare.name, bare.script) == ("", None)
    other = read_step(step("AnotherStep", []))
    assert (other.name, other.script) == ("qupath.lib.plugins.workflow.AnotherStep", None)
    external = ClassDesc("qupath.lib.plugins.workflow.SimplePluginWorkflowStep", 1, 0x0C).finish()
    own = [Block(bytes(4)), JavaString("Detect"), JavaString("a.Plugin"), JavaString("{}")]
    plugin = read_step(Tape(write(Stream([Obj(external, [Part(annotation=own)])]))).view(0))
    assert (plugin.name, plugin.script) == ("Detect", "runPlugin('a.Plugin', '{}')")


# Objects


@given(lists())
@settings(max_examples=30)
def test_every_column_of_the_objects_is_what_was_written(objects: list[Annotation]) -> None:
    tape = tape_of(objects)
    found = objects_on(tape)
    assert [comparable(item) for item in read_annotations(tape, found)] == [comparable(item) for item in objects]
    assert read_classes_of(tape, found) == [item.path_class for item in objects]
    metadata = read_metadata(tape, found.column(METADATA))
    assert metadata == [{**item.metadata, OBJECT_ID: item.id} for item in objects]
    measured = read_measurements(tape, found.column(MEASUREMENTS))
    assert list(map(repr, measured)) == [repr({k: float(v) for k, v in item.measurements.items()}) for item in objects]


@given(path_classes)
def test_a_class_is_read_with_all_its_parents(path_class: PathClass) -> None:
    tape = tape_of([Annotation(geometry=shapely.Point(1, 2), path_class=path_class)])
    (row,) = objects_on(tape).column(PATH_CLASS).tolist()
    assert read_path_class(tape.view(row)) == path_class


def path_class_node(name: Any, parent: Any, color: Any = None) -> Obj:
    fields = [
        Field("L", "colorRGB", JavaString("Ljava/lang/Integer;")),
        Field("L", "name", TEXT),
        Field("L", "parentClass", JavaString("Lqupath/lib/objects/classes/PathClass;")),
    ]
    desc = ClassDesc("qupath.lib.objects.classes.PathClass", 1, 2, fields).finish()
    return Obj(desc, [Part(objects=[color, name, parent])])


def test_a_class_without_a_name_is_none_and_parents_in_a_circle_are_refused() -> None:
    def read(node: Any) -> PathClass | None:
        return read_path_class(Tape(write(Stream([node]))).view(0))

    assert read(path_class_node(None, None)) is None
    assert read(path_class_node(JavaString("A"), path_class_node(JavaString("B"), None))) == PathClass(("B", "A"))
    circle = path_class_node(JavaString("A"), None)
    circle.parts[0].objects[2] = circle
    for bad, said in (
        (circle, "make no sense"),
        (path_class_node(None, path_class_node(JavaString("B"), None)), "make no sense"),
        (path_class_node(JavaString(" "), None), "not blank"),
        (path_class_node(JavaString("A"), None, JavaString("red")), "an Integer is expected"),
        (Obj(ClassDesc("a.Other", 1, 2).finish(), [Part()]), r"a PathClass is expected, not a\.Other"),
    ):
        with pytest.raises(FormatError, match=said):
            read(bad)


def test_an_object_with_very_many_keys_is_read_whole() -> None:
    metadata = {f"key {k}": f"value {k}" for k in range(40)}
    tape = tape_of([Annotation(geometry=shapely.Point(1, 2), metadata=metadata, id=str(k) * 8) for k in range(3)])
    found = read_metadata(tape, objects_on(tape).column(METADATA))
    assert found == [{**metadata, OBJECT_ID: str(k) * 8} for k in range(3)]
    assert read_metadata(tape, np.array([-1, -1])) == [{}, {}] == read_measurements(tape, np.array([-1, -1]))


@given(lists(), st.sets(st.integers(0, 4)))
def test_ids_follow_from_the_content_and_are_free(objects: list[Annotation], bare: set[int]) -> None:
    nameless = [replace(item, id=None) if k in bare else item for k, item in enumerate(objects)]
    nameless += [item for item in nameless[:1] if item.id is None]
    ready = identified(nameless, set())
    assert [item.id for item in ready] == [item.id for item in identified(nameless, set())]
    assert len({item.id for item in ready}) == len(ready) and None not in {item.id for item in ready}
    assert [comparable(replace(item, id=None)) for item in ready] == [
        comparable(replace(item, id=None)) for item in nameless
    ]
    taken = {str(item.id) for item in ready}
    again = identified(nameless, taken)
    assert all(new.id not in taken for new, old in zip(again, nameless, strict=True) if old.id is None)
    assert all(new is old for new, old in zip(again, nameless, strict=True) if old.id is not None)
    assert all(new is old for new, old in zip(identified(ready, taken), ready, strict=True))


@given(st.lists(st.none() | st.integers(-1, 6), max_size=7))
def test_every_object_is_below_one_that_comes_before_it_or_below_none(parents: list[int | None]) -> None:
    found = children_of([Annotation(geometry=shapely.Point(0, 0), parent=parent) for parent in parents])
    assert sorted(number for below in found.values() for number in below) == list(range(len(parents)))
    for above, below in found.items():
        assert below == sorted(below)
        for number in below:
            wanted = parents[number]
            assert above == (wanted if wanted is not None and 0 <= wanted < number else None)


# Edits and files


def edited(tape: Tape, change: Callable[[HierarchyEdits], object]) -> bytes:
    edits = HierarchyEdits(tape, objects_on(tape))
    change(edits)
    return edits.written()


@given(lists())
@settings(max_examples=30)
def test_edits_that_change_nothing_write_the_same_bytes(objects: list[Annotation]) -> None:
    tape = tape_of(objects)
    assert edited(tape, lambda edits: None) == tape.data
    assert edited(tape, lambda edits: edits.remove([])) == tape.data

    def same(edits: HierarchyEdits) -> None:
        for number, item in enumerate(read_annotations(tape, objects_on(tape)), 1):
            edits.change(number, item, item)

    assert edited(tape, same) == tape.data


@given(lists(), lists())
@settings(max_examples=30)
def test_what_is_added_and_removed_again_leaves_no_trace(objects: list[Annotation], more: list[Annotation]) -> None:
    tape = tape_of(objects)
    larger = Tape(edited(tape, lambda edits: edits.add(more)), until=FILE_END)
    found = read_annotations(larger, objects_on(larger))
    assert [comparable(item) for item in found] == [comparable(item) for item in [*objects, *more]]
    new = range(len(objects) + 1, len(objects) + len(more) + 1)
    assert edited(larger, lambda edits: edits.remove(new)) == tape.data


def test_an_object_is_not_moved_below_itself_and_keeps_its_kind() -> None:
    outer = Annotation(geometry=shapely.box(0, 0, 9, 9), id="a")
    data = new_qpdata(image_type="OTHER", objects=[outer, replace(outer, id="b", parent=0)], nested=True)
    tape = Tape(data.to_bytes(), until=FILE_END)
    for to in (1, 2):
        with pytest.raises(FormatError, match="below itself"):
            edited(tape, lambda edits, to=to: edits.move([1], to))
    with pytest.raises(FormatError, match="kind annotation cannot become a tile"):
        edited(tape, lambda edits: edits.change(1, outer, replace(outer, kind="tile")))
    flat = Tape(edited(tape, lambda edits: edits.move([2], 0)), until=FILE_END)
    assert [item.parent for item in read_annotations(flat, objects_on(flat))] == [None, None]
    assert edited(flat, lambda edits: edits.move([2], 1)) == tape.data


@given(st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=4), lists())
@settings(max_examples=20)
def test_a_new_file_is_the_same_every_time_and_holds_what_it_was_given(
    properties: dict[str, str], objects: list[Annotation]
) -> None:
    given_ = {"image_type": "FLUORESCENCE", "objects": objects, "stains": "{}", "properties": properties}
    made = [new_qpdata(**given_, server={"a": 1}, qupath_version="0.7.0") for _ in range(2)]  # type: ignore[arg-type]
    assert made[0].to_bytes() == made[1].to_bytes()
    found = QpData.parse(made[0].to_bytes(), source="x")
    assert (found.image_type, found.stains, found.server) == ("FLUORESCENCE", "{}", {"a": 1})
    assert found.properties == properties
    assert (found.unknown, found.workflow, found.tma_grid, found.data_version) == ([], [], None, 3)


def test_a_packed_file_is_the_plain_one_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    content = new_qpdata(image_type="OTHER", objects=[Annotation(geometry=shapely.Point(1, 2))]).to_bytes()
    plain, packed = tmp_path / "data.qpdata", tmp_path / "data.qpdata.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    assert read_qpdata(packed).to_bytes() == read_qpdata(plain).to_bytes() == content
    packed.write_bytes(packed.read_bytes()[:-9])
    for bad in (packed, tmp_path / "b.gz"):
        if not bad.exists():
            bad.write_bytes(content)
        with pytest.raises(FormatError, match=f"{bad.name}: cannot be unpacked"):
            read_qpdata(bad)
    plain.write_bytes(content[:-30])
    with pytest.raises(FormatError, match=r"data\.qpdata: .* at byte"):
        read_qpdata(plain)
    with pytest.raises(ProjectError, match=r"gone\.qpdata: cannot be read"):
        read_qpdata(tmp_path / "gone.qpdata")
