"""Every object is counted once, and shapes come in the order that the label map says, whatever theirs was."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import DEFAULT_PLANE, Annotation, PathClass, Plane
from qpkit.core.labels import Boundary, Derivation, LabelClass, LabelMap
from qpkit.errors import GeometryError, LabelError
from qpkit.ops.masks.paint_order import PaintOrder, PaintPlan, on_plane
from qpkit.ops.vectors.areas import NO_CLASS
from strategies import shapes

LABELS = LabelMap(
    classes=(LabelClass("Tumor", 2, ("Tumor", "")), LabelClass("Stroma", 1, ("Stroma",))),
    regions=("Region*",),
    ignored=("Ignore*",),
)
PLANES = (Plane(), Plane(z=1), Plane(c=0), Plane(t=2))


def order_of(objects: list[Annotation], labels: LabelMap = LABELS, mpp: float | None = 1.0) -> PaintOrder:
    plan = PaintPlan(
        labels, downsample=2.0, plane=DEFAULT_PLANE, slide_size=(100, 100), pixel_rule="centre", mpp=mpp
    )  # fmt: skip
    return plan.order(objects)


def named(name: str | None, geometry: shapely.Geometry, **more: object) -> Annotation:
    return Annotation(geometry=geometry, path_class=None if name is None else PathClass((name,)), **more)  # type: ignore[arg-type]


objects = st.builds(
    lambda name, geometry, plane, kind: named(name, geometry, plane=plane, kind=kind),
    st.sampled_from(["Tumor", "Stroma", "Region*", "Ignore*", "Other", None]),
    shapes() | st.sampled_from([shapely.Point(3, 4), shapely.LineString([(0, 0), (50, 60)]), shapely.Polygon()]),
    st.sampled_from(PLANES),
    st.sampled_from(["annotation", "cell"]),
)


@given(st.lists(objects, max_size=8), st.sampled_from(["outline", "nucleus"]), st.sampled_from(["skip", "ignore"]))
def test_every_object_is_counted_once(drawn: list[Annotation], cell: str, unlisted: str) -> None:
    order = order_of(drawn, replace(LABELS, cell=cell, unlisted=unlisted))  # type: ignore[arg-type]
    audit = order.audit
    others = audit.without_area + audit.other_plane + audit.without_nucleus + audit.outside
    others += sum(small.objects for small in audit.too_small.values())
    assert sum(audit.drawn.values()) + sum(audit.unlisted.values()) + others == len(drawn)
    assert audit.other_plane == sum(a.plane.z != 0 or a.plane.t != 0 for a in drawn)
    assert len(order.geometries) == len(drawn) - audit.without_area - audit.other_plane - audit.without_nucleus - sum(
        audit.unlisted.values()
    )
    assert all(geometry.is_valid and not geometry.is_empty for geometry in order.geometries)
    assert (audit.unlisted == {}) or (unlisted == "skip" and set(audit.unlisted) == {"Other"})
    assert max(audit.mended, audit.slivers) <= sum(audit.drawn.values())


@given(st.lists(objects, max_size=8))
def test_regions_lie_below_classes_in_the_maps_order_below_ignored_areas(drawn: list[Annotation]) -> None:
    order = order_of(drawn)
    layer = {("region", ""): 0, ("class", "Tumor"): 1, ("class", "Stroma"): 2, ("ignored", ""): 3}
    ranks = [layer[category.role, category.label] for category in order.categories]
    assert ranks == sorted(ranks)
    assert [i.number for i in order.instances] == list(range(1, len(order.instances) + 1))
    numbered = {number: category for number, category in zip(order.numbers, order.categories, strict=True) if number}
    assert {i.number: (i.label, i.value, i.class_name or NO_CLASS) for i in order.instances} == {
        number: (category.label, category.value, category.source) for number, category in numbered.items()
    }


@given(st.lists(objects, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_the_classes_does_not_hang_on_the_order_of_the_objects(
    drawn: list[Annotation], random: object
) -> None:
    one = order_of(drawn)
    random.shuffle(drawn)  # type: ignore[attr-defined]
    other = order_of(drawn)
    assert other.audit == one.audit
    layers = [[(category.role, category.label) for category in order.categories] for order in (one, other)]
    assert layers[0] == layers[1]
    shown = [Counter(zip(o.categories, (g.wkb for g in o.geometries), strict=True)) for o in (one, other)]
    assert shown[0] == shown[1]


@given(st.lists(objects, max_size=6))
def test_the_smallest_lie_on_top_where_the_map_says_so(drawn: list[Annotation]) -> None:
    order = order_of(drawn, replace(LABELS, overlap="smallest-on-top"))
    areas = [g.area for g, c in zip(order.geometries, order.categories, strict=True) if c.role == "class"]
    assert all(after <= before + 1 for before, after in itertools.pairwise(areas))


def test_a_band_comes_right_after_its_object_and_derived_classes_last_of_their_layer() -> None:
    grown = LabelClass("Ring", 3, (), derivation=Derivation(of=("Tumor",), grow_um=4.0, outside=("Tumor",)))
    labels = replace(LABELS, classes=(LABELS.classes[0], grown, LABELS.classes[1]), boundary=Boundary(255, 2.0))
    order = order_of([named("Stroma", shapely.box(0, 0, 9, 9)), named("Tumor", shapely.box(20, 20, 40, 40))], labels)
    assert [(c.role, c.label) for c in order.categories] == [
        ("class", "Tumor"), ("boundary", ""), ("derived", "Ring"), ("boundary", ""), ("class", "Stroma"),
        ("boundary", ""),
    ]  # fmt: skip
    assert order.audit.empty == ()
    assert order_of([], labels).audit.empty == ("Tumor", "Ring", "Stroma")


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(LabelError, match="'Other' is not in the label map"):
        order_of([named("Other", shapely.box(0, 0, 9, 9))], replace(LABELS, unlisted="error"))
    with pytest.raises(GeometryError, match=r"object o-1 \(Tumor\)"):
        order_of([named("Tumor", shapely.LineString([(0, 0), (float("inf"), 1)]), id="o-1")])
    with pytest.raises(LabelError, match="line_width_um"):
        order_of([], replace(LABELS, line_width_um=2.0), mpp=None)
    pair = [named("Tumor", shapely.box(0, 0, 9, 9)), named("Stroma", shapely.box(8, 0, 20, 9))]
    with pytest.raises(LabelError, match="9 px2 near x=8"):
        order_of(pair, replace(LABELS, overlap="error"))


@given(st.sampled_from([-1, 0, 1]), st.sampled_from([-1, 0, 1]), st.integers(0, 1), st.integers(0, 1))
def test_channel_minus_one_is_every_channel_from_both_sides(c: int, wanted: int, z: int, t: int) -> None:
    one, other = Plane(c=c, z=z, t=t), Plane(c=wanted)
    assert on_plane(one, other) == on_plane(other, one) == ((c == wanted or -1 in (c, wanted)) and z == t == 0)
