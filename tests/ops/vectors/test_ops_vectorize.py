from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.features import rasterize as gdal_rasterize

from qpkit.ops.scores.confusion import IGNORE_INDEX, class_indices, class_scores, confusion_of
from qpkit.ops.vectors.merge import AREA_CHANGE, merge, simplify_together, to_slide
from qpkit.ops.vectors.vectorize import mean_inside, vectorize
from strategies import label_rasters


def redraw(polygons: dict[int, list[shapely.Polygon]], shape: tuple[int, int]) -> NDArray[np.uint8]:
    flat = [(p, value) for value, parts in polygons.items() for p in parts]
    return gdal_rasterize(flat, out_shape=shape, dtype="uint8") if flat else np.zeros(shape, dtype=np.uint8)


def strips(labels: NDArray[np.uint8], rows: int) -> list[dict[int, list[shapely.Polygon]]]:
    return [vectorize(labels[y : y + rows], skip={0}, y=y) for y in range(0, len(labels), rows)]  # type: ignore[misc]


@given(label_rasters())
def test_drawing_the_polygons_of_a_mask_gives_the_mask(labels: NDArray[np.uint8]) -> None:
    polygons = merge([vectorize(labels, skip={0})])
    assert all(p.is_valid for parts in polygons.values() for p in parts)
    assert np.array_equal(redraw(polygons, labels.shape), labels)


@given(label_rasters(), st.integers(1, 9))
def test_strips_do_not_change_the_polygons(labels: NDArray[np.uint8], rows: int) -> None:
    whole, cut = merge([vectorize(labels, skip={0})]), merge(strips(labels, rows))
    assert whole.keys() == cut.keys()
    for value in whole:
        assert len(whole[value]) == len(cut[value])
        assert all(a.equals(b) for a, b in zip(whole[value], cut[value], strict=True))


def test_holes_are_kept_across_strips() -> None:
    labels = np.ones((9, 9), dtype=np.uint8)
    labels[2:7, 3:6] = 0
    (polygon,) = merge(strips(labels, 4))[1]
    assert len(polygon.interiors) == 1
    assert polygon.area == 81 - 15


@given(label_rasters(values=4), st.floats(0.5, 4))
def test_simplified_neighbours_share_their_edges(labels: NDArray[np.uint8], tolerance: float) -> None:
    polygons = [p for parts in merge([vectorize(labels, skip=())]).values() for p in parts]
    simple = simplify_together(polygons, tolerance)
    assert len(simple) == len(polygons)
    total = sum(p.area for p in simple)
    assert shapely.union_all(simple).area == pytest.approx(total, abs=1e-6)
    assert shapely.coverage_is_valid(simple)
    before, after = shapely.area(polygons), shapely.area(simple)
    assert (np.abs(after - before) <= (AREA_CHANGE + 1e-9) * before).all()
    assert sum(shapely.get_num_coordinates(simple)) <= sum(
        shapely.get_num_coordinates(shapely.segmentize(polygons, 1.0))
    )


def test_small_objects_keep_their_area_and_large_ones_are_simplified_all_the_same() -> None:
    """Without that bound GEOS takes half of every single pixel."""
    rows, columns = np.mgrid[0:200, 0:200]
    labels = (np.hypot(rows - 100, columns - 100) < 80).astype(np.uint8)
    labels[5:195:10, 5:195:10] = 2
    labels[7:195:10, 7:195:10] = 0
    by_value = merge([vectorize(labels, skip={0})])
    polygons = [p for parts in by_value.values() for p in parts]
    simple = simplify_together(polygons, 2.0)
    assert shapely.area(simple[1:]).tolist() == [1.0] * (19 * 19)
    assert len(simple[0].exterior.coords) < 0.2 * len(polygons[0].exterior.coords)
    assert shapely.coverage_is_valid(simple)


def test_simplifying_leaves_no_gap_where_three_classes_meet() -> None:
    rows, columns = np.mgrid[0:120, 0:120]
    labels = ((np.hypot(rows - 60, columns - 50) < 38) + 2 * (columns > 70 + 6 * np.sin(rows / 9))).astype(np.uint8)
    polygons = [p for parts in merge([vectorize(labels, skip=())]).values() for p in parts]
    simple = simplify_together(polygons, 3.0)
    assert shapely.get_num_coordinates(simple).sum() < 0.3 * shapely.get_num_coordinates(polygons).sum()
    assert sum(p.area for p in simple) == pytest.approx(shapely.union_all(simple).area)
    inner = shapely.union_all(simple).buffer(0)
    assert sum(len(p.interiors) for p in shapely.get_parts(inner)) == 0


@given(label_rasters(), st.sampled_from([1.0, 2.0, 1.987, 3.7]), st.sampled_from([0.0, 1.0]))
def test_every_polygon_is_valid_after_quPaths_rounding(
    labels: NDArray[np.uint8], downsample: float, tolerance: float
) -> None:
    polygons = [p for parts in merge([vectorize(labels, skip={0})]).values() for p in parts]
    for polygon in simplify_together(polygons, tolerance):
        parts, _mended = to_slide(polygon, downsample)
        area = sum(p.area for p in parts)
        assert area == pytest.approx(polygon.area * downsample**2, rel=0.02, abs=0.2)
        for part in parts:
            xy = shapely.get_coordinates(part)
            assert part.is_valid
            assert np.array_equal(xy.astype(np.float32), xy)
            assert np.abs(xy - np.round(xy, 2)).max() < 1e-4


def test_scaling_keeps_the_outline_within_the_drawn_pixels() -> None:
    (parts, mended) = to_slide(shapely.box(3, 4, 10, 12), 1.987)
    assert not mended
    assert parts[0].bounds == pytest.approx((5.96, 7.95, 19.87, 23.84), abs=0.006)


@given(label_rasters(values=2), st.integers(1, 7))
def test_means_inside_polygons_do_not_depend_on_strips(labels: NDArray[np.uint8], rows: int) -> None:
    values = (np.arange(labels.size, dtype=np.uint64) * 37 % 251).astype(np.uint8).reshape(labels.shape)
    polygons = merge([vectorize(labels, skip={0})]).get(1, [])
    pieces = ((y, values[y : y + rows]) for y in range(0, len(labels), rows))
    means = mean_inside(polygons, pieces)
    for polygon, mean in zip(polygons, means, strict=True):
        own = redraw({1: [polygon]}, labels.shape) == 1
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
