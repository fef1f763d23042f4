"""A label map as a value: what it accepts, which class an object is drawn as, what a value is called."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.label_map import RESERVED, LabelClass, LabelMap
from qpkit.core.label_rules import Boundary, Derivation
from qpkit.errors import LabelError

NAMES = ("Tumor", "Stroma", "Tumor: Positive", "Region*", "Ignore*", "", "*")

values = st.lists(st.integers(-2, 258), min_size=2, max_size=5)


@st.composite
def label_maps(draw: st.DrawFn) -> LabelMap:
    """Maps whose sources, regions and ignored classes share out some of the names above."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    roles = draw(st.lists(st.integers(0, 4), min_size=len(names), max_size=len(names)))
    shared_out = [tuple(n for n, role in zip(names, roles, strict=True) if role == k) for k in range(5)]
    numbers = draw(st.lists(st.integers(0, 255), min_size=5, max_size=5, unique=True))
    return LabelMap(
        classes=tuple(LabelClass(f"class {k}", numbers[k], shared_out[k]) for k in range(3)),
        background=numbers[3],
        ignore=numbers[4],
        regions=tuple(name for name in shared_out[3] if name not in ("", "*")),
        ignored=tuple(name for name in shared_out[4] if name not in ("", "*")),
    )


@given(values)
def test_values_are_taken_if_and_only_if_each_is_a_byte_of_its_own(numbers: list[int]) -> None:
    background, ignore, *others = numbers
    classes = tuple(LabelClass(f"class {k}", value, (f"class {k}",)) for k, value in enumerate(others))
    if len(set(numbers)) == len(numbers) and all(0 <= value <= 255 for value in numbers):
        made = LabelMap(classes=classes, background=background, ignore=ignore)
        assert made.values == tuple(sorted(numbers))
        assert made.trained_values == tuple(sorted({*numbers} - {ignore}))
        assert len({made.name_of(value) for value in made.values}) == len(numbers)
        assert (made.name_of(background), made.name_of(ignore)) == RESERVED
        return
    with pytest.raises(LabelError) as caught:
        LabelMap(classes=classes, background=background, ignore=ignore)
    for value, count in Counter(numbers).items():
        assert (f"value {value} is used {count} times" in str(caught.value)) == (count > 1)
        assert (f"value {value} does not fit" in str(caught.value)) == (not 0 <= value <= 255)


@given(label_maps(), st.sampled_from([*(name for name in NAMES if name not in ("", "*")), "Other", "Other*", None]))
def test_an_object_is_drawn_as_the_class_that_names_it_or_else_as_the_rest(labels: LabelMap, name: str | None) -> None:
    owners = [c for c in labels.classes if ("" if name is None else name) in c.sources]
    rest = [c for c in labels.classes if "*" in c.sources]
    elsewhere = name in (*labels.regions, *labels.ignored)
    is_rest = name is not None and not name.endswith("*") and not elsewhere
    expected = owners or (rest if is_rest else [])
    assert labels.class_of(name) == (expected[0] if expected else None)
    if name is not None:
        assert labels.knows(name) == bool(expected or elsewhere)


@given(
    st.sampled_from(["annotation", "detection", "cell", "tile", "tma_core"]),
    st.sampled_from(["Tumor", "Region*", "Ignore*"]),
    st.lists(st.sampled_from(["annotation", "detection", "cell"]), min_size=1, unique=True),
)
def test_regions_and_ignored_areas_are_taken_as_annotations_only(kind: str, name: str, objects: list[str]) -> None:
    labels = LabelMap(
        classes=(LabelClass("Tumor", 1, ("Tumor",)),), regions=("Region*",), ignored=("Ignore*",),
        objects=tuple(objects),  # type: ignore[arg-type]
    )  # fmt: skip
    item = Annotation(geometry=shapely.Point(0, 0), kind=kind, path_class=PathClass((name,)))  # type: ignore[arg-type]
    assert labels.takes(item) == (kind in objects or (kind == "annotation" and name.endswith("*")))


def test_only_what_is_stated_in_um_needs_um_per_px() -> None:
    drawn = LabelClass("A", 1, ("A",))
    by_shape = LabelClass("B", 2, (), derivation=Derivation(of=("A",), outside=("A",)))
    grown = LabelClass("C", 3, (), derivation=Derivation(of=("A",), grow_um=-1.0))
    near = LabelClass("D", 4, (), derivation=Derivation(of=("A",), around=("A",), within_um=2.0))
    plain = LabelMap(classes=(drawn, by_shape))
    assert plain.um_settings == ()
    everything = replace(
        plain, classes=(drawn, by_shape, grown, near), line_width_um=1.0, point_radius_um=2.0, boundary=Boundary(0, 1.0)
    )
    assert everything.um_settings == ("line_width_um", "point_radius_um", "class 'C'", "class 'D'", "[boundary]")


@pytest.mark.parametrize("value", [0, 255, 7])
def test_a_boundary_has_a_value_that_no_drawn_class_has(value: int) -> None:
    drawn, free = LabelClass("A", 1, ("A",)), LabelClass("edge", 7, ())
    assert LabelMap(classes=(drawn, free), boundary=Boundary(value, 2.0)).boundary == Boundary(value, 2.0)
    for taken in (1, 9):
        with pytest.raises(LabelError, match=f"value {taken} is not free"):
            LabelMap(classes=(drawn, free), boundary=Boundary(taken, 2.0))
