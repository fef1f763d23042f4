"""What of a band is finished, and what still goes on below."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled
from qpkit.ops.vectors.arcs import OUTSIDE, Arcs
from qpkit.ops.vectors.band import Band
from qpkit.ops.vectors.unions import root_of


def parted(band: Band) -> tuple[Arcs, Band]:
    """Take apart what will not change any more.

    Areas stay together with those that they touch, along an edge or in a corner: so borders, and what is done to them,
    are the same as in the whole.

    Args:
        band: With nothing above.

    Returns:
        (finished, open): clusters of which nothing reaches the last row, and the rest.
    """
    areas, junctions = compiled(_open, root_of)(
        band.begin, band.end, band.left, band.right, band.below, len(band.values), band.junctions
    )
    arcs = np.append(areas, False)[np.where(band.left < 0, band.right, band.left)]
    finished, rest = _some(band, ~arcs, ~areas, ~junctions), _some(band, arcs, areas, junctions)
    return Arcs(**finished), Band(
        **rest,
        last=band.last[arcs],
        parents=np.arange(np.count_nonzero(areas), dtype=np.int32),
        above=np.empty(0, np.int32),
        below=_numbered(band.below, areas),
    )


def arcs_of(band: Band) -> Arcs:
    """All of a band with nothing above and nothing below."""
    return Arcs(
        band.points, band.starts, band.begin, band.end, band.left, band.right,
        band.values, band.areas, band.sums, band.firsts, band.junctions,
    )  # fmt: skip


def _some(
    band: Band, arcs: NDArray[np.bool_], areas: NDArray[np.bool_], junctions: NDArray[np.bool_]
) -> dict[str, Any]:
    """The columns that arcs and bands share, of some of the pieces."""
    counts = np.diff(band.starts)
    begin, end = band.begin[arcs], band.end[arcs]
    return {
        "points": band.points[np.repeat(arcs, counts)],
        "starts": np.concatenate([[0], np.cumsum(counts[arcs])]).astype(np.int64),
        "begin": np.where(begin >= 0, 4 * _numbered(begin >> 2, junctions) + (begin & 3), begin).astype(np.int32),
        "end": np.where(end >= 0, 4 * _numbered(end >> 2, junctions) + (end & 3), end).astype(np.int32),
        "left": _numbered(band.left[arcs], areas),
        "right": _numbered(band.right[arcs], areas),
        "values": band.values[areas],
        "areas": band.areas[areas],
        "sums": band.sums[areas],
        "firsts": band.firsts[areas],
        "junctions": int(np.count_nonzero(junctions)),
    }


def _numbered(items: NDArray[np.int32], kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Numbers among those that are kept; what is negative is OUTSIDE."""
    numbers = np.append(np.cumsum(kept) - 1, OUTSIDE)
    return numbers[np.where(items < 0, -1, items)].astype(np.int32)


def _open(begin, end, left, right, below, areas, junctions):
    """Which areas and junctions hang together with a run of the last row."""
    parents = np.arange(areas + junctions + 1)  # the last one is what is open
    for run in below:
        if run >= 0:
            parents[run] = areas + junctions
    for arc in range(len(begin)):
        for side in range(4):
            if side < 2:
                other = right[arc] if side else left[arc]
            else:
                code = end[arc] if side == 3 else begin[arc]
                other = areas + (code >> 2) if code >= 0 else -1
            if other < 0:
                continue
            a = root_of(parents, left[arc] if left[arc] >= 0 else right[arc])
            b = root_of(parents, other)
            parents[min(a, b)] = max(a, b)
    found = np.zeros(areas + junctions, np.bool_)
    for i in range(areas + junctions):
        found[i] = root_of(parents, i) == areas + junctions
    return found[:areas], found[areas:]
