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
from qpkit.ops.vectors.sweep import Arcs

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
        places = np.full(len(self.arcs.values), -1, np.int64)
        places[areas] = np.arange(len(areas))
        # Shells in the order of `areas`, holes in the order of their shells.
        chosen = np.flatnonzero(places[self.owner] >= 0)
        chosen = chosen[np.argsort(places[self.owner[chosen]] * 2 + self.is_hole[chosen], kind="stable")]
        of = places[self.owner[chosen]]
        stays = np.ones(len(self.arcs.points), np.bool_) if kept is None else kept
        lines = (self.arcs.points, self.arcs.starts, self.arcs.is_ring, stays, kept is None, self.halves, self.starts)
        made = np.empty(len(areas), object)
        for start in range(0, len(areas), _AT_ONCE):
            low, high = np.searchsorted(of, (start, start + _AT_ONCE))
            some = chosen[low:high]
            xy = np.empty((compiled(_room)(self.arcs.starts, self.halves, self.starts, some), 2))
            lengths = np.empty(len(some), np.int64)
            size = compiled(_write)(*lines, some, xy, lengths)
            rings = shapely.linearrings(place(xy[:size]), indices=np.repeat(np.arange(len(some)), lengths))
            made[start : start + _AT_ONCE] = shapely.polygons(rings, indices=of[low:high] - start)
        return made


def rings_of(arcs: Arcs) -> Rings:
    """Follow the border of every area."""
    faces = np.stack([arcs.left, arcs.right], axis=1).reshape(-1)
    halves = np.flatnonzero(faces >= 0)
    firsts, lasts = arcs.points[arcs.starts[:-1]], arcs.points[arcs.starts[1:] - 1]
    keys = np.stack([_key(firsts), _key(lasts)], axis=1).reshape(-1)
    begin, end = keys[halves], keys[halves ^ 1]
    order = np.lexsort((begin, faces[halves]))
    halves, begin, end = halves[order], begin[order], end[order]
    owner = faces[halves].astype(np.int32)
    bounds = np.searchsorted(owner, np.arange(len(arcs.values) + 1)).astype(np.int64)
    made = np.empty(len(halves), np.int32), np.empty(len(halves) + 1, np.int64), np.empty(len(halves), np.int32)
    rings = compiled(_follow)(
        arcs.points, arcs.starts, arcs.is_ring, halves.astype(np.int32), begin, end, bounds, *made
    )
    ring_halves, starts, owners = made[0], made[1][: rings + 1].copy(), made[2][:rings].copy()
    is_hole = compiled(_turned)(arcs.points, arcs.starts, arcs.is_ring, ring_halves, starts)
    return Rings(arcs, ring_halves, starts, owners, is_hole)


def _key(points: NDArray[np.int32]) -> NDArray[np.int64]:
    """One number for each place."""
    return (points[:, 1].astype(np.int64) << 32) + points[:, 0]


def _follow(points, starts, is_ring, halves, begin, end, bounds, ring_halves, ring_starts, ring_owner):
    """Walk along all borders; the halves of one area stand together, ordered by the junction where they begin."""
    used = np.zeros(len(halves), np.bool_)
    depth_at = np.full(len(halves), -1, np.int64)  # of the junction that a group of halves begins at
    stack = np.empty(len(halves), np.int64)
    rings = place = 0
    ring_starts[0] = 0
    for area in range(len(bounds) - 1):
        low, high = bounds[area], bounds[area + 1]
        for first in range(low, high):
            if used[first]:
                continue
            if is_ring[halves[first] >> 1]:
                used[first] = True
                ring_halves[place] = halves[first]
                place += 1
                ring_owner[rings] = area
                rings += 1
                ring_starts[rings] = place
                continue
            depth, at = 0, first
            while not used[at]:
                used[at] = True
                group = low + np.searchsorted(begin[low:high], begin[at])
                depth_at[group] = depth
                stack[depth] = at
                depth += 1
                reached = low + np.searchsorted(begin[low:high], end[at])
                back = depth_at[reached]
                if back >= 0:  # this junction was passed before: what lies between is a ring
                    for k in range(back, depth):
                        ring_halves[place] = halves[stack[k]]
                        place += 1
                        depth_at[low + np.searchsorted(begin[low:high], begin[stack[k]])] = -1
                    ring_owner[rings] = area
                    rings += 1
                    ring_starts[rings] = place
                    depth = back
                following = reached
                if reached + 1 < high and begin[reached + 1] == begin[reached]:
                    # Two ways to go on: to the left, around the same pixel.
                    arc, is_back = halves[at] >> 1, halves[at] & 1
                    a, b = (starts[arc] + 1, starts[arc]) if is_back else (starts[arc + 1] - 2, starts[arc + 1] - 1)
                    dx, dy = np.sign(points[b, 0] - points[a, 0]), np.sign(points[b, 1] - points[a, 1])
                    arc, is_back = halves[reached] >> 1, halves[reached] & 1
                    a, b = (starts[arc + 1] - 1, starts[arc + 1] - 2) if is_back else (starts[arc], starts[arc] + 1)
                    ex, ey = np.sign(points[b, 0] - points[a, 0]), np.sign(points[b, 1] - points[a, 1])
                    if ex != dy or ey != -dx:
                        following = reached + 1
                at = following
    return rings


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


def _write(points, starts, is_ring, stays, is_plain, halves, ring_starts, chosen, xy, lengths):
    """Write the points of the chosen rings, each closed; gives how many there are."""
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
        lengths[number] = size - begin
    return size
