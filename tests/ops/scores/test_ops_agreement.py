from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from qpkit.ops.scores.agreement import FleissCounts, cohens_kappa
from qpkit.ops.scores.confusion import IGNORE_INDEX, confusion_of

votes = st.integers(2, 4).flatmap(
    lambda n: arrays(np.uint8, (n, 40), elements=st.sampled_from([0, 1, 2, IGNORE_INDEX]))
)


@given(arrays(np.uint8, (2, 60), elements=st.integers(0, 2)))
def test_cohens_kappa_is_that_of_scikit_learn(pair: NDArray[np.uint8]) -> None:
    ours = cohens_kappa(confusion_of(pair[0], pair[1], 3))
    if ours is None:
        assert len(np.unique(pair)) == 1
    else:
        assert ours == pytest.approx(cohen_kappa_score(pair[0], pair[1], labels=[0, 1, 2]), abs=1e-12)


def test_fleiss_kappa_is_that_of_his_example() -> None:
    # Fleiss 1971 as Wikipedia has it: 14 raters, 10 subjects, 5 categories, kappa 0.210.
    table = np.array([
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ])  # fmt: skip
    raters = np.stack([np.repeat(np.arange(5), row) for row in table], axis=1).astype(np.uint8)
    assert FleissCounts.of(raters, 5).kappa == pytest.approx(0.2099, abs=1e-4)


@given(votes, st.integers(1, 39))
def test_parts_add_up_to_the_whole_and_the_order_of_readers_says_nothing(found: NDArray[np.uint8], cut: int) -> None:
    whole, parts = FleissCounts.of(found, 3), FleissCounts.of(found[:, :cut], 3) + FleissCounts.of(found[:, cut:], 3)
    turned = FleissCounts.of(found[::-1], 3)
    for other in (parts, turned):
        assert (other.px, other.pairs, other.classes.tolist()) == (whole.px, whole.pairs, whole.classes.tolist())


@given(arrays(np.uint8, 30, elements=st.integers(0, 2)))
def test_readers_who_say_the_same_agree_wholly(one: NDArray[np.uint8]) -> None:
    kappa = FleissCounts.of(np.stack([one, one, one]), 3).kappa
    assert kappa is None if len(np.unique(one)) == 1 else kappa == pytest.approx(1)
