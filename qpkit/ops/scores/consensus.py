"""What several readers say together of a pixel."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from qpkit.ops.scores.confusion import IGNORE_INDEX

Rule = Literal["majority", "union", "intersection", "first", "staple"]
"""How readers become one; docs/review.md has the rules."""

_ROUNDS: Final = 200
_STILL: Final = 1e-7


def pattern_count(readers: int, classes: int) -> int:
    """How many ways there are in which readers can judge a pixel, not judging it included."""
    return int((classes + 1) ** readers)


def patterns_of(indices: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Number the way in which readers judge each pixel.

    Args:
        indices: (readers, h, w) class indices, IGNORE_INDEX where a reader has not judged.
        classes: How many there are.

    Returns:
        (h, w) 0..pattern_count - 1.
    """
    made = np.zeros(indices.shape[1:], np.int64)
    for votes in indices:
        made *= classes + 1
        made += np.where(votes == IGNORE_INDEX, classes, votes)
    return made


def consensus_table(
    counts: NDArray[np.int64], readers: int, classes: int, rule: Rule, *, background: int
) -> NDArray[np.uint8]:
    """Decide every pattern.

    Args:
        counts: (patterns,) pixels of each, for "staple".
        readers, classes: How many.
        rule: majority: the class with most votes, of equal ones that of the earliest reader. union: the same among the
            votes that are not background, if there is one. intersection: what all say, else background. first: what
            the earliest reader says. staple: the most probable class, readers being weighted by how reliable they turn
            out to be.
        background: Its class index.

    Returns:
        (patterns,) class indices; IGNORE_INDEX where nobody has judged.

    Source: staple is Warfield, Zou and Wells 2004, Simultaneous truth and performance level estimation.
    """
    votes = _votes(readers, classes)
    if rule == "staple":
        return _staple(counts, votes, classes)
    made = np.full(len(votes), IGNORE_INDEX, np.uint8)
    for number, row in enumerate(votes.tolist()):
        said = [vote for vote in row if vote < classes]
        if not said:
            continue
        if rule == "union":
            said = [vote for vote in said if vote != background] or said
        if rule == "intersection":
            made[number] = said[0] if len(set(said)) == 1 else background
        elif rule == "first":
            made[number] = said[0]
        else:
            made[number] = max(said, key=lambda vote: (said.count(vote), -said.index(vote)))
    return made


def _votes(readers: int, classes: int) -> NDArray[np.int64]:
    """(patterns, readers) what each reader says; `classes` is nothing."""
    numbers = np.arange(pattern_count(readers, classes))
    columns = [numbers // (classes + 1) ** (readers - 1 - reader) % (classes + 1) for reader in range(readers)]
    return np.stack(columns, axis=1)


def _staple(counts: NDArray[np.int64], votes: NDArray[np.int64], classes: int) -> NDArray[np.uint8]:
    """Expectation maximisation over the patterns: each reader has a matrix of what is said of which true class."""
    judged = (votes < classes).any(axis=1)
    weights = np.where(judged, counts, 0).astype(np.float64)
    readers = votes.shape[1]
    # Begin with what the votes say, every reader being right in 99 of 100 cases.
    matrices = np.full((readers, classes, classes + 1), 0.01 / max(1, classes - 1))
    matrices[:, np.arange(classes), np.arange(classes)] = 0.99
    matrices[:, :, classes] = 1.0  # who has not judged says nothing
    shares = np.stack([(votes == index).mean(axis=1) for index in range(classes)], axis=1)
    prior = (shares * weights[:, None]).sum(axis=0) + 1e-9
    prior /= prior.sum()
    posterior = np.zeros((len(votes), classes))
    for _ in range(_ROUNDS):
        likely = np.tile(prior, (len(votes), 1))
        for reader in range(readers):
            likely = likely * matrices[reader][:, votes[:, reader]].T
        after = likely / np.maximum(likely.sum(axis=1, keepdims=True), 1e-300)
        change = np.abs((after - posterior) * (weights[:, None] > 0)).max(initial=0)
        posterior = after
        if change < _STILL:
            break
        for reader in range(readers):
            for index in range(classes):
                said = votes[:, reader] == index
                matrices[reader, :, index] = (posterior[said] * weights[said, None]).sum(axis=0)
            sums = matrices[reader, :, :classes].sum(axis=1, keepdims=True)
            matrices[reader, :, :classes] = (matrices[reader, :, :classes] + 1e-9) / (sums + 1e-9 * classes)
    return np.where(judged, posterior.argmax(axis=1), IGNORE_INDEX).astype(np.uint8)
