"""Arcs to polygons: the rings of every area, holes in their shells, valid as GEOS, JTS and so QuPath see it.

An area is 4-connected, so its border is one outer ring and the rings of its holes. Where an area meets itself in a
corner, a walk along its border passes that corner twice; it is cut there into two rings that touch in one point, one of
them a hole. (Two outer rings it cannot be: the pixels of both would be connected through a corner only.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.compiled import compiled
from qpkit.memory import gc_paused
from qpkit.ops.vectors.arcs import Arcs

_AT_ONCE: Final = 1 << 14
"""Polygons; the points of all of them would be larger than the arcs."""


@dataclass(frozen=True, slots=True)
class Rings:
    """Which arcs make up the rings of which area.

    Args:
        arcs: Of the raster.
        halves: (n,) int32: arc i as 2 i walked forward, 2 i + 1 walked backward, so that the area is on the left.
        starts: (rings + 1,) int64: ring r is halves[starts[r] : starts[r + 1]].
        owner: (rings,) int32: the area.
        is_hole: (rings,) bool.
    """

    arcs: Arcs
    halves: NDArray[np.int32]
    starts: NDArray[np.int64]
    owner: NDArray[np.int32]
    is_hole: NDArray[np.bool_] = field(repr=False)

    def polygons(
        self,
        areas: NDArray[np.int64],
        kept: NDArray[np.bool_] | None = None,
        place: Callable[[NDArray[np.float64]], NDArray[np.float64]] = lambda xy: xy,
    ) -> NDArray[np.object_]:
        """Build the polygons of some areas.

        Args:
            areas: (n,) numbers of areas.
            kept: (points,) bool: which points of the arcs stay; all if left out.
            place: Gives points (n, 2) in level px another place.

        Returns:
            (n,) shapely polygons. Whole outlines have no point in the middle of a straight line; chosen points all
            stay, so that neighbours have the same ones.
        """
        chosen, bounds = compiled(_in_shells)(self.owner, self.is_hole, areas, len(self.arcs.values))
        stays = np.ones(len(self.arcs.points), np.bool_) if kept is None else kept
        lines = (self.arcs.points, self.arcs.starts, self.arcs.is_ring, stays, kept is None, self.halves, self.starts)
        made = np.empty(len(areas), object)
        # The collector would walk over the polygons again and again as they grow in number.
        with gc_paused(self.arcs.points.nbytes):
            for start in range(0, len(areas), _AT_ONCE):
                shells = bounds[start : start + _AT_ONCE + 1]
                some = chosen[shells[0] : shells[-1]]
                xy = np.empty((compiled(_room)(self.arcs.starts, self.halves, self.starts, some), 2))
                closes = np.zeros(len(some) + 1, np.int64)
                size = compiled(_write)(*lines, some, xy, closes)
                made[start : start + _AT_ONCE] = shapely.from_ragged_array(
                    shapely.GeometryType.POLYGON, place(xy[:size]), (closes, shells - shells[0])
                )
        return made


def rings_of(arcs: Arcs) -> Rings:
    """Follow the border of every area."""
    made = np.empty(2 * len(arcs.left), np.int32), np.empty(2 * len(arcs.left) + 1, np.int64)
    owners = np.empty(2 * len(arcs.left), np.int32)
    rings = compiled(_follow)(arcs.begin, arcs.end, arcs.left, arcs.right, arcs.junctions, *made, owners)
    starts = made[1][: rings + 1].copy()
    halves = made[0][: starts[-1]].copy()
    is_hole = compiled(_turned)(arcs.points, arcs.starts, arcs.is_ring, halves, starts)
    return Rings(arcs, halves, starts, owners[:rings].copy(), is_hole)


def _follow(begin, end, left, right, junctions, ring_halves, ring_starts, ring_owner):
    """Walk along all borders, with the area on the left; gives how many rings there are."""
    leaving = np.full(4 * junctions, np.int32(-1))  # the half that begins on each side of each junction
    for arc in range(len(begin)):
        if begin[arc] >= 0:
            leaving[begin[arc]], leaving[end[arc]] = 2 * arc, 2 * arc + 1
    used = np.zeros(2 * len(begin), np.bool_)
    depth_at = np.full(junctions, np.int32(-1))  # how far a walk was when it came through a junction
    stack = np.empty(2 * len(begin), np.int32)
    rings = place = 0
    ring_starts[0] = 0
    for first in range(2 * len(begin)):
        area = right[first >> 1] if first & 1 else left[first >> 1]
        if used[first] or area < 0:
            continue
        used[first] = True
        if begin[first >> 1] < 0:
            ring_halves[place] = first
            place += 1
            ring_owner[rings] = area
            rings += 1
            ring_starts[rings] = place
            continue
        depth_at[(end[first >> 1] if first & 1 else begin[first >> 1]) >> 2] = 0
        stack[0] = first
        depth, at = 1, first
        while depth:
            reached = begin[at >> 1] if at & 1 else end[at >> 1]
            junction = reached >> 2
            back = depth_at[junction]
            if back >= 0:  # this junction was passed before: what lies between is a ring
                for k in range(back, depth):
                    half = stack[k]
                    ring_halves[place] = half
                    place += 1
                    depth_at[(end[half >> 1] if half & 1 else begin[half >> 1]) >> 2] = -1
                ring_owner[rings] = area
                rings += 1
                ring_starts[rings] = place
                depth = back
            # The next one clockwise: around the same pixel.
            at = np.int32(-1)
            for turn in range(1, 4):
                at = leaving[(reached & ~3) | ((reached + turn) & 3)]
                if at >= 0:
                    break
            if used[at]:
                break
            used[at] = True
            depth_at[junction] = depth
            stack[depth] = at
            depth += 1
    return rings


def _in_shells(owner, is_hole, areas, count):
    """The rings of the areas, a shell and then its holes, in the order of the areas; and where each area begins."""
    place = np.full(count, -1)
    for i in range(len(areas)):
        place[areas[i]] = i
    bounds = np.zeros(len(areas) + 1, np.int64)
    for ring in range(len(owner)):
        if place[owner[ring]] >= 0:
            bounds[place[owner[ring]] + 1] += 1
    for i in range(len(areas)):
        bounds[i + 1] += bounds[i]
    chosen, following = np.empty(bounds[-1], np.int64), bounds[:-1] + 1
    for ring in range(len(owner)):
        at = place[owner[ring]]
        if at >= 0 and is_hole[ring]:
            chosen[following[at]] = ring
            following[at] += 1
        elif at >= 0:
            chosen[bounds[at]] = ring
    return chosen, bounds


def _turned(points, starts, is_ring, halves, ring_starts):
    """Whether each ring is a hole: walked with its area on the left, it turns to the right."""
    holes = np.empty(len(ring_starts) - 1, np.bool_)
    for ring in range(len(holes)):
        doubled = 0
        for k in range(ring_starts[ring], ring_starts[ring + 1]):
            arc, is_back = halves[k] >> 1, halves[k] & 1
            low, high = starts[arc], starts[arc + 1]
            part = 0
            for i in range(low, high - 1):
                part += np.int64(points[i, 0]) * points[i + 1, 1] - np.int64(points[i + 1, 0]) * points[i, 1]
            if is_ring[arc]:
                last = high - 1
                part += np.int64(points[last, 0]) * points[low, 1] - np.int64(points[low, 0]) * points[last, 1]
            doubled += -part if is_back else part
        holes[ring] = doubled > 0
    return holes


def _room(starts, halves, ring_starts, chosen):
    total = 0
    for ring in chosen:
        total += 1
        for k in range(ring_starts[ring], ring_starts[ring + 1]):
            arc = halves[k] >> 1
            total += starts[arc + 1] - starts[arc]
    return total


def _write(points, starts, is_ring, stays, is_plain, halves, ring_starts, chosen, xy, closes):
    """Write the points of the chosen rings, each closed, and where each ends; gives how many there are."""
    size = 0
    for number in range(len(chosen)):
        ring = chosen[number]
        begin = size
        for k in range(ring_starts[ring], ring_starts[ring + 1]):
            arc, is_back = halves[k] >> 1, halves[k] & 1
            low, high = starts[arc], starts[arc + 1]
            count = high - low
            # The last point of an arc is the first of the next one.
            for i in range(count if is_ring[arc] else count - 1):
                at = high - 1 - i if is_back else low + i
                if stays[at]:
                    xy[size, 0], xy[size, 1] = points[at, 0], points[at, 1]
                    size += 1
        if is_plain:  # a junction may be in the middle of a straight line
            last, end = size - 1, begin
            for i in range(begin, size):
                before = end - 1 if end > begin else last
                after = i + 1 if i < last else begin
                x, y = xy[i, 0], xy[i, 1]
                is_straight = (xy[before, 0] == x and xy[after, 0] == x) or (xy[before, 1] == y and xy[after, 1] == y)
                if not is_straight:
                    xy[end, 0], xy[end, 1] = x, y
                    end += 1
            size = end
        xy[size, 0], xy[size, 1] = xy[begin, 0], xy[begin, 1]
        size += 1
        closes[number + 1] = size
    return size
