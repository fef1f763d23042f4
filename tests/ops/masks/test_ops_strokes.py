"""Lines, points and outlines have the width that is stated, to 1/256 level px."""

from __future__ import annotations

import math

import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.ops.masks.strokes import arc_steps, outline_bands, stroke

widths, downsamples = st.floats(0.5, 200), st.floats(0.5, 32)


@given(widths, downsamples)
def test_chords_miss_their_arc_by_less_than_a_256th_of_a_level_pixel(radius: float, downsample: float) -> None:
    steps = arc_steps(radius, downsample)
    assert radius * (1 - math.cos(math.pi / 4 / steps)) <= downsample / 256 + 1e-9


@given(st.floats(1, 1000), widths, downsamples)
def test_a_line_is_a_band_with_round_ends(length: float, width: float, downsample: float) -> None:
    (band,) = stroke(
        shapely.LineString([(0, 0), (length, 0)]), line_width=width, point_radius=None, downsample=downsample
    )
    half, allowed = width / 2, downsample / 256 * math.pi * width
    assert abs(band.area - (length * width + math.pi * half**2)) <= allowed + 1e-6
    assert math.isclose(band.bounds[1], -half) and math.isclose(band.bounds[3], half)


def test_what_has_no_width_is_left_out_and_points_are_discs_of_their_own() -> None:
    both = shapely.GeometryCollection([shapely.LineString([(0, 0), (9, 0)]), shapely.MultiPoint([(3, 3), (5, 5)])])
    assert stroke(both, line_width=None, point_radius=None, downsample=1) == []
    discs = stroke(both, line_width=None, point_radius=2, downsample=1)
    assert [disc.centroid.distance(shapely.Point(at, at)) < 1e-9 for disc, at in zip(discs, (3, 5), strict=True)] == [
        True
    ] * 2
    assert len(stroke(both, line_width=1, point_radius=2, downsample=1)) == 3


@given(widths)
def test_an_outline_band_lies_on_both_sides_of_outline_and_holes(width: float) -> None:
    ring = shapely.Point(0, 0).buffer(1000, quad_segs=64) - shapely.Point(0, 0).buffer(500, quad_segs=64)
    (band,) = outline_bands([ring], width, 1.0)
    expected = width * (ring.exterior.length + ring.interiors[0].length)
    assert abs(band.area - expected) / expected < 0.01
    assert abs(band.intersection(ring).area - band.difference(ring).area) / band.area < 0.25
