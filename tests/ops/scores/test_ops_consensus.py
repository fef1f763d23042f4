from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit.ops.scores.consensus import Rule, consensus_table, pattern_count, patterns_of

CLASSES = 3
RULES: tuple[Rule, ...] = ("majority", "union", "intersection", "first", "staple")
said = st.sampled_from([0, 1, 2, IGNORE_INDEX])
stacks = st.integers(2, 4).flatmap(lambda readers: arrays(np.uint8, (readers, 5, 6), elements=said))


def decided(votes: NDArray[np.uint8], rule: Rule) -> NDArray[np.uint8]:
    patterns = patterns_of(votes, CLASSES)
    counts = np.bincount(patterns.ravel(), minlength=pattern_count(len(votes), CLASSES))
    return consensus_table(counts, len(votes), CLASSES, rule, background=0)[patterns]


@given(stacks, st.sampled_from(RULES))
def test_where_all_who_judged_say_the_same_it_is_that(votes: NDArray[np.uint8], rule: Rule) -> None:
    made = decided(votes, rule)
    known = votes != IGNORE_INDEX
    assert np.array_equal(made == IGNORE_INDEX, ~known.any(axis=0))
    low, high = np.where(known, votes, 255).min(axis=0), np.where(known, votes, 0).max(axis=0)
    same = known.any(axis=0) & (low == high)
    if rule != "staple":  # which may find a reader so unreliable that it knows better
        assert np.array_equal(made[same], low[same])


@given(stacks)
def test_rules_are_what_they_are_called(votes: NDArray[np.uint8]) -> None:
    known = votes != IGNORE_INDEX
    for index in range(CLASSES):
        counts = (votes == index).sum(axis=0)
        assert (decided(votes, "majority") == index)[counts > known.sum(axis=0) / 2].all()
    judged = known.any(axis=0)
    anybody, everybody = ((votes > 0) & known).any(axis=0), ((votes > 0) | ~known).all(axis=0)
    assert np.array_equal((decided(votes, "union") > 0)[judged], anybody[judged])
    assert not (decided(votes, "intersection") > 0)[judged & ~everybody].any()
    first = np.take_along_axis(votes, known.argmax(axis=0)[None], axis=0)[0]
    assert np.array_equal(decided(votes, "first")[judged], first[judged])


def test_of_equal_votes_that_of_the_earliest_reader_counts() -> None:
    votes = np.array(
        [[1, 2, 0, IGNORE_INDEX], [2, 1, 2, 2], [IGNORE_INDEX, 0, 2, 1], [IGNORE_INDEX, 0, 0, 0]], np.uint8
    )
    assert decided(votes[:, None, :], "majority").tolist() == [[1, 0, 0, 2]]
    assert decided(votes[:, None, :], "union").tolist() == [[1, 2, 2, 2]]


def test_staple_trusts_those_who_agree_with_others_more_than_their_number() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((80, 80)) < 0.3).astype(np.uint8)

    def reader(error: float) -> NDArray[np.uint8]:
        return np.where(rng.random(truth.shape) < error, 1 - truth, truth).astype(np.uint8)

    votes = np.stack([reader(0.02), reader(0.02), *(reader(0.45) for _ in range(3))])
    rules: tuple[Rule, ...] = ("majority", "staple")
    wrong = {rule: float(np.mean(decided(votes, rule) != truth)) for rule in rules}
    assert wrong["staple"] < 0.5 * wrong["majority"] and wrong["staple"] < 0.04


@pytest.mark.parametrize("readers", [2, 3])
def test_every_pattern_has_a_number_of_its_own(readers: int) -> None:
    count = pattern_count(readers, CLASSES)
    grid = np.stack(np.meshgrid(*[[0, 1, 2, IGNORE_INDEX]] * readers, indexing="ij")).reshape(readers, 1, -1)
    assert sorted(patterns_of(grid.astype(np.uint8), CLASSES)[0].tolist()) == list(range(count))
