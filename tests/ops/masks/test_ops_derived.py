"""Areas of derived classes against shapely's own set operations and the formulas for boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from qpkit.core.label_rules import Derivation
from qpkit.ops.masks.derived import ClassAreas
from qpkit.ops.vectors.areas import only_areas, united
from strategies import boxes

lists = st.lists(boxes(), min_size=1, max_size=5)


def area_of(rule: Derivation, drawn: dict[str, list[BaseGeometry]], **more: object) -> BaseGeometry:
    traces: dict[str, list[BaseGeometry]] = more.pop("traces", {})  # type: ignore[assignment]
    return ClassAreas(drawn, traces, {"X": rule}, mpp=0.5, downsample=1.0).area("X")


def is_same(one: BaseGeometry, other: BaseGeometry) -> bool:
    return bool(one.symmetric_difference(other).area < 1e-6)


@given(lists, st.randoms(use_true_random=False))
def test_a_union_is_shapelys_whatever_the_order(areas: list[BaseGeometry], random: object) -> None:
    made = united(areas)
    assert made.is_valid and made.geom_type in ("Polygon", "MultiPolygon")
    assert is_same(made, shapely.union_all(areas))
    random.shuffle(areas)  # type: ignore[attr-defined]
    assert is_same(made, united(areas))
    assert is_same(united([made, made]), made)


def test_nothing_united_is_nothing() -> None:
    assert united([]).is_empty and united([shapely.Polygon()]).is_empty
    touching = shapely.box(0, 0, 1, 1).intersection(shapely.box(1, 0, 2, 1))
    assert touching.geom_type == "LineString" and only_areas(touching).is_empty


@given(lists, lists, lists)
@settings(max_examples=25)
def test_classes_are_cut_as_shapely_cuts_them(one: list, two: list, three: list) -> None:  # type: ignore[type-arg]
    drawn = {"A": one, "B": two, "C": three}
    rule = Derivation(of=("A",), inside=("B", "C"), outside=("C",))
    a, b, c = (shapely.union_all(drawn[name]) for name in "ABC")
    found = area_of(rule, drawn)
    assert found.geom_type in ("Polygon", "MultiPolygon")
    assert is_same(found, a.intersection(b.union(c)).difference(c))


@given(st.integers(20, 60), st.integers(20, 60), st.integers(1, 9))
def test_a_box_grows_by_a_round_margin_and_shrinks_to_a_box(width: int, height: int, um: int) -> None:
    drawn: dict[str, list[BaseGeometry]] = {"A": [shapely.box(0, 0, width, height)]}
    px = um / 0.5
    grown = area_of(Derivation(of=("A",), grow_um=float(um)), drawn)
    assert grown.bounds == pytest.approx((-px, -px, width + px, height + px))
    round_corners = width * height + 2 * px * (width + height) + math.pi * px**2
    assert round_corners * (1 - 0.01) < grown.area <= round_corners
    shrunk = area_of(Derivation(of=("A",), grow_um=-float(um)), drawn)
    assert shrunk.area == pytest.approx(max(0.0, width - 2 * px) * max(0.0, height - 2 * px))


def test_distances_are_measured_from_areas_lines_and_points() -> None:
    tissue = shapely.box(0, 0, 100, 100)
    rule = Derivation(of=("A",), around=("B",), within_um=5.0)
    point = shapely.Point(50, 50)
    disc = area_of(rule, {"A": [tissue]}, traces={"B": [point]})
    assert disc.area == pytest.approx(math.pi * 100, rel=0.01)
    line = shapely.LineString([(0, 20), (100, 20)])
    both = area_of(rule, {"A": [tissue], "B": [shapely.box(0, 90, 100, 100)]}, traces={"B": [line]})
    assert both.area == pytest.approx(100 * 20 + 100 * 20)
    assert area_of(rule, {"A": [tissue]}).is_empty


def test_a_derived_class_may_be_made_of_a_derived_class() -> None:
    rules = {
        "ring": Derivation(of=("A",), grow_um=2.0, outside=("A",)),
        "corner": Derivation(of=("ring",), inside=("B",)),
    }
    drawn = {"A": [shapely.box(0, 0, 10, 10)], "B": [shapely.box(5, -50, 50, 0)]}
    areas = ClassAreas(drawn, {}, rules, mpp=1.0, downsample=1.0)
    corner = 5 * 2 + math.pi * 2**2 / 4
    assert areas.area("corner").area == pytest.approx(corner, rel=0.01)
    assert areas.area("ring") is areas.area("ring")
    assert np.isclose(areas.area("ring").area, 10 * 4 * 2 + math.pi * 2**2, rtol=0.01)
    assert areas.area("nobody").is_empty
