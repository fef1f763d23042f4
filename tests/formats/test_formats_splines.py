"""Splines of ASAP are polygons along the curve that ASAP draws."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.formats.shared.splines import closed_spline

SQUARE = np.array([(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)])
SMALL = st.tuples(st.integers(-50, 50), st.integers(-50, 50))


@pytest.mark.parametrize(("x", "y"), [(50, -12.5), (112.5, 50), (56.25, 106.25), (-6.25, 43.75)])
def test_the_middle_of_each_side_of_a_square_is_where_asap_draws_it(x: float, y: float) -> None:
    """Worked out by hand of PolyQtAnnotation.cpp: the last two pieces end straight, so they bulge less."""
    assert shapely.Polygon(closed_spline(SQUARE)).exterior.distance(shapely.Point(x, y)) < 0.1


@given(st.lists(SMALL, min_size=3, max_size=9, unique=True))
def test_the_curve_goes_through_the_points_in_their_order(points: list[tuple[int, int]]) -> None:
    curve = closed_spline(np.array(points, dtype=np.float64)).tolist()
    places = [curve.index([x, y]) for x, y in points]
    assert places == sorted(places)
    assert np.isfinite(curve).all()


@given(st.lists(SMALL, min_size=3, max_size=9, unique=True), st.integers(2, 50))
def test_a_finer_polygon_of_the_same_curve_is_nowhere_farther_than_the_tolerance(
    points: list[tuple[int, int]], finer: int
) -> None:
    coarse = shapely.LinearRing(closed_spline(np.array(points, dtype=np.float64)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qpkit.formats.shared.splines._TOLERANCE_PX", 0.1 / finer)
        fine = closed_spline(np.array(points, dtype=np.float64))
    assert shapely.distance(shapely.points(fine), coarse).max() <= 0.1


def test_points_that_are_repeated_change_nothing_and_fewer_than_three_are_no_curve() -> None:
    again = np.concatenate([SQUARE[:1], SQUARE, SQUARE[-1:], SQUARE[:1]])
    assert np.array_equal(closed_spline(again), closed_spline(SQUARE))
    assert closed_spline(SQUARE[[0, 1, 1, 0]]).tolist() == SQUARE[:2].tolist()
    assert closed_spline(SQUARE[[0, 0]]).shape == (0, 2)
    assert closed_spline(SQUARE[:0]).shape == (0, 2)


def test_points_very_far_apart_give_a_polygon_of_bounded_size() -> None:
    assert len(closed_spline(SQUARE * 1e290)) == 4 * 256
