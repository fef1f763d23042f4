"""What is written word by word, against the independent reader of these tests."""

from __future__ import annotations

import functools
import struct
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from javatree_nodes import Array, Enum, Obj
from javatree_reader import parse, write
from qupath_strategies import shapes

from qpkit.core.annotation import Plane
from qpkit.core.geometry import ellipse
from qpkit.errors import FormatError, GeometryError
from qpkit.qupath.java.emitter import Emitter
from qpkit.qupath.java.grammar import TC_ARRAY
from qpkit.qupath.java.tape import Tape
from qpkit.qupath.java.values import elements, entries, plain
from qpkit.qupath.qpdata.java_classes import ROI, Vocabulary, block, counted
from qpkit.qupath.qpdata.roi_reader import read_rois
from qpkit.qupath.qpdata.roi_writer import RoiWriter

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
number = st.integers(-(1 << 31), (1 << 31) - 1)


def checked(emitter: Emitter) -> bytes:
    """The stream, after an independent reader has found it written as Java writes."""
    content = emitter.content()
    assert write(parse(content)) == content
    return content


@given(st.lists(text | number | st.booleans(), max_size=8))
def test_equal_constants_are_written_once_and_referred_to(items: list[Any]) -> None:
    emitter = Emitter()
    words = Vocabulary(emitter)
    write_one: dict[type, Any] = {bool: words.boolean, int: words.integer, str: words.string}
    for item in items:
        write_one[type(item)](item)
    tape = Tape(checked(emitter))
    found = [tape.view(row) for row in tape.top()]
    assert [plain(view) for view in found] == items and [type(plain(view)) for view in found] == list(map(type, items))
    for one, view in zip(items, found, strict=True):
        for other, another in zip(items, found, strict=True):
            assert (view == another) == (one == other and type(one) is type(other))


@given(st.dictionaries(text, text, max_size=30), st.lists(text, max_size=5))
def test_maps_and_lists_are_read_as_they_were_written(items: dict[str, str], names: list[str]) -> None:
    emitter = Emitter()
    words = Vocabulary(emitter)
    words.hash_map(items)
    words.list_of_strings(names)
    words.strings(names, shared=True)
    words.strings(names, shared=False)
    tape = Tape(checked(emitter))
    made, *lists = (tape.view(row) for row in tape.top())
    assert {key.text: value.text for key, value in entries(made)} == items
    assert [[item.text for item in elements(one, one)] for one in lists] == [names] * 3
    capacity, size = struct.unpack(">ii", made.own_of_top()[0].data)
    assert size == len(items) <= 0.75 * capacity and capacity & (capacity - 1) == 0


@given(st.binary(max_size=300))
def test_a_block_has_javas_shortest_form(data: bytes) -> None:
    framed = block(data)
    assert framed.endswith(data) and len(framed) == len(data) + (2 if len(data) <= 255 else 5)
    assert parse(b"\xac\xed\x00\x05" + framed).contents[0].data == data  # type: ignore[union-attr]


@given(st.lists(st.floats(), max_size=5))
def test_arrays_and_constants_are_written_bit_for_bit(values: list[float]) -> None:
    emitter = Emitter()
    words = Vocabulary(emitter)
    data = np.array(values, ">f8").tobytes()
    words.array("D", counted(data, 8))
    words.enum("a.Kind", "ONE")
    words.text("x" * 70_000)
    numbers, constant, long = parse(checked(emitter)).contents
    assert isinstance(numbers, Array) and numbers.data == data
    assert isinstance(constant, Enum) and (constant.desc.name, constant.constant) == ("a.Kind", "ONE")
    assert long == "x" * 70_000


@given(st.lists(st.sampled_from("abc"), max_size=9))
def test_what_repeats_is_the_same_bytes_as_when_it_is_written_anew(keys: list[str]) -> None:
    def written(*, repeated: bool) -> bytes:
        emitter = Emitter()
        words = Vocabulary(emitter)

        def head(key: str) -> None:
            words.string(key)
            words.begin("[Ljava.lang.Object;", TC_ARRAY)
            words.raw(bytes(4))

        for key in keys:
            if repeated:
                words.repeat(key, functools.partial(head, key))
            else:
                head(key)
        return checked(emitter)

    assert written(repeated=True) == written(repeated=False)


def test_a_class_of_another_layout_and_a_number_beyond_java_are_refused() -> None:
    emitter = Emitter()
    Vocabulary(emitter).integer(5)
    changed = emitter.content().replace(b"\x00\x01I\x00\x05value", b"\x00\x01J\x00\x05value") + bytes(4)
    with pytest.raises(FormatError, match=r"java\.lang\.Integer has another layout"):
        tape = Tape(changed)
        Vocabulary(Emitter(tape)).integer(7)
    with pytest.raises(FormatError, match="does not fit"):
        Vocabulary(Emitter()).integer(1 << 31)


PLANES = st.builds(Plane, st.integers(-1, 3), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(st.tuples(shapes(), PLANES), max_size=6))
def test_rois_are_read_as_they_were_written(drawn: list[tuple[tuple[shapely.Geometry, Any], Plane]]) -> None:
    geometries, wishes = [shape for (shape, _), _ in drawn], [wish for (_, wish), _ in drawn]
    emitter = Emitter()
    words, writer = Vocabulary(emitter), RoiWriter(geometries, wishes)
    for place, (_, plane) in enumerate(drawn):
        writer.write(place, plane, words)
    tape = Tape(checked(emitter))
    found = read_rois(tape, np.array(list(tape.top()), np.int64))
    assert [g.wkb for g in found.geometries] == [g.wkb for g in geometries]
    assert (found.shapes, found.planes) == (wishes, [plane for _, plane in drawn])


def roi(geometry: shapely.Geometry, shape: Any) -> Obj | None:
    emitter = Emitter()
    RoiWriter([geometry], [shape]).write(0, Plane(), Vocabulary(emitter))
    (node,) = parse(checked(emitter)).contents
    assert node is None or isinstance(node, Obj)
    return node


@pytest.mark.parametrize(
    ("geometry", "wish", "name"),
    [
        (shapely.box(0, 0, 5, 4), "rectangle", "RectangleROI"),
        (shapely.Polygon([(0, 0), (5, 0), (5, 4)]), "rectangle", "PolygonROI"),
        (ellipse(0, 0, 5, 4), "ellipse", "EllipseROI"),
        (shapely.box(0, 0, 5, 4), "ellipse", "PolygonROI"),
        (shapely.box(0, 0, 5, 4), None, "PolygonROI"),
        (shapely.box(0, 0, 5, 4).difference(shapely.box(1, 1, 2, 2)), "polygon", "GeometryROI"),
        (shapely.MultiPolygon([shapely.box(0, 0, 5, 4)]), None, "PolygonROI"),
        (shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)]), None, "GeometryROI"),
        (shapely.LineString([(0, 0), (5, 4)]), None, "LineROI"),
        (shapely.LineString([(0, 0), (5, 4)]), "polyline", "PolylineROI"),
        (shapely.LineString([(0, 0), (5, 4), (6, 6)]), "line", "PolylineROI"),
        (shapely.Point(1, 2), None, "PointsROI"),
        (shapely.MultiLineString([[(0, 0), (1, 1)], [(2, 2), (3, 3)]]), None, "GeometryROI"),
    ],
)
def test_a_shape_gets_the_roi_that_qupath_itself_would_choose(geometry: shapely.Geometry, wish: Any, name: str) -> None:
    node = roi(geometry, wish)
    assert node is not None and node.class_name.startswith(f"{ROI}{name}$")
    assert "stats" not in node.fields() or node.fields()["stats"] is None


def test_nothing_is_null_and_what_has_no_roi_is_refused() -> None:
    assert roi(shapely.Polygon(), None) is None and roi(shapely.Polygon(), "rectangle") is None
    with pytest.raises(GeometryError, match="split it"):
        roi(shapely.GeometryCollection([shapely.Point(1, 1)]), None)
    with pytest.raises(GeometryError, match="not finite"):
        RoiWriter([shapely.Point(np.inf, 1)], [None])


def test_a_polygon_without_corners_takes_none_of_those_behind_it() -> None:
    writer = RoiWriter([shapely.Polygon(), shapely.box(0, 0, 5, 4)], ["polygon", "polygon"])
    assert writer.ring(0) == (bytes(4), bytes(4))
