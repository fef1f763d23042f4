from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from qpkit.ops.scores.confusion import IGNORE_INDEX, class_scores, confusion_of
from qpkit.ops.scores.probability_levels import (
    average_precision,
    calibration_error,
    confidence_of,
    levels_of,
    reliability,
    roc_auc,
    scores_at_thresholds,
)

CLASSES = 3

Pixels = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@st.composite
def pixels(draw: st.DrawFn) -> Pixels:
    """(n,) class indices with unknown ones, and (3, n) probabilities with many ties."""
    count = draw(st.integers(1, 60))
    target = draw(arrays(np.uint8, count, elements=st.sampled_from([0, 1, 2, IGNORE_INDEX])))
    level = st.one_of(st.integers(0, 255), st.sampled_from([0, 17, 128, 255]))
    return target, draw(arrays(np.uint8, (CLASSES, count), elements=level))


@given(pixels())
def test_auc_and_average_precision_are_scikit_learns(made: Pixels) -> None:
    target, probabilities = made
    known = target != IGNORE_INDEX
    for i, levels in enumerate(levels_of(target, probabilities, CLASSES)):
        truth, score = target[known] == i, probabilities[i][known]
        if not truth.any():
            assert roc_auc(levels) is None
            assert average_precision(levels) is None
            continue
        assert average_precision(levels) == pytest.approx(average_precision_score(truth, score))
        if truth.all():
            assert roc_auc(levels) is None
        else:
            assert roc_auc(levels) == pytest.approx(roc_auc_score(truth, score))


@given(pixels(), st.integers(0, 255), st.integers(0, CLASSES - 1))
def test_scores_at_a_threshold_are_those_of_the_mask_that_it_makes(made: Pixels, t: int, index: int) -> None:
    target, probabilities = made
    of_class = np.where(target == IGNORE_INDEX, IGNORE_INDEX, target == index).astype(np.uint8)
    matrix = confusion_of(of_class, (probabilities[index] >= t).astype(np.uint8), 2)
    levels = levels_of(target, probabilities, CLASSES)[index]
    assert scores_at_thresholds(levels, "x")[t] == class_scores(matrix, ("others", "x"))[1]


@given(pixels())
def test_class_scores_are_shares_of_pixels(made: Pixels) -> None:
    target, probabilities = made
    known = target != IGNORE_INDEX
    said = probabilities.argmax(axis=0).astype(np.uint8)
    for i, score in enumerate(class_scores(confusion_of(target, said, CLASSES), "abc")):
        truth, answer = (target == i)[known], (said == i)[known]
        assert score.specificity == (pytest.approx((~answer)[~truth].mean()) if (~truth).any() else None)
        assert score.recall == (pytest.approx(answer[truth].mean()) if truth.any() else None)
        assert score.precision == (pytest.approx(truth[answer].mean()) if answer.any() else None)
        either = truth | answer
        assert score.iou == (pytest.approx((truth & answer).sum() / either.sum()) if either.any() else None)


@given(pixels(), st.integers(0, 60))
def test_levels_add_up_however_pixels_are_cut(made: Pixels, cut: int) -> None:
    target, probabilities = made
    said = probabilities.argmax(axis=0).astype(np.uint8)
    first, second = slice(None, cut), slice(cut, None)
    whole = levels_of(target, probabilities, CLASSES)
    parts = [levels_of(target[part], probabilities[:, part], CLASSES) for part in (first, second)]
    assert np.array_equal(whole, parts[0] + parts[1])
    parts = [confidence_of(target[part], said[part], probabilities[:, part]) for part in (first, second)]
    assert np.array_equal(confidence_of(target, said, probabilities), parts[0] + parts[1])


@given(pixels(), st.integers(0, 255))
def test_probabilities_of_unknown_pixels_change_nothing(made: Pixels, level: int) -> None:
    target, probabilities = made
    changed = np.where(target == IGNORE_INDEX, np.uint8(level), probabilities)
    assert np.array_equal(levels_of(target, probabilities, CLASSES), levels_of(target, changed, CLASSES))


@given(pixels())
def test_the_calibration_error_is_that_of_its_definition(made: Pixels) -> None:
    target, probabilities = made
    known = target != IGNORE_INDEX
    levels = levels_of(target, probabilities, CLASSES)[1]
    if not known.any():
        assert calibration_error(reliability(levels)) is None
        return
    probability, truth = probabilities[1][known] / 255, target[known] == 1
    place = np.minimum((probabilities[1][known].astype(int) * 15) // 255, 14)
    gaps = [
        (place == b).mean() * abs(probability[place == b].mean() - truth[place == b].mean())
        for b in range(15)
        if (place == b).any()
    ]
    assert calibration_error(reliability(levels)) == pytest.approx(sum(gaps))
    assert sum(row.pixels for row in reliability(levels)) == known.sum()
    assert all(row.low - 1e-9 <= row.predicted <= row.high + 1e-9 for row in reliability(levels))


def test_a_sure_and_wrong_predictor_is_as_badly_calibrated_as_can_be() -> None:
    target = np.array([0, 0, 1, 1], np.uint8)
    right = np.array([[255, 255, 0, 0], [0, 0, 255, 255]], np.uint8)
    assert [calibration_error(reliability(x)) for x in levels_of(target, right, 2)] == [0.0, 0.0]
    assert [calibration_error(reliability(x)) for x in levels_of(target, right[::-1], 2)] == [1.0, 1.0]
    assert [roc_auc(x) for x in levels_of(target, right, 2)] == [1.0, 1.0]
    assert [roc_auc(x) for x in levels_of(target, right[::-1], 2)] == [0.0, 0.0]


def test_counts_of_whole_slides_do_not_overflow() -> None:
    levels = np.zeros((2, 256), np.int64)
    levels[0, 10] = levels[1, 20] = 10**10
    levels[0, 20] = 10**10
    assert roc_auc(levels) == pytest.approx(0.75)
    assert average_precision(levels) == pytest.approx(0.5)
