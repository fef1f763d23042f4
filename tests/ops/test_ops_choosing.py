from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qpkit.ops.choosing import spread_out

points = st.integers(1, 12).flatmap(lambda n: arrays(np.float64, (n, 3), elements=st.floats(-5, 5)))


@given(points, st.integers(0, 4))
def test_every_candidate_comes_once_and_distances_never_grow(features: NDArray[np.float64], seen: int) -> None:
    covered = features[:seen] if seen else None
    found = list(spread_out(features, np.ones(len(features)), covered))
    assert sorted(number for number, _ in found) == list(range(len(features)))
    distances = [distance for _, distance in found][0 if seen else 1 :]
    assert all(after <= before + 1e-9 for before, after in pairwise(distances))


def test_of_two_groups_both_are_seen_before_one_is_seen_twice() -> None:
    features = np.array([[0.0, 0], [0.1, 0], [0, 0.1], [5, 5], [5.1, 5]])
    first, second, *_ = (number for number, _ in spread_out(features, np.ones(5)))
    assert (first < 3) != (second < 3)
    # What is covered already is seen.
    assert next(spread_out(features, np.ones(5), features[:1]))[0] >= 3


def test_the_best_score_comes_first_and_no_place_is_taken_for_its_score_alone() -> None:
    features = np.array([[0.0], [0.0], [1.0]])
    assert [number for number, _ in spread_out(features, np.array([0.9, 1.0, 0.2]))] == [1, 2, 0]
