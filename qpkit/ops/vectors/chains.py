"""Arcs, and longer pieces of arcs, that go through several bands of a raster: which pieces they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled
from qpkit.ops.vectors.arcs import OUTSIDE, RING
from qpkit.ops.vectors.band import BELOW, Band


@dataclass(frozen=True, slots=True)
class Chains:
    """Arcs of several pieces, in their final order.

    Args:
        begin, end, left, right: (chains,) int32 as in `Arcs`.
        last: (chains,) int64 as in `Band`.
        sizes: (chains,) int64: how many corners there are.
        of, within: (pieces,) int64: the chain of each piece, from band to band, and how many corners are before it.
        flips: (pieces,) bool: whether it is walked backward.
    """

    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    last: NDArray[np.int64]
    sizes: NDArray[np.int64]
    of: NDArray[np.int64]
    within: NDArray[np.int64]
    flips: NDArray[np.bool_]


def chains_of(
    bands: Sequence[Band], parts: NDArray[np.int64], junctions: NDArray[np.int64], areas: NDArray[np.int32]
) -> Chains:
    """String up the pieces that go on above or below.

    Args:
        bands: From the top.
        parts, junctions: The number of each band's first part of an area, and of its first junction.
        areas: (parts,) the area of each part.
    """
    ends, sides, lasts, counts = [], [], [], []
    after = np.append(areas, np.int32(OUTSIDE))  # OUTSIDE is -1, the last one
    for band, part, junction in zip(bands, parts, junctions, strict=False):
        some = np.flatnonzero(goes_on(band))
        codes = np.stack([band.begin[some], band.end[some]], axis=1).reshape(-1)
        ends.append(np.where(codes >= 0, codes + 4 * junction, codes))
        own = np.stack([band.left[some], band.right[some]], axis=1).reshape(-1)
        sides.append(after[np.where(own >= 0, own + part, own)])
        lasts.append(band.last[some])
        counts.append(band.starts[some + 1] - band.starts[some])
    end, side, last, sizes = (np.concatenate(column) for column in (ends, sides, lasts, counts))
    partners = _partners(ends)
    starts, members = compiled(_string)(end, partners)
    pieces, heads, tails = members >> 1, members[starts[:-1]], members[starts[1:] - 1]
    latest = _reduced(np.maximum, last[pieces], starts)
    order = np.argsort(latest)
    of = np.repeat(np.argsort(order), np.diff(starts))
    within = np.cumsum(sizes[pieces]) - sizes[pieces]
    within -= np.repeat(within[starts[:-1]], np.diff(starts))
    back = np.argsort(pieces)
    return Chains(
        begin=np.where(partners[heads] < 0, end[heads], RING)[order].astype(np.int32),
        end=np.where(partners[tails ^ 1] < 0, end[tails ^ 1], RING)[order].astype(np.int32),
        left=side[heads][order],
        right=side[heads ^ 1][order],
        last=latest[order],
        sizes=_reduced(np.add, sizes[pieces], starts)[order],
        of=of[back],
        within=within[back],
        flips=(members[back] & 1).astype(np.bool_),
    )


def goes_on(band: Band) -> NDArray[np.bool_]:
    """(pieces,) which go on above or below."""
    return np.minimum(band.begin, band.end) <= BELOW


def _reduced(how: np.ufunc, values: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    made: NDArray[np.int64] = how.reduceat(values, starts[:-1]) if len(values) else values
    return made


def _partners(ends: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The end that each end goes on in, both as 2 * piece, + 1 for its second end; -1 for none.

    Args:
        ends: (2 * pieces,) of each band.
    """
    partners = np.full(sum(len(codes) for codes in ends), -1, np.int64)
    first, above = 0, np.empty(0, np.int64)
    for codes in ends:
        here = np.flatnonzero(codes <= BELOW)
        columns, goes_up = np.divmod(BELOW - codes[here], 2)
        by_column = here[np.argsort(columns, kind="stable")] + first
        is_top = goes_up[np.argsort(columns, kind="stable")] == 1
        top = by_column[is_top]
        partners[top], partners[above] = above, top
        above = by_column[~is_top]
        first += len(codes)
    return partners


def _string(ends, partners):
    """Line up the pieces of one arc: 2 * piece, + 1 if it is walked backward; and where each arc begins among them."""
    starts, members = np.zeros(len(ends) // 2 + 1, np.int64), np.empty(len(ends) // 2, np.int64)
    count = size = 0
    done = np.zeros(len(ends) // 2, np.bool_)
    for is_closed in (False, True):
        for first in range(len(ends)):
            if done[first >> 1] or (not is_closed and partners[first] >= 0):
                continue
            low, at = size, np.int64(first)
            while True:
                members[size] = at
                size += 1
                done[at >> 1] = True
                final = at ^ 1
                at = partners[final]
                if at < 0 or done[at >> 1]:
                    break
            if not is_closed and ends[final] > ends[first]:  # an arc begins at the later of its ends
                members[low:size] = members[low:size][::-1].copy() ^ 1
            count += 1
            starts[count] = size
    return starts[: count + 1], members
