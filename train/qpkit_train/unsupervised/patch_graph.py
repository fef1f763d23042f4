"""Which patches are joined: those that look alike and lie near each other. Memory grows with patches and edges only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from qpkit_train.unsupervised.symmetric import symmetric_matrix

_PATCHES: Final = 1024
"""Whose neighbours are looked for at once."""

_PAIRS: Final = 16_384
"""Whose features are multiplied at once."""

_COLUMNS: Final = 8192
"""Patches that a block of patches is compared with at once, where distance does not matter."""

_SHORTEST: Final = 1e-12


@dataclass(frozen=True, slots=True)
class PatchGraph:
    """Patches and which of them are joined; an edge has no direction and weight 1, and no patch is joined with itself.

    Args:
        patches: How many.
        edges: (m, 2) int32, the lower number first, each edge once, sorted.
        pairs: That were near enough to be compared.
        similarity: Cosine that edges exceed.
    """

    patches: int
    edges: NDArray[np.int32]
    pairs: int = 0
    similarity: float = -1.0

    @property
    def degrees(self) -> NDArray[np.int64]:
        """(n,): edges of each patch."""
        return np.bincount(self.edges.ravel(), minlength=self.patches)

    @property
    def alone(self) -> int:
        """Patches without an edge."""
        return int((self.degrees == 0).sum())

    def adjacency(self, device: torch.device, *, normalized: bool) -> Tensor:
        """A as a sparse (n, n) float32; normalized, D^-1/2 A D^-1/2 with rows of 0 where patches are alone."""
        weights = np.ones(len(self.edges))
        if normalized:
            roots = 1 / np.sqrt(np.maximum(self.degrees, 1))
            weights = roots[self.edges[:, 0]] * roots[self.edges[:, 1]]
        return symmetric_matrix(self.edges, weights, self.patches, device)


def join_patches(
    features: NDArray[np.float32], centres: NDArray[Any], slides: NDArray[Any], *,
    similarity: float, distance_px: float, fraction: float = 0.0, across_slides: int = 0,
) -> PatchGraph:  # fmt: skip
    """Join patches of a slide whose features have a cosine above `similarity` and whose centres are near.

    Args:
        features: (n, d).
        centres: (n, 2) x, y in px of the level that patches were taken from.
        slides: (n,) number of the slide that each patch is from.
        similarity: Cosine that has to be exceeded.
        distance_px: Distance that centres have to stay below.
        fraction: Of the pairs that are near, so many are joined, the most similar ones, instead of those above
            `similarity`; 0 for none of this.
        across_slides: Join each patch also with so many patches of other slides, its most similar ones above
            the similarity; compares all with all, so it takes time with the square of the patches.
    """
    lengths = np.maximum(np.linalg.norm(features, axis=1), _SHORTEST)
    near = [np.empty((0, 2), np.int32)]
    for slide in np.unique(slides):
        members = np.flatnonzero(slides == slide).astype(np.int32)
        near += [members[pairs] for pairs in _near(np.asarray(centres[members], np.float64), distance_px)]
    candidates = np.concatenate(near)
    cosines = _cosines(features, lengths, candidates)
    if fraction:
        similarity = _least_of(cosines, fraction)
    found = [candidates[cosines > similarity]]
    if across_slides:
        found.extend(_most_alike(features, lengths, slides, similarity, across_slides))
    return PatchGraph(len(features), _sorted_once(np.concatenate(found)), len(candidates), similarity)


def join_alike(features: NDArray[np.float32], *, similarity: float, fraction: float = 0.0) -> PatchGraph:
    """Join all whose features have a cosine above `similarity`, wherever they lie: tokens of one picture.

    Args:
        features: (n, d); time grows with n^2, memory with the edges; with a fraction, by 2 n^2 bytes more.
        similarity: Cosine that has to be exceeded.
        fraction: As of `join_patches`, of all pairs.
    """
    lengths = np.maximum(np.linalg.norm(features, axis=1), _SHORTEST)
    found = [np.empty((0, 2), np.int32)]
    if fraction:
        above = [
            cosines[np.arange(len(cosines))[:, None] + first < np.arange(cosines.shape[1]) + second]
            for first, second, cosines in _blocks(features, lengths)
        ]
        similarity = _least_of(np.concatenate(above), fraction)
    for first, second, cosines in _blocks(features, lengths):
        rows, columns = np.nonzero(cosines > similarity)
        pairs = np.stack([rows + first, columns + second], axis=1).astype(np.int32)
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    count = len(features) * (len(features) - 1) // 2
    return PatchGraph(len(features), _sorted_once(np.concatenate(found)), count, similarity)


def _least_of(cosines: NDArray[np.float32], fraction: float) -> float:
    """What is exceeded by a fraction of cosines."""
    if fraction == 1 or not len(cosines):
        return -2.0
    return float(np.quantile(cosines, 1 - fraction, method="lower"))


def _near(places: NDArray[np.float64], distance: float) -> Iterator[NDArray[np.int32]]:
    """Pairs (m, 2) of places that are nearer than a distance, lower number first, of some places at a time."""
    tree = cKDTree(places)
    for start in range(0, len(places), _PATCHES):
        part = cKDTree(places[start : start + _PATCHES])
        near = part.sparse_distance_matrix(tree, distance, output_type="ndarray")
        near = near[near["v"] < distance]
        pairs = np.stack([near["i"] + start, near["j"]], axis=1)
        yield pairs[pairs[:, 0] < pairs[:, 1]].astype(np.int32)


def _cosines(
    features: NDArray[np.float32], lengths: NDArray[np.float32], pairs: NDArray[np.int32]
) -> NDArray[np.float32]:
    found = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _PAIRS):
        one, other = pairs[start : start + _PAIRS].T
        products = np.einsum("nd,nd->n", features[one], features[other])
        found[start : start + _PAIRS] = products / (lengths[one] * lengths[other])
    return found


def _blocks(
    features: NDArray[np.float32], lengths: NDArray[np.float32]
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Cosines of some patches (rows from the first number on) with some (columns from the second), all of them."""
    for first in range(0, len(features), _PATCHES):
        rows = features[first : first + _PATCHES] / lengths[first : first + _PATCHES, np.newaxis]
        for second in range(0, len(features), _COLUMNS):
            part = slice(second, second + _COLUMNS)
            yield first, second, rows @ (features[part] / lengths[part, np.newaxis]).T


def _most_alike(
    features: NDArray[np.float32], lengths: NDArray[np.float32], slides: NDArray[Any], similarity: float, count: int
) -> Iterator[NDArray[np.int32]]:
    """Pairs of each patch with its most similar ones of other slides."""
    best: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []

    def pairs(first: int) -> NDArray[np.int32]:
        values, columns = (np.concatenate(part, axis=1) for part in zip(*best, strict=True))
        chosen = np.argsort(-values, axis=1, kind="stable")[:, :count]
        rows = np.repeat(np.arange(first, first + len(values)), chosen.shape[1])
        others = np.take_along_axis(columns, chosen, axis=1).ravel()
        kept = np.take_along_axis(values, chosen, axis=1).ravel() > similarity
        return np.stack([rows, others], axis=1)[kept].astype(np.int32)

    row = 0
    for first, second, cosines in _blocks(features, lengths):
        if first != row:
            yield pairs(row)
            best, row = [], first
        same = slides[first : first + len(cosines), None] == slides[None, second : second + cosines.shape[1]]
        cosines[same] = -2.0
        few = min(count, cosines.shape[1])
        columns = np.argpartition(-cosines, few - 1, axis=1)[:, :few]
        best.append((np.take_along_axis(cosines, columns, axis=1), columns + second))
    if best:
        yield pairs(row)


def _sorted_once(pairs: NDArray[np.int32]) -> NDArray[np.int32]:
    """Each pair once, the lower number first, sorted by it."""
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    keys = np.unique((low.astype(np.int64) << 32) | high)
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1).astype(np.int32)
