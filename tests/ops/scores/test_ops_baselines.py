from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpkit.ops.scores.baselines import baseline_scores, best_baseline
from qpkit.ops.scores.bootstrap import bootstrap_mean
from qpkit.ops.scores.confusion import class_scores, confusion_of

METRICS = ("dice", "iou", "precision", "recall", "specificity")
SUPPORT = (70_000, 25_000, 5_000)


def test_trivial_predictors_score_what_simulated_ones_do() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3, dtype=np.uint8), SUPPORT)
    there = confusion_of(truth, rng.permutation(truth), 3)
    for index in range(3):
        prior = SUPPORT[index] / sum(SUPPORT)
        of_class = (truth == index).astype(np.uint8)
        said = {
            "all background": np.full(len(truth), int(index == 0), np.uint8),
            "all this class": np.ones(len(truth), np.uint8),
            "random at the prior": (rng.random((20, len(truth))) < prior).astype(np.uint8),
        }
        expected = baseline_scores(there, index, background=0, name="x")
        assert list(expected) == list(said)
        for predictor, answers in said.items():
            draws = [class_scores(confusion_of(of_class, row, 2), ("rest", "x"))[1] for row in np.atleast_2d(answers)]
            for metric in METRICS:
                simulated = [getattr(draw, metric) for draw in draws]
                value = getattr(expected[predictor], metric)
                if simulated[0] is None:
                    assert value is None
                else:
                    assert value == pytest.approx(np.mean(simulated), abs=0.004), (predictor, metric)


@given(st.integers(1, 10**9), st.integers(0, 10**9))
def test_guessing_has_the_closed_forms_that_the_docs_state(support: int, others: int) -> None:
    p = support / (support + others)
    found = baseline_scores(np.array([[others, 0], [0, support]]), 1, background=0, name="x")
    random, everything = found["random at the prior"], found["all this class"]
    assert (random.precision, random.recall, random.dice) == pytest.approx((p, p, p))
    assert random.iou == pytest.approx(p / (2 - p))
    assert everything.dice == pytest.approx(2 * p / (1 + p))
    assert best_baseline(found, "dice") == everything.dice
    assert random.support == everything.support == support


def test_guessing_does_not_depend_on_what_was_predicted() -> None:
    right, wrong = np.array([[5, 0], [0, 7]]), np.array([[0, 5], [7, 0]])
    for index in (0, 1):
        scores = [baseline_scores(m, index, background=0, name="x") for m in (right, wrong)]
        assert scores[0] == scores[1]


def test_nothing_can_be_guessed_of_a_class_that_is_not_there() -> None:
    found = baseline_scores(np.array([[9, 0], [0, 0]]), 1, background=0, name="x")
    assert found["all background"].dice is None
    assert found["all this class"].dice == 0.0
    assert found["random at the prior"].recall is None


VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=12)


@given(VALUES, st.integers(0, 5), st.randoms())
def test_the_interval_is_the_same_for_the_same_seed_in_any_order(values: list[float | None], seed: int, rng) -> None:  # type: ignore[no-untyped-def]
    found = bootstrap_mean(values, seed=seed, resamples=200)
    shuffled = list(values)
    rng.shuffle(shuffled)
    assert bootstrap_mean(shuffled, seed=seed, resamples=200) == found


@given(VALUES)
def test_the_interval_lies_around_the_mean_and_within_the_values(values: list[float | None]) -> None:
    found = bootstrap_mean(values, seed=0, resamples=200)
    known = [v for v in values if v is not None]
    assert found.n == len(known)
    if len(known) < 2:
        assert (found.low, found.high) == (None, None)
        assert found.mean == (known[0] if known else None)
        return
    assert found.low is not None
    assert found.high is not None
    assert min(known) - 1e-12 <= found.low <= found.high <= max(known) + 1e-12
    assert found.mean == pytest.approx(np.mean(known))


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        found = bootstrap_mean(rng.normal(0.5, 0.1, 40).tolist(), seed=seed, resamples=400)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.5 <= found.high
    assert 0.90 <= hits / 300 <= 0.98


def test_another_seed_gives_another_interval() -> None:
    values = [0.1, 0.35, 0.9, 0.4, 0.77]
    assert bootstrap_mean(values, seed=0) != bootstrap_mean(values, seed=1)
