"""The graph of segments across scales, put together of windows: segments do not end where windows do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from qpkit_train.unsupervised.felzenszwalb.belief import Level

_SAME: Final = 0.5
"""Jaccard index, where two windows overlap, above which their segments are one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one window tells of one scale; numbers are those of the window.

    Args:
        areas, sums, squares: (n,) px of the window's core, their grey levels added up, and squared.
        inside: (m, 3) int64: a segment, one of the next coarser scale, px of the core that both have; empty for the
            coarsest.
    """

    areas: NDArray[np.int64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    inside: NDArray[np.int64]


def piece_of(segments: NDArray[np.int32], coarser: NDArray[np.int32] | None, grey: NDArray[np.uint8],
             count: int) -> Piece:  # fmt: skip
    """Measure the core of a window at one scale.

    Args:
        segments: (h, w) of the core.
        coarser: The same of the next scale.
        grey: The same.
        count: Segments of the whole window.
    """
    flat, values = segments.ravel(), grey.ravel().astype(np.float64)
    inside = np.zeros((0, 3), np.int64) if coarser is None else overlaps(segments, coarser)
    areas = np.bincount(flat, minlength=count)
    sums, squares = (np.asarray(np.bincount(flat, of, count), np.float64) for of in (values, values**2))
    return Piece(areas, sums, squares, inside)


def overlaps(one: NDArray[np.int32], other: NDArray[np.int32]) -> NDArray[np.int64]:
    """Count the px that two segments share, of all pairs that share some: (m, 3) of number, number, px."""
    width = int(other.max()) + 1
    codes, counts = np.unique(one.ravel().astype(np.int64) * width + other.ravel(), return_counts=True)
    return np.stack([codes // width, codes % width, counts], axis=1)


def same_segments(one: NDArray[np.int32], other: NDArray[np.int32]) -> NDArray[np.int64]:
    """Which segments of two windows are one, by the part of the slide that both see.

    Args:
        one, other: (h, w) numbers of the same px in both windows.

    Returns:
        (m, 2) numbers in the first and in the second.
    """
    pairs = overlaps(one, other)
    sizes = np.bincount(one.ravel()), np.bincount(other.ravel())
    union = sizes[0][pairs[:, 0]] + sizes[1][pairs[:, 1]] - pairs[:, 2]
    return pairs[pairs[:, 2] > _SAME * union, :2]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """All segments of a slide.

    Args:
        levels: From fine to coarse.
        areas: (n,) px of the finest.
        numbers: For each window, which of the finest segments each of its own is.
    """

    levels: Sequence[Level]
    areas: NDArray[np.int64]
    numbers: Sequence[NDArray[np.int64]]


def hierarchy_of(
    pieces: Sequence[Sequence[Piece]], seams: Sequence[tuple[int, int, Sequence[NDArray[np.int64]]]]
) -> Hierarchy:
    """Put windows together.

    Args:
        pieces: Of each window, from fine to coarse.
        seams: Pairs of windows and, for each scale, which of their segments are one, as `same_segments` says.
    """
    scales = len(pieces[0])
    numbers = [_numbers([own[scale] for own in pieces], seams, scale) for scale in range(scales)]
    stats = [_stats([own[scale] for own in pieces], numbers[scale]) for scale in range(scales)]
    levels = []
    for scale in range(scales):
        areas, means, _ = stats[scale]
        parents, saliency, parts = np.zeros(len(areas), np.int64), np.zeros(len(areas)), np.ones(len(areas))
        if scale + 1 < scales:
            pairs = [_renumbered(own[scale].inside, fine, coarse) for own, fine, coarse in
                     zip(pieces, numbers[scale], numbers[scale + 1], strict=True)]  # fmt: skip
            above = stats[scale + 1]
            parents = _parents(np.concatenate(pairs), areas, above[0])
            contrast = np.abs(means - above[1][parents]) / np.maximum(above[2][parents], 1.0)
            saliency = 1 - np.exp(-contrast)
            parts = np.minimum(1.0, areas / np.maximum(above[0][parents], 1))
        levels.append(Level(parents, saliency, parts))
    return Hierarchy(levels, stats[0][0], numbers[0])


def _numbers(pieces: Sequence[Piece], seams: Sequence[tuple[int, int, Sequence[NDArray[np.int64]]]],
             scale: int) -> list[NDArray[np.int64]]:  # fmt: skip
    """The number in the whole slide of each window's segments."""
    starts = np.concatenate([[0], np.cumsum([len(piece.areas) for piece in pieces])])
    pairs = [same[scale] + [starts[one], starts[other]] for one, other, same in seams]
    joined = np.concatenate([np.zeros((0, 2), np.int64), *pairs]).astype(np.int64)
    size = int(starts[-1])
    graph = coo_matrix((np.ones(len(joined), np.bool_), (joined[:, 0], joined[:, 1])), (size, size))
    found = connected_components(graph, directed=False)[1].astype(np.int64)
    return [found[a:b] for a, b in pairwise(starts.tolist())]


def _stats(
    pieces: Sequence[Piece], numbers: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Area, mean grey and its deviation of each segment of the slide."""
    every = np.concatenate(numbers)
    count = int(every.max()) + 1
    areas, sums, squares = (
        np.bincount(every, np.concatenate([getattr(piece, name) for piece in pieces]), count)
        for name in ("areas", "sums", "squares")
    )
    means = sums / np.maximum(areas, 1)
    return areas.astype(np.int64), means, np.sqrt(np.maximum(0, squares / np.maximum(areas, 1) - means**2))


def _renumbered(
    inside: NDArray[np.int64], fine: NDArray[np.int64], coarse: NDArray[np.int64]
) -> NDArray[np.int64]:  # fmt: skip
    return np.stack([fine[inside[:, 0]], coarse[inside[:, 1]], inside[:, 2]], axis=1)


def _parents(pairs: NDArray[np.int64], areas: NDArray[np.int64], above: NDArray[np.int64]) -> NDArray[np.int64]:
    """The coarser segment with the largest Jaccard index; of equal ones the first."""
    codes, places = np.unique(pairs[:, 0] * len(above) + pairs[:, 1], return_inverse=True)
    shared = np.bincount(places.ravel(), pairs[:, 2])
    fine, coarse = codes // len(above), codes % len(above)
    jaccard = shared / (areas[fine] + above[coarse] - shared)
    order = np.lexsort((coarse, -jaccard, fine))
    first = order[np.unique(fine[order], return_index=True)[1]]
    parents = np.zeros(len(areas), np.int64)
    parents[fine[first]] = coarse[first]
    return parents
