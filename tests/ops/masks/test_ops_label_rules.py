"""What the label map's rules draw, against pixel centres judged one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass, RoiShape
from qpkit.core.geometry import ellipse
from qpkit.core.labels import Boundary, Derivation, LabelClass, LabelMap, parse_label_map
from qpkit.core.tiles import Tile, TileGrid
from qpkit.errors import LabelError
from qpkit.ops.masks.pixel_counts import PixelCounts
from qpkit.ops.masks.pixel_rule import PixelRule
from qpkit.ops.masks.rasterize import Painting, one_value_each, rasterize
from strategies import annotations, boxes, stars

SIDE = 120
WHOLE = Tile(col=0, row=0, x=0, y=0, width=SIDE, height=SIDE)
CLASSES = (LabelClass("Stroma", 1, ("Stroma",)), LabelClass("Tumor", 2, ("Tumor",)))
LABELS = LabelMap(classes=CLASSES, unannotated="ignore", regions=("Region*",), ignored=("Ignore*",))
NEAR_PX = 0.02
"""Pixels whose centre is nearer to an edge than this may fall on either side: arcs are chords, corners are snapped."""

RING = LabelClass("Ring", 3, (), derivation=Derivation(of=("Tumor",), grow_um=6.0, outside=("Tumor",)))
NEAR = LabelClass("Near", 4, (), derivation=Derivation(of=("Stroma",), around=("Tumor",), within_um=9.0))
EDGE = LabelClass("edge", 9, ())


def annotation(geometry: BaseGeometry, name: str | None = "Tumor", **more: object) -> Annotation:
    path_class = None if name is None else PathClass((name,))
    return Annotation(geometry=geometry, path_class=path_class, **more)  # type: ignore[arg-type]


def centres(side: int = SIDE) -> NDArray[np.object_]:
    y, x = np.mgrid[0:side, 0:side] + 0.5
    return np.asarray(shapely.points(x, y))


def expect(mask: NDArray[np.bool_], wanted: NDArray[np.bool_], distance: NDArray[np.float64]) -> None:
    """Masks are equal but for pixels whose centre lies on the edge; `distance` is that to the edge."""
    assert not ((mask != wanted) & (distance > NEAR_PX)).any()


@st.composite
def label_maps(draw: st.DrawFn) -> LabelMap:
    """Maps with any of the rules."""
    extra = draw(st.lists(st.sampled_from([RING, NEAR]), unique=True))
    boundary = draw(
        st.sampled_from([None, Boundary(9, 3.0), Boundary(0, 2.0), Boundary(255, 5.0), Boundary(9, 3.0, "classes")])
    )
    own = [EDGE] if boundary is not None and boundary.value == 9 else []
    return LabelMap(
        classes=(*draw(st.permutations([*CLASSES, *extra])), *own),
        unannotated=draw(st.sampled_from(["ignore", "background"])),
        regions=("Region*",),
        ignored=("Ignore*",),
        overlap=draw(st.sampled_from(["order", "smallest-on-top"])),
        boundary=boundary,
    )


@given(st.lists(annotations(), max_size=5), label_maps(), st.sampled_from([1.0, 2.0, 1.37]), st.sampled_from([7, 33]))
def test_tiling_changes_no_mask_whatever_the_rules(
    drawn: list[Annotation], labels: LabelMap, downsample: float, size: int
) -> None:
    grid = TileGrid(slide_width=SIDE, slide_height=100, tile_size=size, downsample=downsample)
    painting = Painting(drawn, labels, downsample=downsample, mpp=0.5, slide_size=(SIDE, 100))
    place = {"x": 0, "y": 0, "width": grid.columns * size, "height": grid.rows * size, "downsample": downsample}
    whole = Tile(col=0, row=0, **place)
    mask, tally = painting.paint(whole)
    channels, (numbers, both) = painting.draw_channels(whole), painting.draw_instances(whole)
    sum_of_tiles, sum_of_both = PixelCounts(), 0
    for tile in grid:
        y, x = slice(tile.y, tile.y + size), slice(tile.x, tile.x + size)
        part, counted = painting.paint(tile)
        assert np.array_equal(part, mask[y, x])
        assert np.array_equal(painting.draw_channels(tile), channels[:, y, x])
        part_numbers, part_both = painting.draw_instances(tile)
        assert np.array_equal(part_numbers, numbers[y, x])
        sum_of_tiles, sum_of_both = sum_of_tiles + counted, sum_of_both + part_both
    assert sum_of_tiles == tally and sum_of_both == both


@given(st.lists(annotations(), max_size=6), label_maps())
def test_every_pixel_is_counted_once_under_the_rule_that_decided_it(drawn: list[Annotation], labels: LabelMap) -> None:
    painting = Painting(drawn, labels, downsample=1.0, mpp=0.5, slide_size=(110, 100))
    mask, tally = painting.paint(WHOLE)
    assert np.array_equal(mask, painting.draw(WHOLE))
    assert tally.pixels == mask.size
    assert tally.outside == SIDE * SIDE - 110 * 100
    for item in CLASSES:
        assert sum(tally.sources.get(item.name, {}).values()) == (mask == item.value).sum()
    for value, name in ((3, "Ring"), (4, "Near")):
        assert tally.derived.get(name, 0) == (mask == value).sum()
    bare = replace(labels, boundary=None, classes=tuple(c for c in labels.classes if c.sources))
    single = [
        rasterize([a for a in drawn if a.class_name == n], WHOLE, bare) == v for n, v in (("Stroma", 1), ("Tumor", 2))
    ]
    ignored = rasterize([a for a in drawn if a.class_name == "Ignore*"], WHOLE, replace(bare, unannotated="background"))
    on_slide = np.zeros(mask.shape, bool)
    on_slide[:100, :110] = True
    assert tally.overlap == (single[0] & single[1] & on_slide).sum()
    assert tally.ignored == ((ignored == 255) & on_slide).sum()
    assert tally.ignored_over_class == ((ignored == 255) & (single[0] | single[1]) & on_slide).sum()


@given(st.lists(boxes() | stars(), min_size=1, max_size=6), st.data())
def test_smaller_objects_lie_on_top_whatever_their_class(shapes: list[BaseGeometry], data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(["Stroma", "Tumor"]), min_size=len(shapes), max_size=len(shapes)))
    drawn = [annotation(shape, name) for shape, name in zip(shapes, names, strict=True)]
    labels = replace(LABELS, overlap="smallest-on-top")
    wanted = np.full((SIDE, SIDE), 255, np.uint8)
    for item in sorted(drawn, key=lambda a: -a.geometry.area):
        alone = rasterize([item], WHOLE, LABELS)
        wanted[alone != 255] = alone[alone != 255]
    assert np.array_equal(rasterize(drawn, WHOLE, labels), wanted)


def test_sandwiched_overlaps_are_counted_when_size_decides() -> None:
    drawn = [
        annotation(shapely.box(0, 0, 60, 60), "Tumor"),
        annotation(shapely.box(10, 10, 50, 50), "Stroma"),
        annotation(shapely.box(20, 20, 40, 40), "Tumor"),
    ]
    _, tally = Painting(drawn, replace(LABELS, overlap="smallest-on-top"), downsample=1.0).paint(WHOLE)
    assert tally.overlap == 1600
    assert tally.sources == {"Tumor": {"Tumor": 60 * 60 - 1600 + 400}, "Stroma": {"Stroma": 1200}}


def test_overlapping_objects_of_different_values_are_refused_and_named() -> None:
    labels = parse_label_map(
        'overlap = "error"\nregions = ["Region*"]\n[[class]]\nname = "T"\nvalue = 1\nfrom = ["Tumor", "DCIS"]\n'
        '[[class]]\nname = "Stroma"\nvalue = 2',
        source="labels.toml",
    )
    fine = [
        annotation(shapely.box(0, 0, 100, 100), "Region*"),
        annotation(shapely.box(0, 0, 20, 20), "Tumor"),
        annotation(shapely.box(10, 0, 30, 20), "DCIS"),
        annotation(shapely.box(29.96, 0, 50, 20), "Stroma"),
    ]
    assert rasterize(fine, WHOLE, labels)[5, 40] == 2
    wrong = [
        *fine,
        annotation(shapely.box(15, 5, 18, 10), "Stroma", id="s-1"),
        annotation(shapely.box(5, 0, 9, 2), "Stroma"),
    ]
    with pytest.raises(LabelError) as caught:
        rasterize([*wrong, replace(fine[1], id="t-1")], WHOLE, labels)
    assert "5 pair(s)" in str(caught.value)
    assert "Stroma (s-1)" in str(caught.value) and "15 px2 near x=1" in str(caught.value)


@given(st.lists(stars(), min_size=1, max_size=3), st.lists(stars() | boxes(), min_size=1, max_size=2))
def test_a_class_within_a_distance_is_what_distances_say(
    tumour: list[BaseGeometry], stroma: list[BaseGeometry]
) -> None:
    drawn = [annotation(g, "Tumor") for g in tumour] + [annotation(g, "Stroma") for g in stroma]
    labels = LabelMap(classes=(*CLASSES[:1], NEAR, CLASSES[1]))
    for item in (*tumour, *stroma):
        if not item.is_valid:
            return
    mask = rasterize(drawn, WHOLE, labels, mpp=0.5)
    points = centres()
    both, from_tumour = shapely.union_all(stroma), shapely.union_all(tumour)
    distance = shapely.distance(points, from_tumour)
    inside = shapely.contains(both, points) & (distance <= 18) & ~shapely.contains(from_tumour, points)
    edge = np.minimum(shapely.distance(points, both.boundary), abs(distance - 18))
    edge = np.minimum(edge, shapely.distance(points, from_tumour.boundary))
    far = edge > 0.18  # GEOS fills dents of up to 1 % of the distance before it buffers
    assert not (((mask == 4) != inside) & far).any()


def test_distances_are_measured_from_lines_and_points_too() -> None:
    labels = parse_label_map(
        '[[class]]\nname = "Tissue"\nvalue = 1\n[[class]]\nname = "Margin"\nvalue = 2\n'
        '[[class]]\nname = "Front"\nvalue = 3\nof = "Tissue"\naround = "Margin"\nwithin_um = 5\n',
        source="labels.toml",
    )
    drawn = [
        annotation(shapely.box(0, 0, 120, 120), "Tissue"),
        annotation(shapely.LineString([(60, -10), (60, 140)]), "Margin"),
        annotation(shapely.MultiPoint([(20, 20), (20, 100)]), "Margin"),
    ]
    painting = Painting(drawn, labels, downsample=1.0, mpp=0.5)
    mask = painting.draw(WHOLE)
    assert set(mask[60].tolist()) == {1, 3} and (mask[60] == 3).sum() == 20
    assert mask[20, 29] == mask[100, 11] == 3 and mask[20, 31] == 1
    assert painting.audit.without_area == 2 and painting.audit.empty == ("Margin",)


def test_set_operations_are_done_in_the_order_that_the_docs_state() -> None:
    """Grown first, then cut to `and`, then `not` taken away."""
    labels = parse_label_map(
        '[[class]]\nname = "A"\nvalue = 1\n[[class]]\nname = "B"\nvalue = 2\n[[class]]\nname = "C"\nvalue = 3\n'
        '[[class]]\nname = "D"\nvalue = 4\nof = "A"\ngrow_um = 10\nand = "B"\nnot = ["C", "A"]\n'
        '[[class]]\nname = "E"\nvalue = 5\nof = "D"\ngrow_um = -1\n',
        source="labels.toml",
    )
    drawn = [
        annotation(shapely.box(0, 0, 50, 50), "A"),
        annotation(shapely.box(45, 10, 90, 40), "B"),
        annotation(shapely.box(40, 10, 90, 20), "C"),
    ]
    mask = rasterize(drawn, WHOLE, labels, mpp=1.0)
    inner = np.zeros(mask.shape, bool)
    inner[21:39, 51:59] = True
    outer = np.zeros(mask.shape, bool)
    outer[20:40, 50:60] = True
    assert np.array_equal(mask == 5, inner) and np.array_equal(mask == 4, outer & ~inner)


def test_a_derived_class_of_nothing_is_empty_and_reported() -> None:
    painting = Painting(
        [annotation(shapely.box(0, 0, 9, 9), "Stroma")], LabelMap(classes=(*CLASSES, RING)), downsample=1, mpp=1
    )
    assert painting.audit.empty == ("Tumor", "Ring")
    assert set(np.unique(painting.draw(WHOLE))) == {0, 1}


@given(stars() | boxes(), st.floats(1, 12))
def test_a_boundary_is_where_the_outline_is_near(shape: BaseGeometry, width: float) -> None:
    labels = LabelMap(classes=(*CLASSES, EDGE), boundary=Boundary(9, width / 2))
    mask = rasterize([annotation(shape)], WHOLE, labels, mpp=0.5)
    distance = shapely.distance(centres(), shape.boundary)
    expect(mask == 9, distance <= width / 2, abs(distance - width / 2))


def test_touching_instances_are_parted_by_a_boundary_and_touching_classes_are_not() -> None:
    cells = [annotation(shapely.box(x, 10, x + 20, 30)) for x in (10, 30, 50)]
    labels = LabelMap(classes=(*CLASSES, EDGE), boundary=Boundary(9, 4.0))
    row = rasterize(cells, WHOLE, labels, mpp=1.0)[20]
    assert [int(x) for x in np.flatnonzero(row == 9)] == [x + d for x in (10, 30, 50, 70) for d in (-2, -1, 0, 1)]
    classes = replace(labels, boundary=Boundary(9, 4.0, "classes"))
    row = rasterize(cells, WHOLE, classes, mpp=1.0)[20]
    assert [int(x) for x in np.flatnonzero(row == 9)] == [8, 9, 10, 11, 68, 69, 70, 71]


def test_hidden_outlines_are_not_drawn() -> None:
    """A tumour over the edge of the stroma covers that part of the stroma's outline."""
    drawn = [annotation(shapely.box(0, 0, 60, 60), "Stroma"), annotation(shapely.box(40, 20, 80, 40), "Tumor")]
    labels = LabelMap(classes=(*CLASSES, EDGE), boundary=Boundary(9, 2.0))
    mask = rasterize(drawn, WHOLE, labels, mpp=1.0)
    assert (mask[30, 42:78] == 2).all()
    assert mask[10, 60] == 9 and mask[30, 40] == 9


def test_a_boundary_lies_under_ignored_areas_and_over_regions() -> None:
    drawn = [annotation(shapely.box(10, 10, 50, 50)), annotation(shapely.box(5, 5, 15, 15), "Ignore*")]
    labels = LabelMap(classes=CLASSES, ignored=("Ignore*",), regions=("Region*",), boundary=Boundary(0, 4.0))
    mask = rasterize([*drawn, annotation(shapely.box(0, 0, 90, 90), "Region*")], WHOLE, labels, mpp=1.0)
    assert mask[10, 10] == 255 and mask[30, 10] == 0 and mask[30, 30] == 2


@pytest.mark.parametrize("downsample", [1.0, 2.7])
@pytest.mark.parametrize("radii", [(50, 30), (5000, 3000), (0.7, 3)])
def test_an_ellipse_is_the_analytic_one(downsample: float, radii: tuple[float, float]) -> None:
    a, b = radii
    cx, cy = 60.3, 55.7 + b - min(b, 50)  # of large ones the top edge
    item = annotation(ellipse(cx - a, cy - b, cx + a, cy + b), shape="ellipse")
    mask = rasterize([item], replace_tile(downsample), LABELS) == 2
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) * downsample
    u, v = (x - cx) / a, (y - cy) / b
    wanted = u**2 + v**2 <= 1
    slope = 2 * np.hypot(u / a, v / b)
    near = abs(u**2 + v**2 - 1) / np.maximum(slope, 1e-12) / downsample < 0.01
    assert wanted.any() and not wanted.all()
    assert not ((mask != wanted) & ~near).any()
    assert near.sum() < 0.02 * near.size


def replace_tile(downsample: float) -> Tile:
    return Tile(col=0, row=0, x=0, y=0, width=SIDE, height=SIDE, downsample=downsample)


@pytest.mark.parametrize("rule", ["centre", "qupath"])
@pytest.mark.parametrize("called", ["ellipse", "rectangle"])
@pytest.mark.parametrize(
    "shape", [shapely.Polygon([(10, 10), (40, 10), (40, 25), (10, 30)]), shapely.Point(30, 30).buffer(20, quad_segs=2)]
)
def test_what_is_no_longer_what_it_is_called_is_drawn_as_it_is(rule: PixelRule, called: RoiShape, shape: Any) -> None:
    drawn = [
        Painting([annotation(shape, shape=name)], LABELS, downsample=1.0, pixel_rule=rule).draw(WHOLE)
        for name in (called, "polygon")
    ]
    assert np.array_equal(*drawn)


@given(
    st.lists(st.tuples(st.floats(0, 120), st.floats(0, 120)), min_size=2, max_size=5, unique=True), st.floats(1.5, 9)
)
def test_a_line_is_as_wide_as_the_label_map_says(points: list[tuple[float, float]], width: float) -> None:
    if min(shapely.Point(p).distance(shapely.Point(q)) for p, q in pairwise(points)) < 0.5:
        return
    line = shapely.LineString(np.round(points, 3))  # GEOS warns of coordinates like 1e-300
    painting = Painting([annotation(line)], replace(LABELS, line_width_um=width / 4), downsample=1.0, mpp=0.25)
    distance = shapely.distance(centres(), line)
    near = np.maximum(abs(distance - width / 2), 0)
    mask = painting.draw(WHOLE) == 2
    assert not ((mask != (distance <= width / 2)) & (near > 0.05)).any()
    assert painting.audit.stroked == 1 and painting.audit.without_area == 0 and painting.audit.drawn == {"Tumor": 1}


@given(st.lists(st.tuples(st.floats(0, 120), st.floats(0, 120)), min_size=1, max_size=5), st.floats(0.6, 20))
def test_points_are_discs_of_the_stated_radius_and_instances_of_their_own(
    points: list[tuple[float, float]], radius: float
) -> None:
    shape = shapely.MultiPoint(points)
    painting = Painting([annotation(shape, id="p")], replace(LABELS, point_radius_um=radius), downsample=1.0, mpp=1.0)
    distance = shapely.distance(centres(), shape)
    expect(painting.draw(WHOLE) == 2, distance <= radius, abs(distance - radius))
    # A disc between the pixels is none: it has no number.
    seen = sum((shapely.distance(centres(), shapely.Point(p)) < radius - 0.01).any() for p in points)
    assert len(points) >= len(painting.instances) >= seen
    assert [(i.number, i.object_id) for i in painting.instances] == [
        (n + 1, "p") for n in range(len(painting.instances))
    ]
    numbers, _ = painting.draw_instances(WHOLE)
    assert np.array_equal(numbers > 0, painting.draw(WHOLE) == 2)


def test_lines_and_points_without_a_stated_width_stay_undrawn() -> None:
    drawn = [annotation(shapely.LineString([(0, 0), (50, 50)])), annotation(shapely.Point(9, 9))]
    only_lines = Painting(drawn, replace(LABELS, line_width_um=3.0), downsample=1.0, mpp=1.0)
    assert only_lines.audit.stroked == 1 and only_lines.audit.without_area == 1
    assert Painting(drawn, LABELS, downsample=1.0).audit.without_area == 2


@given(st.lists(annotations(), max_size=5), st.sampled_from(["order", "smallest-on-top"]))
def test_every_instance_has_the_pixels_that_nothing_covers(drawn: list[Annotation], overlap: str) -> None:
    labels = replace(LABELS, overlap=overlap)  # type: ignore[arg-type]
    painting = Painting(drawn, labels, downsample=1.0)
    numbers, both = painting.draw_instances(WHOLE)
    mask = painting.draw(WHOLE)
    assert [i.number for i in painting.instances] == list(range(1, len(painting.instances) + 1))
    assert set(np.unique(numbers)) <= {0, *(i.number for i in painting.instances)}
    for item in painting.instances:
        assert (mask[numbers == item.number] == item.value).all()
    assert np.array_equal(numbers > 0, np.isin(mask, (1, 2)))
    alone = [
        rasterize([a], WHOLE, LABELS) == {"Stroma": 1, "Tumor": 2}[a.class_name or ""]
        for a in drawn
        if a.class_name in ("Stroma", "Tumor")
    ]
    wanted = sum((m.astype(int) for m in alone), np.zeros((SIDE, SIDE), int))
    assert both == (wanted > 1).sum()


@given(st.lists(annotations(), max_size=5), st.sampled_from(["ignore", "background"]))
def test_each_channel_shows_its_class_alone(drawn: list[Annotation], unannotated: str) -> None:
    labels = replace(LABELS, masks="multi-label", unannotated=unannotated)  # type: ignore[arg-type]
    channels = Painting(drawn, labels, downsample=1.0, slide_size=(100, 110)).draw_channels(WHOLE)
    assert channels.shape == (2, SIDE, SIDE)
    single = Painting(drawn, labels, downsample=1.0, slide_size=(100, 110)).draw(WHOLE)
    assert np.array_equal(one_value_each(channels, labels), single)
    for channel, item in zip(channels, CLASSES, strict=True):
        own = [a for a in drawn if a.class_name in (item.name, "Region*", "Ignore*")]
        alone = Painting(own, replace(labels, classes=(item,)), downsample=1.0, slide_size=(100, 110)).draw(WHOLE)
        assert np.array_equal(channel == 1, alone == item.value)
        assert np.array_equal(channel == 255, alone == 255)
        assert np.array_equal(channel == 0, alone == 0)


@pytest.mark.parametrize(("value", "shown"), [(9, [1, 0, 0, 1]), (0, [0, 0, 0]), (255, [255, 255, 255])])
def test_a_boundary_shows_in_the_channels_as_what_it_means(value: int, shown: list[int]) -> None:
    own = (EDGE,) if value == 9 else ()
    labels = LabelMap(
        classes=(*CLASSES[:1], CLASSES[1], RING, *own), masks="multi-label", boundary=Boundary(value, 4.0)
    )
    stroma = annotation(shapely.box(10, 10, 60, 60), "Stroma")
    channels = Painting([stroma], labels, downsample=1.0, mpp=1.0).draw_channels(WHOLE)
    assert channels[:, 30, 11].tolist() == shown
    assert channels[0, 30, 30] == 1


def test_cells_are_drawn_as_their_outline_or_their_nucleus() -> None:
    cell = annotation(shapely.box(10, 10, 40, 40), kind="cell", nucleus=shapely.box(20, 20, 30, 30), shape="polygon")
    bare = annotation(shapely.box(60, 60, 70, 70), kind="cell")
    outline = Painting([cell, bare], LABELS, downsample=1.0)
    assert (outline.draw(WHOLE) == 2).sum() == 900 + 100 and outline.audit.without_nucleus == 0
    nucleus = Painting([cell, bare], replace(LABELS, cell="nucleus"), downsample=1.0)
    assert (nucleus.draw(WHOLE) == 2).sum() == 100 and nucleus.audit.without_nucleus == 1


@pytest.mark.parametrize("labels", [replace(LABELS, line_width_um=1.0), LabelMap(classes=(*CLASSES, NEAR))])
def test_um_without_um_per_px_are_refused_in_one_line(labels: LabelMap) -> None:
    with pytest.raises(LabelError, match="how many um a px"):
        rasterize([annotation(shapely.box(0, 0, 9, 9))], WHOLE, labels)


def test_hard_shapes_pass_through_every_rule() -> None:
    """Slivers, bow ties, shapes far outside and empty ones."""
    drawn = [
        annotation(shapely.Polygon([(0, 0), (100, 100), (100, 0), (0, 100)])),
        annotation(shapely.Polygon([(0, 50), (119, 50.01), (119, 50.02)]), "Stroma"),
        annotation(shapely.Polygon([(5, 5), (9, 5), (5, 5), (7, 5)]), "Stroma"),
        annotation(shapely.box(-1e7, -1e7, -1e7 + 1, -1e7 + 1)),
        annotation(shapely.Polygon()),
    ]
    labels = LabelMap(
        classes=(*CLASSES, RING, NEAR, EDGE), boundary=Boundary(9, 1.0), overlap="smallest-on-top", line_width_um=2.0
    )
    painting = Painting(drawn, labels, downsample=1.0, mpp=0.5, slide_size=(SIDE, SIDE))
    mask, tally = painting.paint(WHOLE)
    assert painting.audit.mended == 1 and painting.audit.outside == 1 and painting.audit.without_area == 2
    assert {2, 3, 9} <= set(np.unique(mask).tolist()) and tally.pixels == mask.size
    assert dict(painting.audit.drawn) == {"Tumor": 1}
    assert painting.audit.too_small["Stroma"].objects == 1  # 0.01 px thin


def test_slivers_are_drawn_and_counted() -> None:
    """A long strip 0.8 px wide is none, one 0.4 px wide is, and so is a speck, if they have pixels."""
    strips = [shapely.box(2, 2, 60, 2.8), shapely.box(2, 12.3, 60, 12.7), shapely.box(5.1, 30.1, 5.9, 30.9)]
    drawn = [Annotation(geometry=shape, path_class=PathClass((LABELS.classes[0].sources[0],))) for shape in strips]
    audit = Painting(drawn, LABELS, downsample=1.0).audit
    assert (audit.slivers, sum(audit.drawn.values())) == (2, 3)
