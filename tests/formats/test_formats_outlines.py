from __future__ import annotations

import numpy as np
import shapely
from format_strategies import outlines
from hypothesis import given

from qpkit.formats.shared.negative_regions import ALONE, CROSSING, NegativeRegion, cut_out
from qpkit.formats.shared.outlines import cut_open, join_cuts, ring_polygon


@given(outlines())
def test_a_ring_with_cuts_is_the_polygon_with_holes_again(polygon: shapely.Polygon) -> None:
    ring = ring_polygon(cut_open(polygon))
    assert ring is not None
    assert ring.area == polygon.area
    if polygon.interiors:
        joined = join_cuts(ring)
        assert joined is not None
        assert joined.normalize().equals_exact(polygon.normalize(), 0)
    else:
        assert ring.equals_exact(polygon, 0)
        assert join_cuts(ring) is None


def test_a_hole_that_touches_the_outline_in_a_corner_survives_the_cut() -> None:
    polygon = shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(0, 0), (3, 1), (1, 3)]])
    assert polygon.is_valid
    joined = join_cuts(ring_polygon(cut_open(polygon)) or shapely.Polygon())
    assert joined is not None
    assert joined.equals(polygon)


def test_a_ring_that_crosses_itself_stays_as_it_is() -> None:
    assert join_cuts(shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])) is None
    eight = shapely.Polygon([(0, 0), (2, 2), (4, 0), (4, 4), (2, 2), (0, 4)])
    assert join_cuts(eight) is None


def test_rings_that_enclose_nothing_are_none() -> None:
    assert ring_polygon([(0, 0), (1, 1)]) is None
    assert ring_polygon([(0, 0), (1, 1), (0, 0), (1, 1)]) is None
    assert ring_polygon(np.empty((0, 2))) is None


BIG, SMALL, FAR = shapely.box(0, 0, 100, 100), shapely.box(10, 10, 60, 60), shapely.box(500, 500, 600, 600)
HOLE = shapely.box(20, 20, 30, 30)


def test_a_negative_region_belongs_to_the_last_one_before_it_that_covers_it() -> None:
    found, notes = cut_out([BIG, SMALL, FAR], [NegativeRegion(HOLE, after=1)])
    assert [len(getattr(p, "interiors", ())) for p in found] == [1, 0, 0]
    found, _ = cut_out([BIG, SMALL, FAR], [NegativeRegion(HOLE, after=3)])
    assert [len(getattr(p, "interiors", ())) for p in found] == [0, 1, 0]
    found, _ = cut_out([BIG, SMALL, FAR], [NegativeRegion(HOLE, after=3, owner=0)])
    assert [len(getattr(p, "interiors", ())) for p in found] == [1, 0, 0]
    assert not notes


def test_a_negative_region_before_all_others_belongs_to_the_smallest_that_covers_it() -> None:
    found, _ = cut_out([BIG, SMALL], [NegativeRegion(HOLE, after=0)])
    assert [len(getattr(p, "interiors", ())) for p in found] == [0, 1]


def test_a_negative_region_that_crosses_is_cut_out_of_all_that_it_overlaps_and_counted() -> None:
    found, notes = cut_out([BIG, FAR], [NegativeRegion(shapely.box(50, -10, 70, 110), 1), NegativeRegion(HOLE, 1)])
    assert found[0].area == 100 * 100 - 20 * 100 - 10 * 10
    assert found[1].equals(FAR)
    assert notes == {CROSSING: 1}
    _, notes = cut_out([FAR], [NegativeRegion(HOLE, 1)])
    assert notes == {ALONE: 1}
