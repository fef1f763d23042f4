"""What the checks find on single values: against Java's own rules for numbers, and against the reader."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import DEFAULT_PLANE
from qpkit.errors import FormatError
from qpkit.qupath.geojson.checks import repair as repairing
from qpkit.qupath.geojson.checks import rules as rules
from qpkit.qupath.geojson.checks.features import FeatureCheck, check_wrapper
from qpkit.qupath.geojson.checks.geometries import check_nucleus, check_shapes
from qpkit.qupath.geojson.checks.repair import repair
from qpkit.qupath.geojson.features import FeatureReader, features_of
from qpkit.qupath.geojson.geometry_writer import safe_shapes
from qpkit.qupath.geojson.gson import int_of, is_double, is_finite, is_integer, is_plain, measurement_of
from strategies import shapes

RING = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
BOX = {"type": "Polygon", "coordinates": [RING]}
texts = st.text("0123456789+-.eEdDfFNa Infity_x", max_size=8)
leaves = st.none() | st.booleans() | st.integers(-(1 << 33), 1 << 33) | st.floats() | texts
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip


@given(values)
def test_only_numbers_and_texts_of_numbers_are_doubles(value: Any) -> None:
    if isinstance(value, str):
        if is_double(value):
            special = value.strip().lstrip("+-") in ("NaN", "Infinity")
            assert measurement_of(value) is not None
            assert is_finite(value) == (not special and math.isfinite(float(value.strip().rstrip("fFdD"))))
        elif "_" not in value and value.strip().lower().lstrip("+-") not in ("nan", "inf", "infinity"):
            with pytest.raises(ValueError):
                float(value)
    elif not isinstance(value, list):
        assert is_double(value) == (type(value) in (int, float))


@given(values)
def test_an_integer_is_cut_to_its_whole_part_and_to_32_bits(value: Any) -> None:
    number = int_of(value)
    if number is not None:
        assert -(1 << 31) <= number < 1 << 31
        whole = int(value) if isinstance(value, str | int) or math.isfinite(value) else 0
        assert (number - whole) % (1 << 32) == 0
    if isinstance(value, str):
        digits = value.removeprefix("-") if value.startswith("-") else value.removeprefix("+")
        assert is_integer(value) == (
            digits.isascii() and digits.isdecimal() and -(1 << 31) <= int(value) < 1 << 31
        )  # fmt: skip
    elif not isinstance(value, list):
        assert is_integer(value) == (type(value) in (int, float))
    assert not is_double(value) or is_plain(value)


@pytest.mark.parametrize("text", ["1", " 1.5 ", ".5", "5.", "1e3", "1E-3d", "-7f", "+NaN", "-Infinity"])
def test_what_java_reads_as_a_number(text: str) -> None:
    assert is_double(text) and measurement_of(text) is not None


@pytest.mark.parametrize("text", ["", ".", "1_000", "0x1g", "nan", "inf", "infinity", "1e", "--1", "NaN5", "١"])
def test_what_java_does_not_read_as_a_number(text: str) -> None:
    assert not is_double(text)
    assert (measurement_of(text) is not None) == (text in ("nan", "inf"))


@given(values)
def test_one_value_in_a_list_is_as_plain_as_it_is_alone(value: Any) -> None:
    assert is_plain([value]) == is_plain(value)
    assert not is_plain({"a": value}) and not is_plain([value, value]) and not is_plain([])


records = st.sampled_from(
    [
        None, {}, BOX, {"type": "Point", "coordinates": [1]}, {"type": "Polygon", "coordinates": [RING[:-1]]},
        {"type": "MultiPolygon", "coordinates": [[RING]]}, {**BOX, "plane": {"x": 1}}, {**BOX, "isEllipse": True},
        {"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]]}, {"type": "Circle"},
        {"type": "GeometryCollection", "geometries": [BOX, {"type": "Point", "coordinates": [1, 2]}]},
        {"type": "LineString", "coordinates": [[1, 2]]}, {"type": "Point", "coordinates": [math.nan, 2]}, 7,
    ]
)  # fmt: skip


@given(st.lists(records | values, max_size=8))
def test_many_shapes_are_checked_as_one_at_a_time(drawn: list[Any]) -> None:
    found = check_shapes(drawn)
    assert found == [check_shapes([record])[0] for record in drawn]
    for record, broken in zip(drawn, found, strict=True):
        has_type = isinstance(record, dict) and "type" in record
        expected = broken if has_type else {rules.NUCLEUS_EMPTY}
        assert check_nucleus(record) == (expected if isinstance(record, dict) else {rules.NUCLEUS_NULL})
        if isinstance(record, dict) and record and not any(rule.severity == "refused" for rule in broken):
            FeatureReader(Counter()).read([{"geometry": record}], source="a", first=0)


@given(st.lists(shapes(), max_size=5))
def test_a_shape_that_qpkit_writes_breaks_no_rule(drawn: list[shapely.Geometry]) -> None:
    made = safe_shapes(drawn, [None] * len(drawn), [DEFAULT_PLANE] * len(drawn))
    assert check_shapes([json.loads(safe.text) for safe in made if safe]) == [set() for safe in made if safe]


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (None, rules.GEOMETRY_NULL),
        ({}, rules.GEOMETRY_EMPTY),
        ({"type": "Circle"}, rules.GEOMETRY_TYPE),
        ({"type": "Point"}, rules.NO_COORDINATES),
        ({"type": "Point", "coordinates": [1]}, rules.POINT_BAD),
        ({"type": "Point", "coordinates": [math.inf, 1]}, rules.NOT_FINITE_KEPT),
        ({"type": "Polygon", "coordinates": [RING[:-1]]}, rules.RING_OPEN),
        ({"type": "Polygon", "coordinates": [[[0, 0], [0, 0]]]}, rules.RING_SHORT),
        ({"type": "Polygon", "coordinates": [[], RING]}, rules.SHELL_EMPTY),
        ({"type": "LineString", "coordinates": [[0, 0]]}, rules.LINE_SHORT),
        ({"type": "MultiPolygon", "coordinates": [[RING]]}, rules.ONE_PART),
        ({**BOX, "plane": {"z": "0.5"}}, rules.PLANE_BAD),
        ({**BOX, "plane": {"z": 0.5}}, rules.PLANE_CUT),
        ({**BOX, "plane": {"z": -1}}, rules.PLANE_NEGATIVE),
        ({**BOX, "plane": {"c": -2, "z": 1}}, rules.PLANE_NEGATIVE),
        ({**BOX, "isEllipse": None}, rules.ELLIPSE_BAD),
        ({**BOX, "isEllipse": True}, rules.ELLIPSE_LOST),
        ({"type": "MultiLineString", "coordinates": [RING]}, rules.LINES_STUCK),
    ],
)
def test_the_rule_that_a_shape_breaks_is_named(record: Any, rule: rules.Rule) -> None:
    assert check_shapes([record]) == [{rule}]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"id": None}, rules.ID_NULL),
        ({"id": "7"}, rules.ID_REPLACED),
        ({"properties": None}, rules.PROPERTIES_NULL),
        ({"properties": {"name": None}}, rules.NAME_NULL),
        ({"properties": {"color": [1, 2]}}, rules.COLOR_LOST),
        ({"properties": {"color": "red"}}, rules.COLOR_BAD),
        ({"properties": {"metadata": {"a": "b"}}}, rules.METADATA_LOST),
        ({"properties": {"plane": {}}}, rules.PLANE_MISPLACED),
        ({"properties": {"measurements": [{"name": "a", "value": None}]}}, rules.LIST_BAD),
        ({"properties": {"measurements": [{"name": "a", "value": 1e39}]}}, rules.VALUE_INFINITE),
        ({"properties": {"measurements": {"a": 1}}}, rules.MAP_LOST),
        ({"properties": {"object_type": "moon"}}, rules.TYPE_UNKNOWN),
        ({"properties": {"classification": None}}, rules.CLASS_NULL),
        ({"properties": {"classification": 7}}, rules.CLASS_OTHER),
        ({"properties": {"classification": {"name": "a"}}}, rules.CLASS_NO_COLOR),
        ({"properties": {"classification": {"name": "a\nb", "colorRGB": 1}}}, rules.CLASS_LINE_BREAK_03),
        ({"properties": {"classification": {"name": ["a"], "colorRGB": 1}}}, rules.CLASS_NO_TEXT),
        ({"properties": {"classification": {"name": ": a", "color": []}}}, rules.CLASS_BLANK),
        ({"properties": {"classification": {"name": "a:", "color": []}}}, rules.CLASS_COLON_LAST),
        ({"properties": {"classification": {"name": "a::b", "colorRGB": 1}}}, rules.CLASS_COLON_KEPT),
        ({"properties": {"name": "µ"}}, rules.TEXT_ENCODING),
    ],
)
def test_the_rule_that_a_feature_breaks_is_named(change: dict[str, Any], rule: rules.Rule) -> None:
    assert FeatureCheck().check([{"type": "Feature", "geometry": BOX, **change}]) == [{rule}]


def test_an_id_is_told_where_it_comes_again_and_children_are_counted_apart() -> None:
    item = {"geometry": BOX, "id": "11111111-2222-3333-4444-555555555555"}
    child = {"geometry": {"type": "Point", "coordinates": [1]}}
    parent = {"geometry": BOX, "properties": {"childObjects": [child, child]}}
    check = FeatureCheck()
    assert check.check([item]) == [set()]
    assert check.check([item, parent, 5]) == [
        {rules.ID_TWICE}, {rules.CHILDREN_LOST, rules.since_04(rules.POINT_BAD)}, {rules.NO_OBJECT}
    ]  # fmt: skip
    assert (check.objects, check.objects_with_children) == (4, 5)


@given(st.sampled_from(["Feature", "FeatureCollection", "Polygon", "Topology", None, 5]), values)
def test_what_the_reader_finds_in_a_wrapper_the_rules_find_too(kind: Any, inside: Any) -> None:
    value = {"type": kind, "features": inside, "coordinates": inside}
    features, broken = check_wrapper(value)
    try:
        found = list(features_of(value, "a"))
    except FormatError:
        assert broken and not features
        return
    assert not broken and len(found) == len(features)


def good(**properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": BOX, "properties": properties}


odd_properties = st.fixed_dictionaries(
    {},
    optional={
        "color": st.sampled_from([None, [], "#0a0B0c", "red", [1, 2, 3], [1, 2, 300], -5, True]),
        "classification": st.sampled_from(
            [None, 5, ["A", 7], "A\r\nB", {"name": "A\nB", "color": "#ffffff"}, {"names": [None, " ", "A\n B"]},
             {"name": 7, "colorRGB": "x"}, {"name": "\n"}, "x"]
        ),
        "measurements": st.sampled_from(
            [None, 5, {"a": 1, "b": None, "c": "1.5d", "d": math.nan}, [{"name": "a", "value": "x"}, 5], []]
        ),
    },
)  # fmt: skip
rings = st.sampled_from([RING, RING[:-1], RING[:2], [], [[0, 0]]])
geometries = st.lists(rings, max_size=2).map(lambda r: {"type": "Polygon", "coordinates": r}) | st.lists(
    st.lists(rings, max_size=2), max_size=2
).map(lambda p: {"type": "GeometryCollection", "geometries": [{"type": "MultiPolygon", "coordinates": p}]})
trees = st.recursive(
    st.builds(lambda g, p: {"type": "Feature", "geometry": g, "properties": p}, geometries, odd_properties),
    lambda below: st.builds(
        lambda p, children: {"geometry": BOX, "properties": {**p, "childObjects": children}},
        odd_properties, st.lists(below, max_size=2),
    ),
    max_leaves=4,
)  # fmt: skip


@given(trees)
def test_what_was_repaired_needs_no_repair_and_the_original_is_as_it_was(feature: dict[str, Any]) -> None:
    before = json.dumps(feature)
    notes: Counter[str] = Counter()
    made = list(repair(feature, notes))
    assert json.dumps(feature) == before
    again: Counter[str] = Counter()
    twice = [item for one in made for item in repair(one, again)]
    assert (json.dumps(twice), +again) == (json.dumps(made), Counter())
    assert len(made) == 1 + notes[repairing.CHILDREN_BESIDE]
    assert all("childObjects" not in item["properties"] for item in made)


@given(st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2))
def test_what_is_no_feature_is_left_to_the_reader(value: Any) -> None:
    notes: Counter[str] = Counter()
    assert list(repair(value, notes)) == [value] and not notes


def test_every_repair_is_counted_under_its_name() -> None:
    feature = {
        "geometry": {"type": "Polygon", "coordinates": [RING[:-1], RING]},
        "nucleusGeometry": {"type": "Polygon", "coordinates": [RING[:-1]]},
        "properties": {
            "color": "#0a0b0c",
            "classification": ["A", "B\nC"],
            "measurements": [{"name": "a", "value": "2.5f"}, {"name": "b", "value": None}, {"name": "c"}],
            "children": [good(color="red")],
        },
    }
    notes: Counter[str] = Counter()
    parent, child = repair(feature, notes)
    assert parent["geometry"]["coordinates"] == [RING, RING] and parent["nucleusGeometry"] == BOX
    assert parent["properties"] == {
        "color": [10, 11, 12],
        "classification": {"name": "A: B C"},
        "measurements": {"a": 2.5},
    }
    assert child["properties"] == {"color": None}
    assert notes[repairing.RING_CLOSED] == 2 and notes[repairing.COLOR_READ] == notes[repairing.COLOR_DROPPED] == 1
    assert (notes[repairing.CLASS_TEXT], notes[repairing.VALUE_DROPPED], notes[repairing.CHILDREN_BESIDE]) == (1, 2, 1)


@pytest.mark.parametrize("width", [1e-9, 1e-3, 4e-3, 6e-3, 1.0])
def test_a_sliver_has_the_same_rules_alone_and_as_a_part(width: float) -> None:
    """What is thinner than QuPath's grid has no extent, however long it is."""
    ring = [[0, 0], [100, 0], [100, width], [0, width], [0, 0]]
    alone, part = check_shapes(
        [{"type": "Polygon", "coordinates": [ring]}, {"type": "MultiPolygon", "coordinates": [[ring]]}]
    )
    assert (rules.SHAPE_EMPTY in alone) == (rules.SHAPE_EMPTY in part) == (width < 0.005)


@given(st.integers(-(1 << 33), 1 << 33), st.integers(0, 30), st.sampled_from(["", "+"]))
def test_a_text_is_an_integer_however_many_zeros_lead(value: int, zeros: int, plus: str) -> None:
    text = f"{'-' if value < 0 else plus}{'0' * zeros}{abs(value)}"
    assert is_integer(text) == (-(1 << 31) <= value < 1 << 31)


def test_rings_beside_nonsense_are_closed() -> None:
    feature = {"geometry": {"type": "MultiPolygon", "coordinates": [[[[0, 0], [4, 0], [4, 4]]], 5]}}
    notes: Counter[str] = Counter()
    (made,) = repair(feature, notes)
    assert made["geometry"]["coordinates"] == [[[[0, 0], [4, 0], [4, 4], [0, 0]]], 5]
    assert sum(notes.values()) == 1
