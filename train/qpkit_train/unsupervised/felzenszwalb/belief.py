"""What a tree of segments makes of what is known of the finest ones: messages up the tree, and down again.

The coarsest segments may be of any kind, all equally probable. A finer one is of the kind of its parent with the
probability 1 - saliency, and else of any other kind: little saliency makes it agree, much makes it differ. As
published, priors only flow from coarse to fine, and so stay as even as they begin (a test shows it); here what
templates say of the finest segments first flows up the tree, as in Borenstein and Malik 2006, so that a segment hears
of its neighbours. What a segment tells its parent counts by its part of the parent's area: else a hundred specks, each
with evidence of its own, would outvote whatever else is known of the parent. With a part of 1 each, the answer is the
exact sum over all ways to class the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Level:
    """The segments of one scale.

    Args:
        parents: (n,) int, place of each one's parent in the next coarser level; not looked at in the coarsest.
        saliency: (n,) 0..1, how much each differs from its parent.
        parts: (n,) 0..1, what each says counts in its parent.
    """

    parents: NDArray[np.int64]
    saliency: NDArray[np.float64]
    parts: NDArray[np.float64]


def priors(levels: Sequence[Level], evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say what all other segments tell of each of the finest ones.

    Args:
        levels: From fine to coarse.
        evidence: (n, k) logarithm of the likelihood of each kind, of the finest segments.

    Returns:
        (n, k), sums to 1; times the likelihood it is the posterior.
    """
    kinds = evidence.shape[1]
    own = [_normalised(evidence)]
    said: list[NDArray[np.float64]] = []
    for level, coarser in pairwise(levels):
        message = level.parts[:, np.newaxis] * _normalised(_passed(own[-1], level.saliency))
        said.append(message)
        gathered = np.zeros((len(coarser.parents), kinds))
        np.add.at(gathered, level.parents, message)
        own.append(_normalised(gathered))
    # Down again: a child hears all that its parent knows, but for what it has told itself.
    prior = np.zeros((len(levels[-1].parents), kinds))
    for level, message, above in zip(levels[-2::-1], said[::-1], own[:0:-1], strict=True):
        rest = _normalised((prior + above)[level.parents] - message)
        prior = _normalised(_passed(rest, level.saliency))
    return np.exp(_normalised(prior))


def _passed(logs: NDArray[np.float64], saliency: NDArray[np.float64]) -> NDArray[np.float64]:
    """From what is known at one end of an edge to the other: it is the same kind with 1 - saliency."""
    kinds = logs.shape[1]
    values = np.exp(logs)
    other = saliency[:, np.newaxis] / (kinds - 1)
    mixed = (1 - saliency[:, np.newaxis] - other) * values + other * values.sum(axis=1, keepdims=True)
    return np.asarray(np.log(np.maximum(mixed, 1e-300)))


def _normalised(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logs - logs.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
