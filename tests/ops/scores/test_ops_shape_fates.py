"""What became of shapes."""

from __future__ import annotations

import math

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.ops.scores.shape_fates import Fate, hausdorff, iou, shape_fates

BOX = shapely.box(0, 0, 10, 10)
boxes = st.builds(
    lambda x, y, w, h: shapely.box(x, y, x + w, y + h), *[st.integers(0, 30)] * 2, *[st.integers(1, 20)] * 2
)


@given(st.lists(boxes, max_size=6))
def test_what_is_as_it_was_is_the_same(shapes: list[shapely.Polygon]) -> None:
    fates = shape_fates(shapes, shapes, list(range(len(shapes))))
    assert len(fates) == len(shapes)
    alone = all(not a.intersects(b) for i, a in enumerate(shapes) for b in shapes[:i])
    if alone:
        assert [fate.now for fate in fates] == [(i,) for i in range(len(shapes))]


@given(st.lists(boxes, max_size=6), st.lists(boxes, max_size=6))
def test_every_shape_has_one_fate_and_only_merged_ones_share(
    then: list[shapely.Polygon], now: list[shapely.Polygon]
) -> None:
    fates = shape_fates(then, now, [None] * len(then))
    taken = [p for fate in fates if fate.kind != "merged" for p in fate.now]
    assert len(taken) == len(set(taken))
    assert all(bool(fate.now) == (fate.kind != "gone") for fate in fates)


def test_two_copies_are_no_split() -> None:
    assert shape_fates([BOX], [BOX, BOX], [None]) == (Fate("same", (0,)),)


def test_an_enlarged_neighbour_merges_what_was_deleted() -> None:
    beside = shapely.box(10, 0, 20, 10)
    assert {f.kind for f in shape_fates([BOX, beside], [shapely.box(0, 0, 20, 10)], [0, None])} == {"merged"}


def test_a_large_annotation_around_small_ones_merges_nothing() -> None:
    around = shapely.box(-100, -100, 100, 100)
    fates = shape_fates([BOX, shapely.box(20, 0, 30, 10)], [around], [None, None])
    assert {fate.kind for fate in fates} == {"gone"}


def test_an_id_counts_however_far_the_shape_has_moved() -> None:
    assert shape_fates([BOX], [shapely.box(90, 90, 99, 99)], [0]) == (Fate("same", (0,)),)


@pytest.mark.parametrize("moved", [shapely.box(3, 0, 13, 10), shapely.box(0, 0, 10, 13)])
def test_outlines_are_as_far_apart_as_they_were_moved(moved: shapely.Polygon) -> None:
    assert hausdorff(BOX, moved) == hausdorff(moved, BOX) == 3
    assert iou(BOX, moved) == iou(moved, BOX)
    assert iou(BOX, BOX) == 1
    assert hausdorff(BOX, BOX) == 0
    assert math.isnan(hausdorff(BOX, shapely.Polygon()))
