"""Bands of a raster to one: pieces of arcs become whole arcs, in the order of a sweep over the whole raster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled
from qpkit.cores import in_order
from qpkit.ops.vectors.arcs import OUTSIDE, RING
from qpkit.ops.vectors.band import BELOW, Band
from qpkit.ops.vectors.chains import chains_of, goes_on
from qpkit.ops.vectors.unions import root_of


def joined(bands: list[Band]) -> Band:
    """Put bands together to one.

    Args:
        bands: From the top, each beginning where the one before ends. The list is emptied meanwhile.
    """
    parts, junctions = _firsts([len(band.values) for band in bands]), _firsts([band.junctions for band in bands])
    numbers, kept, areas, sums = _areas(bands, parts)
    after = np.append(numbers, np.int32(OUTSIDE))  # OUTSIDE is -1, the last one
    above, below = after[bands[0].above], after[np.where(bands[-1].below < 0, -1, bands[-1].below + parts[-2])]
    values = np.concatenate([band.values for band in bands])
    firsts = np.concatenate([band.firsts for band in bands])
    arcs = _Laid.out(bands, parts, junctions, numbers)
    return Band(
        points=arcs.points,
        starts=arcs.starts,
        begin=arcs.begin,
        end=arcs.end,
        left=arcs.left,
        right=arcs.right,
        last=arcs.last,
        parents=np.arange(len(kept), dtype=np.int32),
        values=values[kept],
        areas=areas,
        sums=sums,
        firsts=firsts[kept],
        above=above,
        below=below,
        junctions=int(junctions[-1]),
    )


@dataclass(frozen=True, slots=True)
class _Laid:
    """Pieces in their order, as in `Band`."""

    points: NDArray[np.int32]
    starts: NDArray[np.int64]
    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    last: NDArray[np.int64]

    @classmethod
    def out(
        cls, bands: list[Band], parts: NDArray[np.int64], junctions: NDArray[np.int64], numbers: NDArray[np.int32]
    ) -> _Laid:
        """Lay out whole arcs and chains; empties the list."""
        chains = chains_of(bands, parts, junctions, numbers)
        count, corners = len(chains.last), _firsts(chains.sizes)
        # How many chains, whole arcs and their points come before each band; how many of the latter before each chain.
        before, passed = np.zeros((count, 2), np.int64), [(0, 0, 0)]
        for b in bands:
            passed.append(compiled(_pass)(b.begin, b.end, b.last, b.starts, chains.last, before, *passed[-1]))
        done, arcs, size = passed[-1]
        before[done:] = arcs, size
        of_chains, arcs, size = before[:, 0] + np.arange(count), arcs + count, size + int(corners[-1])
        starts = np.full(arcs + 1, size)
        starts[of_chains] = before[:, 1] + corners[:-1]
        begin, end, left, right = (np.empty(arcs, np.int32) for _ in range(4))
        made = cls(np.empty((size, 2), np.int32), starts, begin, end, left, right, np.empty(arcs, np.int64))
        for name in ("begin", "end", "left", "right", "last"):
            getattr(made, name)[of_chains] = getattr(chains, name)
        places = starts[of_chains][chains.of] + chains.within
        pieces = _firsts([int(np.count_nonzero(goes_on(band))) for band in bands])
        states = zip(passed, pieces.tolist(), junctions.tolist(), parts.tolist(), strict=False)

        def job(band: Band, state: tuple[tuple[int, int, int], int, int, int]) -> partial[None]:
            (done, arcs, size), piece, junction, part = state
            return partial(
                compiled(_lay),
                *(band.begin, band.end, band.left, band.right, band.last, band.starts, band.points),
                *(4 * junction, part, numbers, chains.last, chains.sizes, places, chains.flips),
                *(done, arcs + done, size + corners[done], piece),
                *(made.begin, made.end, made.left, made.right, made.last, starts, made.points),
            )

        for _ in in_order(job(bands.pop(0), next(states)) for _ in range(len(bands))):
            pass
        compiled(_turn)(made.points, starts, of_chains[chains.begin == RING], made.left, made.right)
        return made


def _firsts(counts: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of some groups begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))]).astype(np.int64)


def _areas(bands: Sequence[Band], firsts: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """The number of the area that each part belongs to; of each area its first part, its px and their sum."""
    parents = np.concatenate([band.parents + first for band, first in zip(bands, firsts, strict=False)])
    one, other = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for (upper, lower), (high, low) in zip(pairwise(bands), pairwise(firsts), strict=False):
        seen = np.flatnonzero(lower.above >= 0)
        one.append(lower.above[seen] + low)
        other.append(upper.below[seen] + high)
    areas, sums = np.concatenate([band.areas for band in bands]), np.concatenate([band.sums for band in bands])
    numbers, kept = np.empty(len(parents), np.int32), np.empty(len(parents), np.int64)
    count = compiled(_settle, root_of)(parents, np.concatenate(one), np.concatenate(other), numbers, kept, areas, sums)
    return numbers, kept[:count], areas[:count].copy(), sums[:count].copy()


def _settle(parents, one, other, numbers, kept, areas, sums):
    """Unite pairs of parts, number the areas by their first parts, add up theirs in place; gives how many there are."""
    for i in range(len(one)):
        a, b = root_of(parents, one[i]), root_of(parents, other[i])
        parents[max(a, b)] = min(a, b)
    count = 0
    for i in range(len(parents)):  # a root is the smallest of its area, so it comes first
        if parents[i] == i:
            numbers[i] = count
            kept[count] = i
            areas[count], sums[count] = areas[i], sums[i]  # no further than i, which is read
            count += 1
        else:
            parents[i] = parents[parents[i]]
            numbers[i] = numbers[parents[i]]
            areas[numbers[i]] += areas[i]
            sums[numbers[i]] += sums[i]
    return count


def _pass(begin, end, last, starts, chain_last, before, done, arcs, points):
    """Go by a band: note how many whole arcs and points of them come before the chains that end there."""
    for i in range(len(begin)):
        if begin[i] <= BELOW or end[i] <= BELOW:
            continue
        while done < len(chain_last) and chain_last[done] < last[i]:
            before[done, 0], before[done, 1] = arcs, points
            done += 1
        arcs += 1
        points += starts[i + 1] - starts[i]
    return done, arcs, points


def _lay(
    begin, end, left, right, last, starts, points, codes, parts, numbers, chain_last, chain_sizes, places, flips,
    done, arc, place, piece, begin_made, end_made, left_made, right_made, last_made, starts_made, made,
):  # fmt: skip
    """Copy the whole arcs of a band, and the corners of pieces, to their places."""
    for i in range(len(begin)):
        low, count = starts[i], starts[i + 1] - starts[i]
        if begin[i] <= BELOW or end[i] <= BELOW:
            for k in range(count):
                at = low + count - 1 - k if flips[piece] else low + k
                made[places[piece] + k, 0], made[places[piece] + k, 1] = points[at, 0], points[at, 1]
            piece += 1
            continue
        while done < len(chain_last) and chain_last[done] < last[i]:
            arc += 1
            place += chain_sizes[done]
            done += 1
        begin_made[arc] = begin[i] + codes if begin[i] >= 0 else begin[i]
        end_made[arc] = end[i] + codes if end[i] >= 0 else end[i]
        left_made[arc] = numbers[left[i] + parts] if left[i] >= 0 else left[i]
        right_made[arc] = numbers[right[i] + parts] if right[i] >= 0 else right[i]
        starts_made[arc], last_made[arc] = place, last[i]
        for k in range(low, low + count):
            made[place, 0], made[place, 1] = points[k, 0], points[k, 1]
            place += 1
        arc += 1


def _turn(points, starts, rings, left, right):
    """Begin closed arcs at their lowest corner, the rightmost of these, and go up from there."""
    for ring in rings:
        low, high = starts[ring], starts[ring + 1]
        count, lowest = high - low, low
        for i in range(low, high):
            if points[i, 1] > points[lowest, 1] or (
                points[i, 1] == points[lowest, 1] and points[i, 0] > points[lowest, 0]
            ):
                lowest = i
        step = 1 if points[low + (lowest + 1 - low) % count, 0] == points[lowest, 0] else -1
        turned = points[low:high].copy()
        for i in range(count):
            points[low + i] = turned[(lowest - low + step * i) % count]
        if step < 0:
            left[ring], right[ring] = right[ring], left[ring]
