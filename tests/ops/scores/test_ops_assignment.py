"""Which class a cluster stands for: the best of all ways, whatever clusters are called."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qpkit.ops.scores.assignment import assigned, best_assignment
from qpkit.ops.scores.confusion import class_scores

_COUNTS = st.integers(2, 4).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 99), min_size=n, max_size=n), min_size=n, max_size=n)
)


def _dice(counts: np.ndarray, way: list[int]) -> float:
    sizes = counts.sum(axis=1)[:, None] + counts.sum(axis=0)[None]
    return float(sum(2 * counts[k, c] / max(1, sizes[k, c]) for k, c in enumerate(way)))


@given(_COUNTS)
def test_no_other_way_to_assign_has_a_larger_sum_of_dice(rows: list[list[int]]) -> None:
    counts = np.array(rows, np.int64)
    best = _dice(counts, best_assignment(counts))
    assert best >= max(_dice(counts, list(way)) for way in permutations(range(len(rows)))) - 1e-9


@given(_COUNTS, st.randoms())
def test_names_of_clusters_mean_nothing(rows: list[list[int]], random: object) -> None:
    counts = np.array(rows, np.int64)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined] # a random.Random
    scores = [_dice(each, best_assignment(each)) for each in (counts, counts[order])]
    assert abs(scores[0] - scores[1]) < 1e-9


def test_of_two_clusters_the_better_of_both_ways_is_taken() -> None:
    counts = np.array([[1, 40], [50, 9]])
    assert best_assignment(counts) == [1, 0]
    confusion = assigned(counts, [1, 0])
    assert confusion.tolist() == [[50, 1], [9, 40]]
    assert [round(float(score.dice or 0), 3) for score in class_scores(confusion, ["a", "b"])] == [0.909, 0.889]


def test_clusters_that_are_left_over_go_where_most_of_them_lies() -> None:
    counts = np.array([[90, 1], [2, 80], [30, 4], [0, 5]])
    assert best_assignment(counts) == [0, 1, 0, 1]
    assert assigned(counts, [0, 1, 0, 1]).sum() == counts.sum()
