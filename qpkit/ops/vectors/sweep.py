"""One sweep over a label raster, row by row: the borders between its areas as arcs, each stored once.

A lattice point is a corner of pixels. A border edge is a pixel side with different labels on its two sides. A lattice
point with three or four border edges is a junction; an arc is a piece of border from junction to junction, or a closed
one without any, and has one area on its left and one on its right all the way.

While the sweep goes down, a chain of corners ends where the last row was read: `up` has the corner that the chain
coming down at each column has come to. A chain is a doubly linked list without a direction; `mate` leads from one end
to the other, so that two chains are joined, and a finished one is recognised, without walking along it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled

OUTSIDE = -1
"""The label, and the area, of what is not traced: beyond the raster, and values that are skipped."""


@dataclass(frozen=True, slots=True)
class Arcs:
    """Borders and areas of a label raster.

    Args:
        points: (n, 2) int32 x, y of the corners, level px; ends included, none in the middle of a straight line
            (float64 with what stands between them, once smoothed).
        starts: (arcs + 1,) int64: arc i has points[starts[i] : starts[i + 1]]; a closed one does not repeat its first.
        is_ring: (arcs,) bool: closed, without a junction.
        left, right: (arcs,) int32: the areas on both sides, walking along it; OUTSIDE for none.
        values: (areas,) int64: the label of each 4-connected area.
        areas: (areas,) int64: its pixels.
        sums: (areas,) float64: the sum of the weights in it.
    """

    points: NDArray[Any]
    starts: NDArray[np.int64]
    is_ring: NDArray[np.bool_]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    values: NDArray[np.int64]
    areas: NDArray[np.int64]
    sums: NDArray[np.float64]


def moved(arcs: Arcs, x: int, y: int) -> Arcs:
    """The same so many px to the right and down."""
    return replace(arcs, points=arcs.points + np.array([x, y], np.int32))


def transposed(arcs: Arcs) -> Arcs:
    """The same with rows for columns, which makes left right."""
    return replace(arcs, points=np.ascontiguousarray(arcs.points[:, ::-1]), left=arcs.right, right=arcs.left)


@dataclass(slots=True)
class Sweep:
    """Goes over a raster strip by strip; a strip may have any number of rows.

    Args:
        width: Of the raster, px.
        skip: Labels that are not traced (background, ignore).
    """

    width: int
    skip: Collection[int] = ()
    _row: int = 0
    _count: int = 0
    _runs: tuple[NDArray[Any], ...] = field(init=False)
    _up: NDArray[np.int32] = field(init=False)
    _chains: tuple[NDArray[np.int32], ...] = field(init=False)
    _closed: NDArray[np.bool_] = field(init=False)
    _areas: tuple[NDArray[Any], ...] = field(init=False)
    _done: list[tuple[NDArray[Any], ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Above the first row there is one run of what is outside.
        self._runs = np.zeros(1, np.int32), np.full(1, OUTSIDE, np.int64), np.full(1, OUTSIDE, np.int32)
        self._up = np.full(self.width + 1, -1, np.int32)
        self._chains = tuple(np.empty(0, np.int32) for _ in range(5))
        self._closed = np.empty(0, np.bool_)
        self._areas = np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)

    def add(self, labels: NDArray[Any], weights: NDArray[np.uint8] | None = None, *, row: int | None = None) -> None:
        """Go on over the next rows.

        Args:
            labels: (h, w) integers of 8 to 64 bit; negative ones are not traced.
            weights: (h, w), whose sums are kept by area.
            row: Which row of the raster they begin with, if not the next; nothing is between.
        """
        if row is not None and row > self._row:
            self._go(_bottom(), 1, np.empty((0, 0), np.uint8))
            self._row = row
        if not len(labels):
            return
        rows = np.ascontiguousarray(labels)
        # Eight pixels of one byte are compared at once.
        words = rows.view(np.uint64) if rows.itemsize == 1 and not self.width % 8 else np.empty((0, 0), np.uint64)
        skip = np.unique(np.array(list(self.skip), np.int64))
        count = compiled(_count_runs)(rows, words)
        runs = np.empty(count, np.int32), np.empty(count, np.int64), np.empty(len(rows) + 1, np.int64)
        compiled(_find_runs)(rows, words, skip, *runs)
        self._go(runs, len(rows), np.empty((0, 0), np.uint8) if weights is None else weights)

    def finish(self) -> Arcs:
        """Close the raster at its bottom and give what was found."""
        self._go(_bottom(), 1, np.empty((0, 0), np.uint8))
        parents, values, areas, sums = self._areas
        roots, numbers = compiled(_settled)(parents[: self._count])
        kept = np.flatnonzero(roots == np.arange(len(roots)))
        points, lengths, left, right, is_ring = (np.concatenate(parts) for parts in zip(*self._done, strict=True))
        return Arcs(
            points=points,
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            is_ring=is_ring,
            left=_numbered(left, numbers),
            right=_numbered(right, numbers),
            values=values[kept],
            areas=np.bincount(numbers, weights=areas[: self._count], minlength=len(kept)).astype(np.int64),
            sums=np.bincount(numbers, weights=sums[: self._count], minlength=len(kept)).astype(np.float64),
        )

    def _go(self, runs: tuple[NDArray[Any], ...], rows: int, weights: NDArray[np.uint8]) -> None:
        there, new = len(self._closed), 8 * (len(runs[0]) + len(self._runs[0]) + rows)  # what is not used costs nothing
        chains = tuple(_longer(part, there + new) for part in self._chains)
        closed = _longer(self._closed, there + new)
        areas = tuple(_longer(part, self._count + len(runs[0])) for part in self._areas)
        found = (*(np.empty(new, np.int32) for _ in range(3)), np.empty(new, np.bool_))
        owners = np.empty(len(runs[0]), np.int32)
        state = (self._row, *self._runs, self._up, *chains, closed, there, *areas, self._count)
        used, self._count, arcs = compiled(_sweep)(self.width, *runs, owners, weights, *state, *found)
        self._row += rows
        last = runs[2][-2]
        self._runs = runs[0][last:].copy(), runs[1][last:].copy(), owners[last:].copy()
        lengths = np.empty(arcs, np.int64)
        points = np.empty((compiled(_measure)(*chains[2:4], found[0][:arcs], lengths), 2), np.int32)
        compiled(_unlink)(*chains[:4], found[0][:arcs], lengths, points)
        self._done.append((points, lengths, *(part[:arcs].copy() for part in found[1:])))
        keep = compiled(_still_open)(self._up, *chains[2:4], used)
        self._chains = tuple(compiled(_renumbered)(part[:used], keep, i >= 2) for i, part in enumerate(chains))
        self._closed = closed[:used][keep >= 0]
        on = self._up >= 0
        self._up[on] = keep[self._up[on]]
        self._areas = tuple(part[: self._count].copy() for part in areas)


def _bottom() -> tuple[NDArray[Any], ...]:
    """One row of nothing."""
    return np.zeros(1, np.int32), np.full(1, OUTSIDE, np.int64), np.array([0, 1])


def _longer(part: NDArray[Any], size: int) -> NDArray[Any]:
    longer = np.empty(size, part.dtype)
    longer[: len(part)] = part
    return longer


def _numbered(areas: NDArray[np.int32], numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Areas by their final numbers; what is outside stays outside."""
    return np.where(areas < 0, OUTSIDE, numbers[areas] if len(numbers) else OUTSIDE).astype(np.int32)


def _count_runs(rows, words):
    """How many runs of one label the rows have."""
    height, width = rows.shape
    count = 0
    for r in range(height):
        before = rows[r, 0]
        count += 1
        x = 1
        while x < width:
            if words.size and not x & 7:
                same = np.uint64(before) * np.uint64(0x0101010101010101)
                while x < width and words[r, x >> 3] == same:
                    x += 8
                if x >= width:
                    break
            if rows[r, x] != before:
                before = rows[r, x]
                count += 1
            x += 1
    return count


def _find_runs(rows, words, skip, starts, labels, row_starts):
    """Where each run starts, and its label: -1 for what is skipped."""
    height, width = rows.shape
    count = 0
    for r in range(height):
        row_starts[r] = count
        before = rows[r, 0]
        starts[count], labels[count] = 0, before
        count += 1
        x = 1
        while x < width:
            if words.size and not x & 7:
                same = np.uint64(before) * np.uint64(0x0101010101010101)
                while x < width and words[r, x >> 3] == same:
                    x += 8
                if x >= width:
                    break
            if rows[r, x] != before:
                before = rows[r, x]
                starts[count], labels[count] = x, before
                count += 1
            x += 1
    row_starts[height] = count
    for i in range(count):
        for value in skip:
            if labels[i] == value:
                labels[i] = -1
                break


def _sweep(
    width, run_starts, run_labels, row_starts, owners, weights,
    row, above_starts, above_labels, above_owners, up, px, py, first, second, mate, closed, used,
    parents, values, areas, sums, count, starts, lefts, rights, rings,
):  # fmt: skip
    """Do every row of runs; gives (corners used, areas, arcs found)."""
    arcs = 0
    for r in range(len(row_starts) - 1):
        low, high = row_starts[r], row_starts[r + 1]
        if r:
            above_starts = run_starts[row_starts[r - 1] : low]
            above_labels = run_labels[row_starts[r - 1] : low]
            above_owners = owners[row_starts[r - 1] : low]
        # Whose each run is: of what touches it from above with its label; all that do are one area.
        j = 0
        for i in range(low, high):
            label = run_labels[i]
            begin, end = run_starts[i], run_starts[i + 1] if i + 1 < high else width
            if label < 0:
                owners[i] = -1
                continue
            while j + 1 < len(above_starts) and above_starts[j + 1] <= begin:
                j += 1
            own = np.int32(-1)
            k = j
            while k < len(above_starts) and above_starts[k] < end:
                if above_labels[k] == label:
                    root = above_owners[k]
                    while parents[root] != root:
                        parents[root] = parents[parents[root]]
                        root = parents[root]
                    if own < 0:
                        own = root
                    elif root != own:
                        if root < own:
                            parents[own] = root
                            own = root
                        else:
                            parents[root] = own
                k += 1
            if own < 0:
                own = np.int32(count)
                parents[own], values[own], areas[own], sums[own] = own, label, 0, 0.0
                count += 1
            owners[i] = own
            areas[own] += end - begin
            if weights.size:
                total = 0
                for x in range(begin, end):
                    total += weights[r, x]
                sums[own] += total
        # The lattice points between the row above and this one, where a run of either begins or ends.
        y = row + r
        left = np.int32(-1)
        nw = sw = np.int64(-1)
        north_west = south_west = np.int32(-1)
        i, j, x = low, 0, np.int64(0)
        while True:
            ne, se, north_east, south_east = nw, sw, north_west, south_west
            if x == width:
                ne = se = np.int64(-1)
                north_east = south_east = np.int32(-1)
            else:
                if j < len(above_starts) and above_starts[j] == x:
                    ne, north_east = above_labels[j], above_owners[j]
                    j += 1
                if i < high and run_starts[i] == x:
                    se, south_east = run_labels[i], owners[i]
                    i += 1
            is_up, is_down, is_left, is_right = nw != ne, sw != se, nw != sw, ne != se
            edges = is_up + is_down + is_left + is_right
            if edges == 2 and not (is_up and is_down) and not (is_left and is_right):
                corner = np.int32(used)
                used += 1
                px[corner], py[corner], first[corner], second[corner] = x, y, -1, -1
                closed[corner] = False
                if not is_up and not is_left:  # a new chain, open at both ends
                    mate[corner] = corner
                    up[x] = left = corner
                else:
                    end = up[x] if is_up else left
                    other = mate[end]
                    first[corner] = end
                    if first[end] < 0:
                        first[end] = corner
                    else:
                        second[end] = corner
                    mate[corner] = other
                    mate[other] = corner
                    if is_up and is_right:
                        up[x] = -1
                        left = corner
                    elif is_left and is_down:
                        left = np.int32(-1)
                        up[x] = corner
                    else:  # from above and from the left: two chains meet, or one closes
                        second[corner] = left
                        if first[left] < 0:
                            first[left] = corner
                        else:
                            second[left] = corner
                        if other == left:
                            starts[arcs], lefts[arcs], rights[arcs], rings[arcs] = corner, north_west, north_east, True
                            arcs += 1
                        else:
                            far = mate[left]
                            mate[other] = far
                            mate[far] = other
                            if closed[other] and closed[far]:
                                # From `other` the arc comes down here, with the east on its left.
                                starts[arcs], rings[arcs] = other, False
                                lefts[arcs], rights[arcs] = north_east, north_west
                                arcs += 1
                        up[x] = -1
                        left = np.int32(-1)
            elif edges > 2:
                # A junction: what arrives ends here, what leaves begins here.
                for arriving in range(2):
                    if not (is_up if arriving == 0 else is_left):
                        continue
                    end = up[x] if arriving == 0 else left
                    corner = np.int32(used)
                    used += 1
                    px[corner], py[corner], first[corner], second[corner] = x, y, end, -1
                    closed[corner] = True
                    if first[end] < 0:
                        first[end] = corner
                    else:
                        second[end] = corner
                    other = mate[end]
                    mate[corner] = other
                    mate[other] = corner
                    if closed[other]:
                        starts[arcs], rings[arcs] = corner, False
                        if arriving == 0:  # going back up, the west is on the left
                            lefts[arcs], rights[arcs] = north_west, north_east
                        else:  # going back to the west, the south is
                            lefts[arcs], rights[arcs] = south_west, north_west
                        arcs += 1
                up[x] = -1
                left = np.int32(-1)
                for leaving in range(2):
                    if not (is_down if leaving == 0 else is_right):
                        continue
                    corner = np.int32(used)
                    used += 1
                    px[corner], py[corner], first[corner], second[corner], mate[corner] = x, y, -1, -1, corner
                    closed[corner] = True
                    if leaving == 0:
                        up[x] = corner
                    else:
                        left = corner
            if x == width:
                break
            nw, sw, north_west, south_west = ne, se, north_east, south_east
            x = np.int64(width)
            if j < len(above_starts):
                x = min(x, np.int64(above_starts[j]))
            if i < high:
                x = min(x, np.int64(run_starts[i]))
    return used, count, arcs


def _measure(first, second, starts, lengths):
    """Count the corners of each arc; gives their sum."""
    total = 0
    for arc in range(len(starts)):
        start, before, at, length = starts[arc], np.int32(-1), starts[arc], 0
        while at >= 0:
            length += 1
            following = first[at] if length == 1 or first[at] != before else second[at]
            before, at = at, following
            if at == start:
                break
        lengths[arc] = length
        total += length
    return total


def _unlink(px, py, first, second, starts, lengths, points):
    """Write the corners of each arc one after another."""
    place = 0
    for arc in range(len(starts)):
        before, at = np.int32(-1), starts[arc]
        for step in range(lengths[arc]):
            points[place, 0], points[place, 1] = px[at], py[at]
            place += 1
            following = first[at] if step == 0 or first[at] != before else second[at]
            before, at = at, following


def _still_open(up, first, second, used):
    """(used,) the new number of each corner of a chain that is not finished, -1 for the others."""
    kept = np.full(used, -1, np.int32)
    for end in up:
        if end < 0 or kept[end] >= 0:
            continue
        before, at, step = np.int32(-1), end, 0
        while at >= 0:
            kept[at] = 0
            following = first[at] if step == 0 or first[at] != before else second[at]
            before, at, step = at, following, step + 1
    number = 0
    for at in range(used):
        if kept[at] == 0:
            kept[at] = number
            number += 1
    return kept


def _renumbered(part, kept, is_link):
    """A column of the corners that stay, its links led to their new numbers."""
    made = np.empty(np.count_nonzero(kept >= 0), np.int32)
    for at in range(len(part)):
        if kept[at] >= 0:
            value = part[at]
            made[kept[at]] = kept[value] if is_link and value >= 0 else value
    return made


def _settled(parents):
    """The root of each area, and the number of that root among all roots."""
    roots = np.empty(len(parents), np.int32)
    numbers = np.empty(len(parents), np.int32)
    count = 0
    for i in range(len(parents)):  # a root is the smallest of its areas, so it comes first
        roots[i] = i if parents[i] == i else roots[parents[i]]
        if roots[i] == i:
            numbers[i] = count
            count += 1
        else:
            numbers[i] = numbers[roots[i]]
    return roots, numbers
