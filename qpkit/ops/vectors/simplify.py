"""Simplify borders between areas, each once, so that neighbours go on sharing them: no gap, no overlap, no crossing.

A corner goes if every corner of the pixel outline between the two that stay is at most a stated distance from the new
line. The one that cuts off least goes first (Visvalingam and Whyatt 1993). It stays if the triangle that is cut off
holds a corner of any other border as it was in the raster. So two borders never meet: each triangle is free of all
that the other border was, and a straight line cannot get into a triangle and out again through one of its sides. It
also makes the result of each arc independent of that of all others, and of the order.
"""

from __future__ import annotations

import heapq
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled
from qpkit.ops.vectors.arcs import Arcs

AREA_CHANGE: Final = 0.05
"""How much of an area simplifying may take or add."""

_FINEST: Final = 0.8
"""Level px; below it a pixel's corner (0.71 px from its diagonal) is about all that can go."""

_BLOCK: Final = 64
"""Side of the blocks of lattice points that are kept as bits; only blocks with a corner take memory."""


def simplify(arcs: Arcs, tolerance: float) -> NDArray[np.bool_]:
    """Choose the points that stay.

    Args:
        arcs: Of a raster.
        tolerance: Level px: how far the outline may move.

    Returns:
        (points,) bool. Junctions stay. Arcs of an area that would change by more than `AREA_CHANGE` are simplified with
        half the tolerance, or its half, and stay as they are if that does not help.
    """
    kept = np.ones(len(arcs.points), np.bool_)
    if tolerance <= 0 or not len(arcs.left):
        return kept
    low = arcs.points.min(axis=0)
    index, bits = lattice(arcs.points - low)
    points = arcs.points - low
    lines = (points, arcs.starts, arcs.is_ring)
    before = compiled(_doubled)(*lines, kept)
    tolerances = np.full(len(arcs.left), float(tolerance))
    chosen = np.arange(len(arcs.left))
    least = _least(arcs)
    while len(chosen):
        kept |= np.repeat(np.isin(np.arange(len(tolerances)), chosen), np.diff(arcs.starts))
        compiled(_loop, _cut_off, _is_near, is_free)(*lines, least, chosen, tolerances, index, bits, kept)
        change = compiled(_doubled)(*lines, kept) - before
        changes = np.zeros(len(arcs.values) + 1)
        np.add.at(changes, arcs.left, change)
        np.subtract.at(changes, arcs.right, change)
        too_much = np.append(np.abs(changes[:-1]) > 2 * AREA_CHANGE * arcs.areas, False)
        chosen = np.flatnonzero((too_much[arcs.left] | too_much[arcs.right]) & (tolerances > 0))
        tolerances[chosen] = np.where(tolerances[chosen] > _FINEST, tolerances[chosen] / 2, 0)
    return kept


def _least(arcs: Arcs) -> NDArray[np.int32]:
    """How many points between its ends each arc keeps at least: two between the same ends must not fall together."""
    begin, end = arcs.begin >> 2, arcs.end >> 2
    between = np.minimum(begin, end).astype(np.int64) * arcs.junctions + np.maximum(begin, end)
    _, inverse, counts = np.unique(between, return_inverse=True, return_counts=True)
    least = (counts[inverse] > 1).astype(np.int32)
    least[arcs.is_ring | (begin == end)] = 2
    return least


def lattice(points: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """The lattice points that are corners, as bits in blocks: the number of each block or -1, and a word per row."""
    columns, rows = (points.max(axis=0) // _BLOCK + 1).tolist()
    index = np.full((rows, columns), -1, np.int32)
    index[points[:, 1] // _BLOCK, points[:, 0] // _BLOCK] = 0
    there = index == 0
    index[there] = np.arange(np.count_nonzero(there))
    bits = np.zeros((np.count_nonzero(there), _BLOCK), np.uint64)
    compiled(_mark)(points, index, bits)
    return index, bits


def _mark(points, index, bits):
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        bits[index[y >> 6, x >> 6], y & 63] |= np.uint64(1) << np.uint64(x & 63)


def _doubled(points, starts, is_ring, kept):
    """Twice the area on the left of each arc, as far as that arc says."""
    made = np.zeros(len(starts) - 1)
    for arc in range(len(made)):
        low, high = starts[arc], starts[arc + 1]
        while not kept[low]:  # a closed one need not keep the point where it was begun
            low += 1
        x, y = np.int64(points[low, 0]), np.int64(points[low, 1])
        total = np.int64(0)
        for i in range(low + 1, high):
            if kept[i]:
                total -= x * points[i, 1] - points[i, 0] * y
                x, y = np.int64(points[i, 0]), np.int64(points[i, 1])
        if is_ring[arc]:
            total -= x * points[low, 1] - points[low, 0] * y
        made[arc] = total
    return made


def _cut_off(xs, ys, a, b, c):
    """Twice the area that goes with corner b between a and c."""
    return abs((xs[b] - xs[a]) * (ys[c] - ys[a]) - (xs[c] - xs[a]) * (ys[b] - ys[a]))


def _is_near(xs, ys, a, c, limit):
    """Whether every corner between a and c is within the square root of `limit` of the line between these two."""
    ax, ay, cx, cy = xs[a], ys[a], xs[c], ys[c]
    dx, dy = cx - ax, cy - ay
    length = dx * dx + dy * dy
    for k in range(a + 1, c):
        px, py = xs[k] - ax, ys[k] - ay
        along = px * dx + py * dy
        if along <= 0:
            far = float(px * px + py * py)
        elif along >= length:
            far = float((xs[k] - cx) ** 2 + (ys[k] - cy) ** 2)
        else:
            across = float(px * dy - py * dx)
            far = across * across / length
        if far > limit:
            return False
    return True


def is_free(xs, ys, a, b, c, index, bits):
    """Whether no lattice point that is marked lies in the triangle or on its sides; a and c do not count."""
    ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
    sign = 1 if (bx - ax) * (cy - ay) - (cx - ax) * (by - ay) >= 0 else -1
    west, east = min(ax, bx, cx), max(ax, bx, cx)
    for y in range(min(ay, by, cy), max(ay, by, cy) + 1):
        for block in range(west >> 6, (east >> 6) + 1):
            number = index[y >> 6, block]
            row = bits[number, y & 63] if number >= 0 else np.uint64(0)
            if row == 0:
                continue
            for x in range(max(west, block << 6), min(east, (block << 6) + 63) + 1):
                if not (row >> np.uint64(x & 63)) & np.uint64(1) or (x == ax and y == ay) or (x == cx and y == cy):
                    continue
                if (
                    sign * ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) >= 0
                    and sign * ((cx - bx) * (y - by) - (x - bx) * (cy - by)) >= 0
                    and sign * ((ax - cx) * (y - cy) - (x - cx) * (ay - cy)) >= 0
                ):
                    return False
    return True


def _loop(points, starts, is_ring, least, chosen, tolerances, index, bits, kept):
    """Take points of the chosen arcs out of `kept`, one arc after another."""
    one = np.uint64(1)
    longest = 0
    for arc in chosen:
        longest = max(longest, starts[arc + 1] - starts[arc])
    xs, ys = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int64)
    before, after, stamps = (
        np.empty(longest + 1, np.int64),
        np.empty(longest + 1, np.int64),
        np.empty(longest + 1, np.int64),
    )
    gone = np.empty(longest + 1, np.bool_)
    for arc in chosen:
        limit = tolerances[arc] ** 2
        low, size = starts[arc], starts[arc + 1] - starts[arc]
        count, turn = size, np.int64(0)
        if is_ring[arc]:  # from its topmost, then leftmost corner to the same one again, wherever it was begun
            for i in range(1, size):
                a, b = low + i, low + turn
                if points[a, 1] < points[b, 1] or (points[a, 1] == points[b, 1] and points[a, 0] < points[b, 0]):
                    turn = np.int64(i)
            count += 1
        left = count - 2
        if left <= least[arc] or limit == 0:
            continue
        for i in range(count):
            at = low + (i + turn) % size
            xs[i], ys[i] = points[at, 0], points[at, 1]
            before[i], after[i], stamps[i], gone[i] = i - 1, i + 1, 0, False
        heap = [(_cut_off(xs, ys, i - 1, i, i + 1), i, np.int64(0)) for i in range(1, count - 1)]
        heapq.heapify(heap)
        while len(heap) and left > least[arc]:
            _, i, stamp = heapq.heappop(heap)
            if gone[i] or stamps[i] != stamp:
                continue
            a, c = before[i], after[i]
            if not _is_near(xs, ys, a, c, limit):
                continue
            block, row, bit = index[ys[i] >> 6, xs[i] >> 6], ys[i] & 63, one << np.uint64(xs[i] & 63)
            bits[block, row] &= ~bit
            if not is_free(xs, ys, a, i, c, index, bits):
                bits[block, row] |= bit
                continue
            gone[i] = True
            left -= 1
            after[a], before[c] = c, a
            for near in (a, c):
                if 0 < near < count - 1:
                    stamps[near] += 1
                    heapq.heappush(heap, (_cut_off(xs, ys, before[near], near, after[near]), near, stamps[near]))
        for i in range(1, count - 1):
            if gone[i]:
                kept[low + (i + turn) % size] = False
                bits[index[ys[i] >> 6, xs[i] >> 6], ys[i] & 63] |= one << np.uint64(xs[i] & 63)
