"""The borders in some rows of a label raster: arcs, and pieces of arcs that go on above or below.

The rows are gone over once. While this goes down, a chain of corners ends where the last row was read: `up` has the
corner that the chain coming down at each column has come to. A chain is a doubly linked list without a direction; a
mate leads from one end to the other, so that two chains are joined, and a finished one is recognised, without walking
along it. Where a border comes from the row above, its chain begins with a stub, which is no corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled
from qpkit.ops.vectors.arcs import OUTSIDE, RING
from qpkit.ops.vectors.runs import runs_of
from qpkit.ops.vectors.unions import root_of

BELOW: Final = -2
"""A piece that goes on below column x ends in BELOW - 2 * x, one that goes on above in BELOW - 1 - 2 * x."""


@dataclass(frozen=True, slots=True)
class Band:
    """Pieces of arcs, and parts of areas, numbered from 0 in each band.

    Args:
        points, starts: As in `Arcs`, of every piece.
        begin, end: (pieces,) int32: as in `Arcs`, or what goes on above or below.
        left, right: (pieces,) int32: parts of areas.
        last: (pieces,) int64: place of the corner that a sweep finds last, as one number that grows as a sweep goes on;
            -1 without corners. Whole arcs are in this order.
        parents: (parts,) int32: a part of the same area, itself or one that was found before.
        values, areas, sums, firsts: (parts,) as in `Arcs`.
        above, below: (runs,) int32: the part that each run of the row above, and of the last row, belongs to.
        junctions: How many there are.
    """

    points: NDArray[np.int32]
    starts: NDArray[np.int64]
    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    last: NDArray[np.int64]
    parents: NDArray[np.int32]
    values: NDArray[np.int64]
    areas: NDArray[np.int64]
    sums: NDArray[np.float64]
    firsts: NDArray[np.int64]
    above: NDArray[np.int32]
    below: NDArray[np.int32]
    junctions: int


def band_of(
    labels: NDArray[Any],
    weights: NDArray[np.uint8] | None,
    *,
    row: int,
    above: NDArray[Any] | None,
    is_last: bool,
    skip: NDArray[np.int64],
) -> Band:
    """Find the borders in some rows, and between them and the row above.

    Args:
        labels: (h, w) integers of 8 to 64 bit; negative ones are not traced.
        weights: (h, w), whose sums are kept by area.
        row: Which row of the raster they begin with.
        above: (w,) the row before, None if there is none.
        is_last: Whether nothing is below, so that borders close there.
        skip: Labels that are not traced.
    """
    width = labels.shape[1]
    first = np.full(width, OUTSIDE, np.int64) if above is None else above
    above_starts, above_labels, _ = runs_of(first.reshape(1, -1), skip)
    starts, values, row_starts = runs_of(labels, skip)
    if is_last:
        starts, values = np.append(starts, np.int32(0)), np.append(values, np.int64(OUTSIDE))
        row_starts = np.append(row_starts, row_starts[-1] + 1)
    some = np.empty((0, 0), np.uint8) if weights is None else weights
    return Band(*compiled(_sweep, root_of, _append, _record, _unlink)(
        width, row, above_starts, above_labels, starts, values, row_starts, some
    ))  # fmt: skip


# Columns of a corner: its place, its two neighbours in the chain, the other end of the chain (kept up to date at ends
# only), and what it is. An end of a chain has one neighbour; instead of the second it has -2 - its code.
_X, _Y, _FIRST, _SECOND, _MATE, _KIND = range(6)
_CORNER, _JUNCTION, _STUB = range(3)
_UP, _RIGHT, _DOWN, _LEFT = range(4)


def _sweep(width, row, above_starts, above_labels, run_starts, run_labels, row_starts, weights):
    """Do every row of runs."""
    runs = len(run_starts) + len(above_starts)
    nodes = np.empty((8 * runs + width + 1, 6), np.int32)  # what is not used costs nothing
    pieces = np.empty((4 * runs + width + 1, 3), np.int32)  # the corner that each begins with, and the parts beside it
    owners = np.empty(len(run_starts), np.int32)
    parents, values, firsts = np.empty(runs, np.int32), np.empty(runs, np.int64), np.empty(runs, np.int64)
    areas, sums = np.zeros(runs, np.int64), np.zeros(runs, np.float64)
    up = np.full(width + 1, np.int32(-1))
    above_owners = np.full(len(above_starts), np.int32(-1))
    used = count = found = junctions = 0
    # The row above: a part of an area for each run, a stub between two.
    before = np.int64(-1)
    for k in range(len(above_starts) + 1):
        label = above_labels[k] if k < len(above_starts) else np.int64(-1)
        if label >= 0:
            parents[count], values[count], firsts[count] = count, label, np.iinfo(np.int64).max
            above_owners[k] = count
            count += 1
        if label != before:
            x = above_starts[k] if k < len(above_starts) else width
            nodes[used, _X], nodes[used, _Y], nodes[used, _FIRST], nodes[used, _SECOND] = x, row, -1, -2
            nodes[used, _MATE], nodes[used, _KIND] = used, _STUB
            up[x] = used
            used += 1
        before = label
    tops = above_owners
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
                    root = root_of(parents, above_owners[k])
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
                parents[own], values[own] = own, label
                firsts[own] = (np.int64(row + r) << 32) + begin
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
        left = down = right = np.int32(-1)
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
                nodes[corner, _X], nodes[corner, _Y], nodes[corner, _KIND] = x, y, _CORNER
                nodes[corner, _FIRST], nodes[corner, _SECOND] = -1, -1
                if not is_up and not is_left:  # a new chain, open at both ends
                    nodes[corner, _MATE] = corner
                    up[x] = left = corner
                else:
                    end = up[x] if is_up else left
                    other = _append(nodes, end, corner)
                    if is_up and is_right:
                        up[x] = -1
                        left = corner
                    elif is_left and is_down:
                        left = np.int32(-1)
                        up[x] = corner
                    else:  # from above and from the left: two chains meet, or one closes
                        nodes[corner, _SECOND] = left
                        if nodes[left, _FIRST] < 0:
                            nodes[left, _FIRST] = corner
                        else:
                            nodes[left, _SECOND] = corner
                        if other == left:
                            pieces[found, 0], pieces[found, 1], pieces[found, 2] = corner, north_west, north_east
                            found += 1
                        else:
                            far = nodes[left, _MATE]
                            nodes[other, _MATE] = far
                            nodes[far, _MATE] = other
                            if nodes[other, _KIND] != _CORNER and nodes[far, _KIND] != _CORNER:
                                # From `other` the arc comes down here, with the east on its left.
                                _record(nodes, other, far, north_east, north_west, pieces, found)
                                found += 1
                        up[x] = -1
                        left = np.int32(-1)
            elif edges > 2:
                # A junction: what arrives ends here, what leaves begins here.
                for side in range(4):
                    if not (is_up, is_right, is_down, is_left)[side]:
                        continue
                    corner = np.int32(used)
                    used += 1
                    nodes[corner, _X], nodes[corner, _Y], nodes[corner, _KIND] = x, y, _JUNCTION
                    nodes[corner, _FIRST], nodes[corner, _SECOND] = -1, -2 - (4 * junctions + side)
                    nodes[corner, _MATE] = corner
                    if side == _DOWN:
                        down = corner
                    elif side == _RIGHT:
                        right = corner
                    else:
                        end = up[x] if side == _UP else left
                        other = _append(nodes, end, corner)
                        if nodes[other, _KIND] != _CORNER:
                            # Going back up, the west is on the left; going back to the west, the south is.
                            a, b = (north_west, north_east) if side == _UP else (south_west, north_west)
                            _record(nodes, corner, other, a, b, pieces, found)
                            found += 1
                up[x] = down if is_down else np.int32(-1)
                left = right if is_right else np.int32(-1)
                junctions += 1
            if x == width:
                break
            nw, sw, north_west, south_west = ne, se, north_east, south_east
            x = np.int64(width)
            if j < len(above_starts):
                x = min(x, np.int64(above_starts[j]))
            if i < high:
                x = min(x, np.int64(run_starts[i]))
    # What goes on below.
    low = row_starts[-2]
    bottoms = owners[low:].copy()
    k = low - 1
    for x in range(width + 1):
        while k + 1 < len(run_starts) and run_starts[k + 1] <= x:
            k += 1
        end = up[x]
        if end < 0:
            continue
        other = nodes[end, _MATE]
        if other != end and nodes[other, _KIND] == _CORNER and nodes[other, _X] < x:
            continue  # both ends go on below
        west = k - 1 if run_starts[k] == x else k
        on_west, on_east = owners[west] if west >= low else -1, owners[k] if x < width else -1
        # A piece begins below, but if its other end is the only corner, or none.
        pieces[found, 0] = end
        pieces[found, 1], pieces[found, 2] = (on_east, on_west) if other == end else (on_west, on_east)
        found += 1
    points = np.empty((used, 2), np.int32)
    starts, ends, last = np.empty(found + 1, np.int64), np.empty((2, found), np.int32), np.empty(found, np.int64)
    size = _unlink(nodes, pieces, points, starts, ends, last)
    return (
        points[:size], starts, ends[0], ends[1], pieces[:found, 1].copy(), pieces[:found, 2].copy(),
        last, parents[:count].copy(), values[:count].copy(), areas[:count].copy(),
        sums[:count].copy(), firsts[:count].copy(), tops, bottoms, junctions,
    )  # fmt: skip


def _append(nodes, end, corner):
    """Go on from the end of a chain to a new corner; gives the other end."""
    other = nodes[end, _MATE]
    nodes[corner, _FIRST] = end
    if nodes[end, _FIRST] < 0:
        nodes[end, _FIRST] = corner
    else:
        nodes[end, _SECOND] = corner
    nodes[corner, _MATE] = other
    nodes[other, _MATE] = corner
    return other


def _record(nodes, start, end, left, right, pieces, found):
    """Note a finished piece; an arc begins at the later of its ends."""
    is_arc = nodes[start, _KIND] == _JUNCTION and nodes[end, _KIND] == _JUNCTION
    if is_arc and nodes[start, _SECOND] > nodes[end, _SECOND]:  # -2 - code
        start, left, right = end, right, left
    pieces[found, 0], pieces[found, 1], pieces[found, 2] = start, left, right


def _unlink(nodes, pieces, points, starts, ends, last):
    """Write the corners of each piece one after another, and how it ends; gives how many corners there are."""
    size = 0
    for piece in range(len(last)):
        starts[piece] = size
        begin = pieces[piece, 0]
        before, at, latest = np.int32(-1), begin, np.int64(-1)
        while True:
            if nodes[at, _KIND] != _STUB:
                points[size, 0], points[size, 1] = nodes[at, _X], nodes[at, _Y]
                size += 1
                place = (np.int64(nodes[at, _Y]) << 33) + (nodes[at, _X] << 2)
                if nodes[at, _KIND] == _JUNCTION:  # of two arcs that end in one junction, that from above was first
                    place += (-2 - nodes[at, _SECOND]) & 3
                latest = max(latest, place)
            following = nodes[at, _FIRST] if before < 0 or nodes[at, _FIRST] != before else nodes[at, _SECOND]
            if following < 0 or following == begin:
                break
            before, at = at, following
        last[piece] = latest
        for side in range(2):
            node = at if side else begin
            kind = nodes[node, _KIND]
            if following == begin:
                code = np.int32(RING)
            elif kind == _CORNER or (side and at == begin):
                code = np.int32(BELOW - 2 * nodes[node, _X])
            elif kind == _JUNCTION:
                code = np.int32(-2 - nodes[node, _SECOND])
            else:
                code = np.int32(BELOW - 1 - 2 * nodes[node, _X])
            ends[side, piece] = code
    starts[len(last)] = size
    return size
