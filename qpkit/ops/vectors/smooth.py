"""Round the corners of borders between areas, each border once, so that neighbours go on sharing it.

A corner becomes a parabola that touches both of its edges. It lies in the triangle of the corner and its two
neighbours, and is left as it is if that triangle holds a corner of any border: no other border can get in there, as it
would have to end inside or to cross an edge. Two parabolas on one edge meet in its middle at most. So smoothed borders
never cross.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled
from qpkit.ops.vectors.arcs import Arcs
from qpkit.ops.vectors.simplify import is_free, lattice

AREA_CHANGE: Final = 0.01
"""How much of an area smoothing may take or add."""

_PIECES: Final = 4
"""Straight pieces of a parabola."""

_CUT: Final = 1 / 3 + 2 / (3 * _PIECES**2)
"""Of the triangle of a corner and the ends of its parabola: a third lies beyond the curve, more beyond its pieces."""

_LEAST: Final = 0.05
"""Fraction of an edge; less is not rounded."""


def smooth(arcs: Arcs, kept: NDArray[np.bool_], reach: float) -> Arcs:
    """Round corners.

    Args:
        arcs: Of a raster.
        kept: (points,) bool: which points stay (see `simplify`).
        reach: Level px: how far along its edges a corner may be rounded, at most to their middles; the curve is half as
            far from the corner, or nearer.

    Returns:
        Arcs with float64 points. Those of an area that would change by more than `AREA_CHANGE` are rounded half as far,
        or half of that, and so on.
    """
    if not len(arcs.left):
        return replace(arcs, points=arcs.points.astype(np.float64))
    starts = np.concatenate([[0], np.cumsum(np.add.reduceat(kept, arcs.starts[:-1], dtype=np.int64))])
    points = arcs.points[kept]
    low = points.min(axis=0)
    index, bits = lattice(points - low)
    free = np.zeros(len(points), np.bool_)
    compiled(_find_free, is_free)(points - low, starts, arcs.is_ring, index, bits, free)
    fractions = np.full(len(arcs.left), 0.5)
    lines = (points.astype(np.float64), starts, arcs.is_ring, free, reach)
    while True:
        change = compiled(_change)(*lines, fractions, _CUT)
        changes = np.zeros(len(arcs.values) + 1)
        np.add.at(changes, arcs.left, change)
        np.subtract.at(changes, arcs.right, change)
        too_much = np.append(np.abs(changes[:-1]) > AREA_CHANGE * arcs.areas, False)
        chosen = (too_much[arcs.left] | too_much[arcs.right]) & (fractions > 0)
        if not chosen.any():
            break
        fractions[chosen] = np.where(fractions[chosen] > 2 * _LEAST, fractions[chosen] / 2, 0)
    made = np.empty((len(points) * (_PIECES + 1), 2))
    lengths = np.empty(len(arcs.left), np.int64)
    size = compiled(_write)(*lines, fractions, _PIECES, made, lengths)
    return replace(arcs, points=made[:size], starts=np.concatenate([[0], np.cumsum(lengths)]))


def _find_free(points, starts, is_ring, index, bits, free):
    """Which corners have no other corner in the triangle with their neighbours."""
    one = np.uint64(1)
    xs, ys = np.empty(3, np.int64), np.empty(3, np.int64)
    for arc in range(len(starts) - 1):
        low, high = starts[arc], starts[arc + 1]
        for i in range(low, high):
            if not is_ring[arc] and (i == low or i == high - 1):
                continue  # a junction
            before = i - 1 if i > low else high - 1
            after = i + 1 if i < high - 1 else low
            for place, at in enumerate((before, i, after)):
                xs[place], ys[place] = points[at, 0], points[at, 1]
            if (xs[0] - xs[1]) * (ys[2] - ys[1]) == (xs[2] - xs[1]) * (ys[0] - ys[1]):
                continue  # no corner
            block, row, bit = index[ys[1] >> 6, xs[1] >> 6], ys[1] & 63, one << np.uint64(xs[1] & 63)
            bits[block, row] &= ~bit
            free[i] = is_free(xs, ys, 0, 1, 2, index, bits)
            bits[block, row] |= bit


def _change(points, starts, is_ring, free, reach, fractions, cut):
    """By how much the area on the left of each arc grows."""
    made = np.zeros(len(starts) - 1)
    for arc in range(len(made)):
        low, high = starts[arc], starts[arc + 1]
        for i in range(low, high):
            if not free[i] or fractions[arc] == 0:
                continue
            before = i - 1 if i > low else high - 1
            after = i + 1 if i < high - 1 else low
            ax, ay = points[before, 0] - points[i, 0], points[before, 1] - points[i, 1]
            bx, by = points[after, 0] - points[i, 0], points[after, 1] - points[i, 1]
            a = min(fractions[arc], reach / np.sqrt(ax * ax + ay * ay))
            b = min(fractions[arc], reach / np.sqrt(bx * bx + by * by))
            made[arc] += cut * a * b * (ax * by - ay * bx) / 2
    return made


def _write(points, starts, is_ring, free, reach, fractions, pieces, made, lengths):
    """Write the points of all arcs; gives how many there are."""
    size = 0
    for arc in range(len(lengths)):
        low, high, begin = starts[arc], starts[arc + 1], size
        for i in range(low, high):
            x, y = points[i, 0], points[i, 1]
            if not free[i] or fractions[arc] == 0:
                made[size, 0], made[size, 1] = x, y
                size += 1
                continue
            before = i - 1 if i > low else high - 1
            after = i + 1 if i < high - 1 else low
            ax, ay = points[before, 0] - x, points[before, 1] - y
            bx, by = points[after, 0] - x, points[after, 1] - y
            a = min(fractions[arc], reach / np.sqrt(ax * ax + ay * ay))
            b = min(fractions[arc], reach / np.sqrt(bx * bx + by * by))
            for piece in range(pieces + 1):
                t = piece / pieces
                u, v = (1 - t) * (1 - t) * a, t * t * b
                px, py = x + u * ax + v * bx, y + u * ay + v * by
                if size > begin and made[size - 1, 0] == px and made[size - 1, 1] == py:
                    continue  # the middle of an edge, where two parabolas meet
                made[size, 0], made[size, 1] = px, py
                size += 1
        lengths[arc] = size - begin
    return size
