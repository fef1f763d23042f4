"""What shapes are drawn with, against a plain count of pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.ops.masks.paint_kinds import OUTSIDE, UNANNOTATED, Kinds
from qpkit.ops.masks.pixel_counts import Category, PixelCounts

LABELS = LabelMap(classes=(LabelClass("A", 4, ("a", "b")), LabelClass("D", 7, ()), LabelClass("edge", 9, ())), ignore=8)
CATEGORIES = (
    Category("region", 0),
    Category("class", 4, "A", "a"),
    Category("class", 4, "A", "b"),
    Category("derived", 7, "D"),
    Category("boundary", 9),
    Category("boundary", 0),
    Category("ignored", 8),
)
drawings = st.lists(st.sampled_from(CATEGORIES), max_size=10)


@given(drawings, st.data())
def test_masks_and_tallies_are_those_of_a_plain_count(drawn: list[Category], data: st.DataObject) -> None:
    kinds = Kinds(drawn, [0] * len(drawn), LABELS)
    numbers = st.sampled_from(sorted({UNANNOTATED, OUTSIDE, *kinds.category.tolist()}))
    found = data.draw(hnp.arrays(np.uint32, (5, 7), elements=numbers))
    marks = data.draw(hnp.arrays(np.uint8, (5, 7), elements=st.integers(0, 3)))
    mask, tally = kinds.finish(found, marks)
    of_number = {UNANNOTATED: Category("unannotated", 0), OUTSIDE: Category("outside", 8)}
    of_number |= dict(zip(kinds.category.tolist(), drawn, strict=True))
    shown = [of_number[number] for number in found.ravel().tolist()]
    assert mask.ravel().tolist() == [category.value for category in shown]
    assert tally.pixels == found.size and sum(tally.values.values()) == found.size
    for role in ("region", "boundary", "ignored", "unannotated", "outside"):
        assert getattr(tally, role) == sum(category.role == role for category in shown)
    for source in "ab":
        assert tally.sources.get("A", {}).get(source, 0) == sum(category.source == source for category in shown)
    assert tally.derived.get("D", 0) == sum(category.role == "derived" for category in shown)
    assert (tally.overlap, tally.ignored_over_class) == ((marks & 1).astype(bool).sum(), (marks > 1).sum())


@given(drawings, st.integers(0, 50), st.integers(0, 50), st.sampled_from(["ignore", "background"]))
def test_where_nothing_is_drawn_pixels_are_unannotated_or_outside(
    drawn: list[Category], inside: int, outside: int, unannotated: str
) -> None:
    labels = replace(LABELS, unannotated=unannotated)  # type: ignore[arg-type]
    tally = Kinds(drawn, [0] * len(drawn), labels).nothing_drawn(inside + outside, inside=inside)
    assert (tally.unannotated, tally.outside, tally.pixels) == (inside, outside, inside + outside)
    fill = labels.ignore if unannotated == "ignore" else labels.background
    assert tally.values == +(Counter({fill: inside}) + Counter({labels.ignore: outside}))
    assert tally + PixelCounts() == tally


@given(drawings, st.data())
def test_a_channel_shows_its_class_and_what_is_drawn_over_it(drawn: list[Category], data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 3), min_size=len(drawn), max_size=len(drawn)))
    kinds = Kinds(drawn, numbers, LABELS)
    assert len(kinds.channels) == len(LABELS.classes)
    for (values, is_drawn), item in zip(kinds.channels, LABELS.classes, strict=True):
        assert is_drawn.tolist() == [category.value in (item.value, 0, 8) for category in drawn]
        expected = [{item.value: 1, 8: 8}.get(category.value, 0) for category in drawn]
        assert values.tolist() == expected
    assert kinds.is_object.tolist() == [category.role not in ("derived", "boundary") for category in drawn]
    assert kinds.is_instance.tolist() == [n > 0 or c.role == "ignored" for n, c in zip(numbers, drawn, strict=True)]
    assert kinds.instance_groups.tolist() == list(range(max(numbers, default=0) + 1))
