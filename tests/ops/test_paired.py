"""Differences between two models on the same patients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from qpkit.ops.scores.paired import paired_difference

SCORES = st.lists(st.tuples(st.floats(0, 1) | st.none(), st.floats(0, 1) | st.none()), max_size=8)


@given(SCORES)
def test_turned_round_it_has_the_other_sign(pairs: list[tuple[float | None, float | None]]) -> None:
    ones, others = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = paired_difference(ones, others, seed=0), paired_difference(others, ones, seed=0)
    assert (there.better, there.worse, there.p) == (back.worse, back.better, back.p)
    assert there.difference.n == sum(a is not None and b is not None for a, b in pairs)
    if there.difference.mean is not None:
        assert there.difference.mean == pytest.approx(-(back.difference.mean or 0), abs=1e-12)


def test_what_is_hard_for_both_widens_nothing() -> None:
    """A constant difference is certain, however much patients differ."""
    found = paired_difference([0.9, 0.5, 0.1, 0.7, 0.3, 0.6], [0.8, 0.4, 0.0, 0.6, 0.2, 0.5], seed=1)
    change = found.difference
    assert change.mean is not None and change.low is not None and change.high is not None
    assert abs(change.mean - 0.1) < 1e-9 and abs(change.high - change.low) < 1e-9
    assert (found.better, found.worse) == (6, 0)
    assert found.p is not None and found.p <= 2 / 2**6 + 1e-9


def test_p_is_that_of_scipy_and_nothing_of_one_patient() -> None:
    ones, others = [0.3, 0.6, 0.9, 0.4], [0.1, 0.7, 0.2, 0.1]
    assert (
        paired_difference(ones, others, seed=0).p == wilcoxon([a - b for a, b in zip(ones, others, strict=True)]).pvalue
    )
    assert paired_difference([0.1], [0.2], seed=0).p is None
    assert paired_difference([0.1, 0.2], [0.1, 0.2], seed=0).p == 1
