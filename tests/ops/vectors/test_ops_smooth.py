"""Rounded corners, closed gaps, large polygons cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from qpkit.ops.vectors.gaps import close_gaps, closed_rows
from qpkit.ops.vectors.rings import rings_of
from qpkit.ops.vectors.simplify import simplify
from qpkit.ops.vectors.smooth import AREA_CHANGE, smooth
from qpkit.ops.vectors.split import split_large
from qpkit.ops.vectors.sweep import trace
from qpkit.ops.vectors.vectorize import Outlines, outlines_of
from strategies import label_rasters


def smoothed(labels: NDArray[np.uint8], reach: float, **more: float) -> Outlines:
    return outlines_of(trace([(0, labels, None)], skip={0}), reach=reach, **more)  # type: ignore[arg-type]


def blobs(seed: int = 0, side: int = 120) -> NDArray[np.uint8]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 4)
    noise /= noise.std()
    return ((noise > 0.2) + 2 * (noise < -0.3)).astype(np.uint8)


@given(label_rasters(), st.sampled_from([0.5, 1.0, 3.0]))
def test_smoothed_borders_leave_no_gap_and_never_cross(labels: NDArray[np.uint8], reach: float) -> None:
    made = smoothed(labels, reach)
    assert shapely.is_valid(made.polygons).all()
    whole = shapely.area(made.polygons).sum()
    assert shapely.union_all(made.polygons, grid_size=1e-9).area == pytest.approx(whole, abs=1e-3)
    assert len(made.polygons) == len(smoothed(labels, 0.0).polygons)


@given(label_rasters(), st.sampled_from([0.5, 1.0, 3.0]))
def test_smoothing_changes_no_area_by_more_than_stated(labels: NDArray[np.uint8], reach: float) -> None:
    arcs = trace([(0, labels, None)], skip={0})
    rings, areas, kept = rings_of(arcs), np.arange(len(arcs.values)), simplify(arcs, reach)
    made = smooth(arcs, kept, reach)
    after = replace(rings, arcs=made).polygons(areas, np.ones(len(made.points), np.bool_))
    change = np.abs(shapely.area(after) - shapely.area(rings.polygons(areas, kept)))
    assert (change <= AREA_CHANGE * arcs.areas + 1e-6).all()


def test_smoothed_outlines_turn_gently_and_stay_near() -> None:
    labels = blobs()
    plain, made = smoothed(labels, 0.0), smoothed(labels, 2.0)

    def sharp(found: Outlines) -> float:
        turns = []
        for polygon in found.polygons:
            steps = np.diff(shapely.get_coordinates(polygon.exterior), axis=0)
            angles = np.arctan2(steps[:, 1], steps[:, 0])
            turns += np.abs((np.diff(angles) + np.pi) % (2 * np.pi) - np.pi).tolist()
        return float((np.array(turns) > 1.2).mean())

    assert sharp(made) < 0.1 < sharp(plain)
    lines = [shapely.union_all(shapely.boundary(found.polygons)) for found in (plain, made)]
    assert shapely.hausdorff_distance(*lines, densify=0.05) <= 2.0
    rounded = smoothed(labels, 2.0, downsample=2.0)
    assert shapely.is_valid(rounded.polygons).all()


def test_neighbours_have_the_same_points_after_smoothing() -> None:
    made = smoothed((blobs(1) == 1) + np.uint8(1), 2.0, downsample=1.0)
    edges: dict[tuple[float, ...], int] = {}
    for polygon in made.polygons:
        for ring in (polygon.exterior, *polygon.interiors):
            xy = shapely.get_coordinates(ring)
            for a, b in zip(xy[:-1].tolist(), xy[1:].tolist(), strict=True):
                edges[(*a, *b)] = edges.get((*a, *b), 0) + 1
    assert max(edges.values()) == 1
    twice = sum((*key[2:], *key[:2]) in edges for key in edges)
    inside = sum(0 < key[0] < 120 and 0 < key[1] < 120 for key in edges)
    assert twice > 0.9 * inside


@pytest.mark.parametrize(("apart", "joined"), [(3, True), (4, True), (5, False)])
def test_areas_nearer_than_the_gap_are_joined_over_the_background_alone(apart: int, joined: bool) -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 10:20] = 1
    labels[10:30, 20 + apart : 40] = 1
    labels[18:20, 20 : 20 + apart] = 2
    made = close_gaps(labels, 2.0, skip={0, 255}, ground=0)
    assert np.array_equal(made[labels > 0], labels[labels > 0])
    assert (made[12:16, 20 : 20 + apart] == 1).all() == joined
    assert (made[:, 45:] == 0).all()


@pytest.mark.parametrize("rows", [7, 64])
def test_strips_do_not_change_what_is_closed(rows: int) -> None:
    labels = blobs(3)
    whole = close_gaps(labels, 3.5, skip={0}, ground=0)
    parts = [
        closed_rows(
            lambda x, y, w, h: labels[y : y + h, x : x + w], 120, 120, y, min(rows, 120 - y), 3.5, skip={0}, ground=0
        )
        for y in range(0, 120, rows)
    ]
    assert np.array_equal(np.concatenate(parts), whole)
    assert (whole != labels).any()


@given(label_rasters(), st.integers(5, 40))
def test_parts_of_large_polygons_are_those_polygons(labels: NDArray[np.uint8], most: int) -> None:
    polygons = smoothed(np.kron(labels, np.ones((9, 9), np.uint8)), 0.0).polygons
    parts, of = split_large(polygons, most)
    assert shapely.is_valid(parts).all()
    for number, polygon in enumerate(polygons):
        own = parts[of == number]
        assert shapely.area(own).sum() == pytest.approx(polygon.area)
        assert shapely.union_all(own).symmetric_difference(polygon).area == pytest.approx(0, abs=1e-9)


def test_no_part_has_more_vertices_than_allowed_and_small_ones_stay() -> None:
    polygons = smoothed(blobs(2), 0.0).polygons
    parts, of = split_large(polygons, 100)
    assert shapely.get_num_coordinates(parts).max() <= 100 < shapely.get_num_coordinates(polygons).max()
    for number, polygon in enumerate(polygons):
        if shapely.get_num_coordinates(polygon) <= 100:
            assert [part is polygon for part in parts[of == number]] == [True]
    assert np.array_equal(np.unique(of), np.arange(len(polygons)))


def test_a_corner_with_another_area_in_it_stays() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[10:50, 10:50] = 1
    alone = smoothed(labels, 8.0)
    assert not alone.polygons[0].covers(shapely.Point(49.5, 49.5))  # the corner is round
    labels[47:49, 47:49] = 2
    made = smoothed(labels, 8.0)
    square, small = made.polygons
    assert shapely.is_valid(made.polygons).all()
    assert square.intersection(small).area == 0 and square.covers(shapely.Point(49.5, 49.5))
    assert not square.covers(shapely.Point(10.5, 10.5))
