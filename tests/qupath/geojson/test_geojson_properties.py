"""Properties of features one by one: every form that a QuPath wrote gives the same value."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.errors import FormatError
from qpkit.qupath import new_qpdata
from qpkit.qupath.geojson.geometry_reader import read_shape
from qpkit.qupath.geojson.properties import parse_class, parse_color, parse_measurements, parse_metadata, parse_uuid
from qpkit.qupath.object_values import NO_ROI, OBJECT_ID, Roi

name = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters=":"), min_size=1, max_size=6)
names = st.lists(name, min_size=1, max_size=3)
byte = st.integers(0, 255)


@given(st.uuids())
def test_an_id_is_read_in_any_form_and_what_is_none_is_none(identity: uuid.UUID) -> None:
    for form in (str(identity), str(identity).upper(), [str(identity)]):
        assert parse_uuid(form) == str(identity)
    # Not what Python takes for one and Java does not.
    for none in (None, 7, "", "PathAnnotationObject", identity.hex, identity.urn, f"{{{identity}}}", f"{identity}0"):
        assert parse_uuid(none) is None


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("1-1-1-1-1", "00000001-0001-0001-0001-000000000001"),
        ("7fffffffffffffff-12345-1-1-+1", "ffffffff-2345-0001-0001-000000000001"),
        ("ffffffffffffffff-1-1-1-1", None),
        ("1-1-1-1", None),
        ("-1-1-1-1-1", None),
    ],
)
def test_an_id_may_have_groups_of_any_length_as_in_java(text: str, made: str | None) -> None:
    assert parse_uuid(text) == made


@given(names, byte, byte, byte)
def test_a_class_is_the_same_in_every_dialect(parts: list[str], red: int, green: int, blue: int) -> None:
    color, text = argb(red, green, blue), ": ".join(parts)
    legacy: dict[str, Any] = {"name": parts[0]}
    for part in parts[1:]:
        legacy = {"name": part, "parentClass": legacy}
    colored = PathClass(tuple(parts), color)
    assert parse_class({"name": text, "colorRGB": color}) == colored
    assert parse_class({"names": parts, "color": [red, green, blue]}) == colored
    assert parse_class({**legacy, "colorRGB": color, "color": [0, 0, 0]}) == colored
    assert parse_class(text) == parse_class({"name": text, "color": []}) == PathClass(tuple(parts))


@pytest.mark.parametrize("record", [{}, {"name": None}, {"color": [1, 2, 3]}])
def test_a_record_without_a_name_is_no_class(record: dict[str, Any]) -> None:
    assert parse_class(record) is None


@pytest.mark.parametrize(
    ("record", "names"),
    [
        *((blank, None) for blank in ("\t", "\u2003", ": \n", " : ", "\u00a0")),
        ({"name": " "}, None),
        ({"names": []}, None),
        ({"names": ["a", "", None]}, ("a",)),
        ({"name": ": Tumor"}, ("Tumor",)),
        ({"name": "A:: B:"}, ("A", "B")),
        ({"name": "X", "names": ["Y"]}, ("X",)),
        ({"names": ["Y"], "colorRGB": 1}, None),
        ({"name": True}, ("true",)),
    ],
)
def test_blank_parts_of_a_class_name_are_left_out_and_name_wins(record: Any, names: tuple[str, ...] | None) -> None:
    found = parse_class(record)
    assert (None if found is None else found.names) == names


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (7, "its classification is '7'"),
        ([], r"its classification is '\[\]'"),
        ({"name": ["a"]}, "its class name is"),
        ({"names": "a"}, "its class names are"),
        ({"name": "a", "color": "red"}, "its class colour is 'red'"),
    ],
)
def test_a_class_that_cannot_be_understood_is_refused(record: Any, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        parse_class(record)


@given(st.integers(-(1 << 31), (1 << 31) - 1))
def test_a_colour_is_the_same_as_numbers_and_as_one_number(color: int) -> None:
    red, green, blue, alpha = (color >> 16) & 255, (color >> 8) & 255, color & 255, (color >> 24) & 255
    assert parse_color(color, "it") == parse_color([red, green, blue, alpha], "it") == color
    assert parse_color([red, green, blue], "it") == color | -(1 << 24)
    assert parse_color(str(color), "it") == parse_color(color + (1 << 32), "it") == color
    assert parse_color([red - 256, green + 256, f"{blue}"], "it") == color | -(1 << 24)


@pytest.mark.parametrize("value", [None, True, "#ff0000", "1.5", [1, 2], [1, 2, "a"], [1, 2, None], {}])
def test_what_is_no_colour_is_refused(value: Any) -> None:
    with pytest.raises(FormatError, match=r"it is "):
        parse_color(value, "it")


values = st.integers(-99, 99) | st.floats(allow_nan=False) | st.none() | st.booleans()


@given(st.dictionaries(name, values, max_size=5))
def test_measurements_are_the_same_as_a_map_and_as_a_list(pairs: dict[str, Any]) -> None:
    as_list = [{"name": key, "value": value} for key, value in pairs.items()]
    expected = {k: float(v) for k, v in pairs.items() if type(v) in (int, float)}
    found = parse_measurements(pairs)
    assert found == parse_measurements(as_list) == expected
    assert list(found) == list(expected) and all(type(value) is float for value in found.values())


@pytest.mark.parametrize("record", [["a"], [{"value": 1}], {"a": "x"}, {"a": "1_0"}])
def test_measurements_that_are_no_numbers_are_refused(record: Any) -> None:
    with pytest.raises(FormatError, match="measurement"):
        parse_measurements(record)


@given(st.dictionaries(name | st.just(OBJECT_ID), st.none() | st.integers() | st.booleans() | st.text(), max_size=4))
def test_metadata_are_texts_and_the_id_is_not_among_them(record: dict[str, Any]) -> None:
    kept = {key: value for key, value in record.items() if value is not None and key != OBJECT_ID}
    assert parse_metadata(record) == {k: v if isinstance(v, str) else json.dumps(v) for k, v in kept.items()}


def test_an_object_without_a_roi_is_the_same_in_both_kinds_of_file() -> None:
    assert read_shape({}) is NO_ROI and Roi(shapely.Polygon(), None) == NO_ROI
    (stored,) = new_qpdata(image_type="OTHER", objects=[Annotation(geometry=NO_ROI.geometry)]).objects()
    assert (stored.geometry, stored.shape, stored.plane) == (NO_ROI.geometry, NO_ROI.shape, NO_ROI.plane)


def test_the_id_lies_in_a_data_file_under_its_key_and_is_no_metadata() -> None:
    item = Annotation(
        geometry=shapely.Point(1, 2), id="11111111-2222-3333-4444-555555555555", metadata={OBJECT_ID: "x"}
    )
    data = new_qpdata(image_type="OTHER", objects=[item])
    assert OBJECT_ID.encode() in data.to_bytes()
    assert (data.objects()[0].id, data.objects()[0].metadata) == (item.id, {})
