from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.features import rasterize as gdal_rasterize
from rasterio.features import shapes as gdal_shapes

from qpkit.ops.scores.confusion import IGNORE_INDEX, class_indices, class_scores, confusion_of
from qpkit.ops.vectors.arcs import Arcs, transposed
from qpkit.ops.vectors.for_qupath import to_slide, valid_parts
from qpkit.ops.vectors.rings import rings_of
from qpkit.ops.vectors.simplify import AREA_CHANGE, simplify
from qpkit.ops.vectors.sweep import trace, trace_parts
from qpkit.ops.vectors.vectorize import Outlines, outlines_of, vectorize
from strategies import label_rasters


def redraw(polygons: Sequence[shapely.Polygon], values: Sequence[int], shape: tuple[int, int]) -> NDArray[np.uint32]:
    flat = [(p, int(value)) for p, value in zip(polygons, values, strict=True)]
    return gdal_rasterize(flat, out_shape=shape, dtype="uint32") if flat else np.zeros(shape, dtype=np.uint32)


def strips(labels: NDArray[Any], rows: int) -> Iterator[tuple[int, NDArray[Any], None]]:
    return ((y, labels[y : y + rows], None) for y in range(0, len(labels), rows))


def same_arcs(a: Arcs, b: Arcs) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in Arcs.__dataclass_fields__)


@given(label_rasters(values=4), st.sampled_from([np.uint8, np.uint16, np.int32, np.uint32]), st.integers(0, 9))
def test_drawing_the_polygons_of_a_mask_gives_the_mask(labels: NDArray[np.uint8], kind: type, scale: int) -> None:
    large = labels.astype(kind) * (1 if kind is np.uint8 else 1 + 8000 * scale // (1 + 9 * (kind is np.uint16)))
    found = outlines_of(trace([(0, large, None)], skip={0}))
    assert shapely.is_valid(found.polygons).all()
    assert np.array_equal(redraw(found.polygons, found.values, labels.shape), large)
    assert sum(shapely.area(found.polygons)) == np.count_nonzero(labels)
    # Axis by axis: no point in the middle of a straight line.
    straight = shapely.simplify(found.polygons, 0, preserve_topology=False)
    assert shapely.get_num_coordinates(found.polygons).sum() <= shapely.get_num_coordinates(straight).sum()


@given(label_rasters(values=4))
def test_areas_are_those_of_gdal(labels: NDArray[np.uint8]) -> None:
    theirs = {}
    for outline, value in gdal_shapes(labels, mask=labels > 0, connectivity=4):
        theirs.setdefault(int(value), []).append(shapely.geometry.shape(outline).buffer(0))
    ours = vectorize(labels, skip={0})
    assert ours.keys() == theirs.keys()
    for value, polygons in ours.items():
        assert len(polygons) == len(theirs[value])
        assert shapely.equals(shapely.union_all(polygons), shapely.union_all(theirs[value]))


@given(label_rasters(), st.integers(1, 9), st.sampled_from([(), (0,), (0, 2)]))
def test_strips_do_not_change_a_bit(labels: NDArray[np.uint8], rows: int, skip: tuple[int, ...]) -> None:
    whole = trace([(0, labels, None)], skip=skip)
    assert same_arcs(whole, trace(strips(labels, rows), skip=skip))
    if rows > 1:
        empty = np.zeros((rows, labels.shape[1]), np.uint8)
        apart = [(0, labels, None), (len(labels) + rows, labels, None)]
        together = np.concatenate([labels, empty, labels])
        assert same_arcs(trace(apart, skip={0}), trace([(0, together, None)], skip={0}))


@given(label_rasters(values=4), st.integers(1, 9), st.sampled_from([(), (0,), (0, 2)]), st.integers(0, 60))
def test_areas_that_leave_early_are_those_of_the_whole(
    labels: NDArray[np.uint8], rows: int, skip: tuple[int, ...], held: int
) -> None:
    whole, parts = trace(strips(labels, rows), skip=skip), list(trace_parts(strips(labels, rows), skip=skip, held=held))
    assert sum(len(part.points) for part in parts) == len(whole.points)
    for least in (0, 5):
        together = Outlines.together([outlines_of(part, least_px=least) for part in parts])
        expected = outlines_of(whole, least_px=least)
        assert [p.wkb for p in together.polygons] == [p.wkb for p in expected.polygons]
        for name in ("values", "areas", "firsts", "too_small"):
            assert np.array_equal(getattr(together, name), getattr(expected, name))


def test_what_is_held_does_not_grow_with_the_raster() -> None:
    read: list[int] = []

    def specks(count: int) -> Iterator[tuple[int, NDArray[np.uint8], None]]:
        rows, columns = np.mgrid[0:64, 0:64]
        for number in range(count):
            read.append(number)
            yield 64 * number, ((rows % 5 < 2) & (columns % 5 < 2)).astype(np.uint8), None

    sizes = []
    for part in trace_parts(specks(60), skip={0}, held=2000):
        sizes.append((len(part.points), len(read)))
    assert sum(size for size, _ in sizes) == 4 * 13 * 13 * 60
    assert max(size for size, _ in sizes) < 4000 and sizes[0][1] < 10


@given(label_rasters(values=4), st.integers(1, 9))
def test_negative_labels_are_all_outside(labels: NDArray[np.uint8], rows: int) -> None:
    signed = labels.astype(np.int32) - 2
    expected = trace([(0, signed.clip(-1), None)], skip=())
    assert same_arcs(expected, trace(strips(signed, rows), skip=()))


@given(label_rasters(values=4), st.sampled_from([(), (0,)]))
def test_every_pixel_edge_between_two_labels_lies_on_one_arc(labels: NDArray[np.uint8], skip: tuple[int, ...]) -> None:
    arcs = trace([(0, labels, None)], skip=skip)
    height, width = labels.shape
    upright, level = np.zeros((height, width + 1), int), np.zeros((height + 1, width), int)
    for arc in range(len(arcs.left)):
        points = arcs.points[arcs.starts[arc] : arcs.starts[arc + 1]]
        assert arcs.left[arc] != arcs.right[arc]
        for (x, y), (x2, y2) in pairwise(np.concatenate([points, points[:1]]) if arcs.is_ring[arc] else points):
            upright[min(y, y2) : max(y, y2), x] += x == x2
            level[y, min(x, x2) : max(x, x2)] += y == y2
    shown = np.pad(np.where(np.isin(labels, skip), -1, labels.astype(int)), 1, constant_values=-1)
    assert np.array_equal(upright, shown[1:-1, 1:] != shown[1:-1, :-1])
    assert np.array_equal(level, shown[1:, 1:-1] != shown[:-1, 1:-1])


@given(label_rasters())
def test_a_transposed_raster_has_transposed_polygons(labels: NDArray[np.uint8]) -> None:
    ours = outlines_of(transposed(trace([(0, np.ascontiguousarray(labels.T), None)], skip={0})))
    assert shapely.is_valid(ours.polygons).all()
    assert np.array_equal(redraw(ours.polygons, ours.values, labels.shape), labels)


def test_holes_are_kept_across_strips() -> None:
    labels = np.ones((9, 9), dtype=np.uint8)
    labels[2:7, 3:6] = 0
    (polygon,) = outlines_of(trace(strips(labels, 4), skip={0})).polygons
    assert len(polygon.interiors) == 1
    assert polygon.area == 81 - 15


@given(label_rasters(values=4), st.floats(0.5, 4))
def test_simplified_neighbours_share_their_edges(labels: NDArray[np.uint8], tolerance: float) -> None:
    arcs = trace([(0, labels, None)], skip=())
    plain, simple = outlines_of(arcs).polygons, outlines_of(arcs, tolerance=tolerance)
    assert shapely.is_valid(simple.polygons).all()
    assert shapely.coverage_is_valid(simple.polygons)
    before, after = np.sort(shapely.area(plain)), shapely.area(simple.polygons)
    assert shapely.union_all(simple.polygons).area == pytest.approx(after.sum(), abs=1e-6)
    areas = [p.area for value in np.unique(simple.values) for p in plain[outlines_of(arcs).values == value]]
    assert len(areas) == len(before) == len(after)


@given(label_rasters(values=3), st.sampled_from([0.7, 1.0, 2.0, 3.3]))
def test_simplifying_moves_no_outline_further_and_takes_no_more_than_stated(
    labels: NDArray[np.uint8], tolerance: float
) -> None:
    arcs = trace([(0, labels, None)], skip={0})
    rings, kept, areas = rings_of(arcs), simplify(arcs, tolerance), np.arange(len(arcs.values))
    before, after = rings.polygons(areas), rings.polygons(areas, kept)
    assert (np.abs(shapely.area(after) - arcs.areas) <= (AREA_CHANGE + 1e-9) * arcs.areas).all()
    assert (shapely.hausdorff_distance(shapely.boundary(before), shapely.boundary(after)) <= tolerance + 1e-9).all()
    # Strip by strip it is the same.
    assert np.array_equal(simplify(trace(strips(labels, 3), skip={0}), tolerance), kept)


def test_small_objects_keep_their_area_and_large_ones_are_simplified_all_the_same() -> None:
    rows, columns = np.mgrid[0:200, 0:200]
    labels = (np.hypot(rows - 100, columns - 100) < 80).astype(np.uint8)
    labels[5:195:10, 5:195:10] = 2
    labels[7:195:10, 7:195:10] = 0
    arcs = trace([(0, labels, None)], skip={0})
    plain, simple = outlines_of(arcs), outlines_of(arcs, tolerance=2.0)
    assert shapely.area(simple.polygons[simple.values == 2]).tolist() == [1.0] * (19 * 19)
    assert len(simple.polygons[0].exterior.coords) < 0.2 * len(plain.polygons[0].exterior.coords)


def test_simplifying_leaves_no_gap_where_three_classes_meet() -> None:
    rows, columns = np.mgrid[0:120, 0:120]
    labels = ((np.hypot(rows - 60, columns - 50) < 38) + 2 * (columns > 70 + 6 * np.sin(rows / 9))).astype(np.uint8)
    arcs = trace([(0, labels, None)], skip=())
    polygons, simple = outlines_of(arcs).polygons, outlines_of(arcs, tolerance=3.0).polygons
    assert shapely.get_num_coordinates(simple).sum() < 0.3 * shapely.get_num_coordinates(polygons).sum()
    assert sum(p.area for p in simple) == pytest.approx(shapely.union_all(simple).area)
    assert sum(len(p.interiors) for p in shapely.get_parts(shapely.union_all(simple).buffer(0))) == 0


@given(label_rasters(values=4), st.integers(2, 9), st.sampled_from([(), (0,)]))
def test_small_areas_become_their_surroundings(labels: NDArray[np.uint8], least: int, skip: tuple[int, ...]) -> None:
    arcs = trace([(0, labels, None)], skip=skip)
    all_of_them, large = outlines_of(arcs), outlines_of(arcs, least_px=least)
    assert shapely.is_valid(large.polygons).all()
    assert (shapely.area(large.polygons) >= least).all()
    assert large.too_small == len(all_of_them.polygons) - len(large.polygons)
    drawn = redraw(large.polygons, large.values + 1, labels.shape)
    # Disjoint, and what is large enough by itself is covered by its own label.
    assert np.count_nonzero(drawn) == shapely.area(large.polygons).sum()
    own = [(p, v) for p, v in zip(all_of_them.polygons, all_of_them.values, strict=True) if p.area >= least]
    kept = redraw([p for p, _ in own], [v + 1 for _, v in own], labels.shape)
    assert np.array_equal(drawn[kept > 0], kept[kept > 0])


def test_a_speck_goes_to_the_neighbour_with_the_longest_border_and_not_to_the_means() -> None:
    labels = np.ones((8, 8), np.uint8)
    labels[:, 4:] = 2
    labels[2, 3] = 2  # joins the right half
    labels[5, 1:3] = 3  # in the left half
    labels[0, 7] = 3  # in a corner: two of its edges are of the half, two of what is outside, which is larger
    weights = np.where(labels == 3, 200, 100).astype(np.uint8)
    arcs = trace([(0, labels, weights)], skip={0})
    found = outlines_of(arcs, least_px=3, has_weights=True)
    assert found.values.tolist() == [1, 2]
    assert (found.too_small, found.means.tolist()) == (2, [100, 100])
    assert shapely.area(found.polygons).tolist() == [31, 33]


@given(label_rasters(values=3), st.integers(2, 30))
def test_small_holes_become_their_surroundings_and_nothing_else_does(labels: NDArray[np.uint8], holes: int) -> None:
    arcs = trace([(0, labels, None)], skip={255})
    plain = outlines_of(trace([(0, labels, None)], skip={0, 255}))
    same = outlines_of(arcs, ground=0)
    assert same.values.tolist() == plain.values.tolist() and shapely.equals(same.polygons, plain.polygons).all()
    filled = outlines_of(arcs, ground=0, holes_px=holes)
    assert shapely.is_valid(filled.polygons).all() and filled.too_small == 0
    drawn = redraw(filled.polygons, filled.values, labels.shape)
    assert np.array_equal(drawn[labels > 0], labels[labels > 0])
    left = outlines_of(trace([(0, (drawn == 0).astype(np.uint8), None)], skip={0}))
    for hole in left.polygons[shapely.area(left.polygons) < holes]:
        # One on the edge of the raster may be part of what is outside; another has no neighbour that is larger.
        on_edge = hole.boundary.intersection(shapely.box(0, 0, *labels.shape[::-1]).boundary).length
        shared = shapely.length(shapely.intersection(filled.polygons, hole))
        assert on_edge or not (shapely.area(filled.polygons)[shared > 0] > hole.area).any()


@given(label_rasters(), st.sampled_from([1.0, 2.0, 1.987, 3.7]), st.sampled_from([0.0, 1.0]))
def test_every_polygon_is_valid_after_quPaths_rounding(
    labels: NDArray[np.uint8], downsample: float, tolerance: float
) -> None:
    arcs = trace([(0, labels, None)], skip={0})
    exact = outlines_of(arcs, tolerance=tolerance)
    made = outlines_of(arcs, tolerance=tolerance, downsample=downsample)
    assert shapely.is_valid(made.polygons).all() and not (made.mended and not tolerance)
    for value in np.unique(labels[labels > 0]):
        before, after = (shapely.area(found.polygons[found.values == value]).sum() for found in (exact, made))
        assert after == pytest.approx(before * downsample**2, rel=0.02, abs=0.2 * labels.size)
    xy = shapely.get_coordinates(made.polygons)
    assert np.array_equal(xy.astype(np.float32), xy)
    assert np.abs(xy - np.round(xy, 2)).max(initial=0) < 1e-4


def test_scaling_keeps_the_outline_within_the_drawn_pixels() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[4:12, 3:10] = 1
    (polygon,) = outlines_of(trace([(0, labels, None)], skip={0}), downsample=1.987).polygons
    assert polygon.bounds == pytest.approx((5.96, 7.95, 19.87, 23.84), abs=0.006)


def test_what_rounding_pinches_is_mended_and_counted() -> None:
    pinched = shapely.Polygon([(0, 0), (10, 0), (10, 10), (5, 0.004), (0, 10)])
    polygons = shapely.transform(np.array([shapely.box(20, 0, 30, 9), pinched]), lambda xy: to_slide(xy, 1.0))
    parts, of, mended = valid_parts(polygons)
    assert (of.tolist(), mended) == ([0, 1, 1], 1)
    assert shapely.is_valid(parts).all()


@given(label_rasters(values=3), st.integers(1, 7))
def test_means_inside_polygons_do_not_depend_on_strips(labels: NDArray[np.uint8], rows: int) -> None:
    values = (np.arange(labels.size, dtype=np.uint64) * 37 % 251).astype(np.uint8).reshape(labels.shape)
    pieces = ((y, labels[y : y + rows], values[y : y + rows]) for y in range(0, len(labels), rows))
    found = outlines_of(trace(pieces, skip={0}), has_weights=True)
    for polygon, mean in zip(found.polygons, found.means, strict=True):
        own = redraw([polygon], [1], labels.shape) == 1
        assert mean == pytest.approx(values[own].mean())


@given(label_rasters(), label_rasters())
def test_a_confusion_matrix_counts_every_known_pixel_once(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> None:
    rows, columns = min(a.shape[0], b.shape[0]), min(a.shape[1], b.shape[1])
    truth = class_indices(a[:rows, :columns], values=(0, 1))
    predicted = class_indices(b[:rows, :columns], values=(0, 1, 2)).clip(0, 1)
    matrix = confusion_of(truth, predicted, 2)
    assert matrix.sum() == (a[:rows, :columns] != 2).sum()
    known = truth != IGNORE_INDEX
    for score in class_scores(confusion_of(truth, np.where(known, truth, 0).astype(np.uint8), 2), ["a", "b"]):
        assert score.dice in (None, 1.0)


def test_scores_are_the_textbooks() -> None:
    found = class_scores(np.array([[50, 10], [5, 35]]), ["background", "lesion"])[1]
    assert found.precision == pytest.approx(35 / 45)
    assert found.recall == pytest.approx(35 / 40)
    assert found.dice == pytest.approx(70 / 85)
    assert found.iou == pytest.approx(35 / 50)
    assert (found.support, found.predicted) == (40, 45)
