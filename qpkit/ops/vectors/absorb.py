"""Areas that are too small become their surroundings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qpkit.ops.vectors.arcs import OUTSIDE, Arcs


def absorb(arcs: Arcs, least_px: NDArray[np.float64]) -> tuple[Arcs, NDArray[np.int64]]:
    """Give each area of fewer pixels to the neighbour with which it shares the longest border, the outside too.

    The smallest go first, and only to larger ones; what has grown to its `least_px` meanwhile stays.

    Args:
        arcs: Of a raster.
        least_px: (areas,) how many pixels each needs.

    Returns:
        The arcs that still lie between two areas, with their areas in pixels; and the numbers that the areas that are
        left had before. Their sums are those from before, too, without what was absorbed.
    """
    outside = len(arcs.values)
    owner = np.arange(outside + 1)
    sizes = np.append(arcs.areas, np.iinfo(np.int64).max).astype(np.float64)
    lengths, least = _lengths(arcs), np.append(least_px, 0)
    while True:
        left, right = owner[arcs.left], owner[arcs.right]  # OUTSIDE is -1, the last one
        apart = np.flatnonzero(left != right)
        one = np.concatenate([left[apart], right[apart]])
        other = np.concatenate([right[apart], left[apart]])
        # By size, then by number, so that two never swallow each other.
        goes = (sizes[one] < least[one]) & (
            (sizes[one] < sizes[other]) | ((sizes[one] == sizes[other]) & (one < other))
        )
        if not goes.any():
            break
        pairs, which = np.unique(one[goes] * (outside + 1) + other[goes], return_inverse=True)
        shared = np.bincount(which, weights=np.concatenate([lengths[apart]] * 2)[goes])
        small, into = np.divmod(pairs, outside + 1)
        order = np.lexsort((into, -shared, small))
        small, into = small[order], into[order]
        first = np.append(True, small[1:] != small[:-1])
        target = np.arange(outside + 1)
        target[small[first]] = into[first]
        while (target[target] != target).any():  # chains of small ones, each into a larger
            target = target[target]
        owner = target[owner]
        sizes = np.bincount(owner, weights=np.append(arcs.areas, 0), minlength=outside + 1).astype(np.float64)
        sizes[outside] = np.inf
    kept = np.flatnonzero((owner == np.arange(outside + 1))[:outside])
    numbers = np.full(outside + 1, OUTSIDE, np.int32)
    numbers[kept] = np.arange(len(kept))
    stays = left != right
    counts = np.diff(arcs.starts)
    changed = replace(
        arcs,
        points=arcs.points[np.repeat(stays, counts)],
        starts=np.concatenate([[0], np.cumsum(counts[stays])]),
        begin=arcs.begin[stays],
        end=arcs.end[stays],
        left=numbers[left[stays]],
        right=numbers[right[stays]],
        values=arcs.values[kept],
        areas=sizes[kept].astype(np.int64),
        sums=arcs.sums[kept],
        firsts=arcs.firsts[kept],
    )
    return changed, kept


def _lengths(arcs: Arcs) -> NDArray[np.int64]:
    """Pixel edges of each arc."""
    steps = np.abs(np.diff(arcs.points, axis=0, append=arcs.points[-1:])).sum(axis=1).astype(np.int64)
    lasts = arcs.starts[1:] - 1
    steps[lasts] = np.where(arcs.is_ring, np.abs(arcs.points[arcs.starts[:-1]] - arcs.points[lasts]).sum(axis=1), 0)
    return np.add.reduceat(steps, arcs.starts[:-1]) if len(lasts) else steps[:0]
