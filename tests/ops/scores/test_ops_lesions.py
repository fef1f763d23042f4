from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.measure import label

from qpkit.ops.scores.lesions import LesionCounts, LesionTally

Mask = NDArray[np.uint8]

BACKGROUND, IGNORE = 0, 255


def masks(values: tuple[int, ...]) -> st.SearchStrategy[tuple[Mask, Mask]]:
    """Two rasters of the same small size, (truth, predicted)."""
    element = st.sampled_from(values)

    @st.composite
    def both(draw: st.DrawFn) -> tuple[Mask, Mask]:
        shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
        predicted = draw(arrays(np.uint8, shape, elements=st.sampled_from([v for v in values if v != IGNORE])))
        return draw(arrays(np.uint8, shape, elements=element)), predicted

    return both()


PAIRS = masks((0, 0, 1, 1, 2, IGNORE))


def count(
    truth: Mask, predicted: Mask, *, rows: int = 1000, overlap: float = 0.5, min_px: float = 0
) -> dict[int, LesionCounts]:
    tally = LesionTally(background=BACKGROUND, ignore=IGNORE)
    for y in range(0, len(truth), rows):
        tally.add(truth[y : y + rows], predicted[y : y + rows])
    return tally.count((1, 2), overlap=overlap, min_px=min_px)


def areas(mask: Mask, value: int) -> list[frozenset[int]]:
    """Flat pixel numbers of each 4-connected area."""
    numbers = label(mask == value, connectivity=1).ravel()
    return [frozenset(np.flatnonzero(numbers == i).tolist()) for i in range(1, numbers.max(initial=0) + 1)]


def most_pairs(pairs: set[tuple[int, int]]) -> int:
    """Largest matching by trying out."""
    if not pairs:
        return 0
    (a, b), *_ = sorted(pairs)
    without = most_pairs(pairs - {(a, b)})
    return max(without, 1 + most_pairs({(x, y) for x, y in pairs if x != a and y != b}))


@given(PAIRS, st.sampled_from([0.3, 0.5, 0.75, 1.0]), st.integers(0, 4))
def test_lesions_are_counted_as_the_definition_says(both: tuple[Mask, Mask], overlap: float, min_px: int) -> None:
    truth, predicted = both
    known = np.where(truth == IGNORE, BACKGROUND, predicted).astype(np.uint8)
    for value, found in count(truth, predicted, overlap=overlap, min_px=min_px).items():
        true, said = areas(truth, value), areas(known, value)
        pixels = set(np.flatnonzero(known == value).tolist())
        pairs = {(i, j) for i, a in enumerate(true) for j, b in enumerate(said) if len(a & b) >= overlap * len(a | b)}
        assert found.total == len(true)
        assert found.found == sum(len(a & pixels) >= overlap * len(a) for a in true)
        assert found.matched == most_pairs(pairs)
        large = {(i, j) for i, j in pairs if len(said[j]) >= min_px}
        false_alarms = sum(len(b) >= min_px for b in said) - most_pairs(large)
        assert found.predicted == found.matched + false_alarms
        assert found.predicted + found.too_small == len(said)


@given(PAIRS, st.integers(1, 4))
def test_strips_do_not_change_the_lesions(both: tuple[Mask, Mask], rows: int) -> None:
    assert count(*both, rows=rows, min_px=2) == count(*both, min_px=2)


@given(PAIRS, st.integers(0, 2))
def test_what_is_predicted_where_nothing_is_known_changes_no_lesion(both: tuple[Mask, Mask], value: int) -> None:
    truth, predicted = both
    assert count(truth, np.where(truth == IGNORE, np.uint8(value), predicted)) == count(truth, predicted)


@given(PAIRS, st.integers(0, 50))
def test_the_truth_itself_has_every_lesion_whatever_the_smallest_area(both: tuple[Mask, Mask], min_px: int) -> None:
    truth = both[0]
    for found in count(truth, np.where(truth == IGNORE, np.uint8(2), truth), min_px=min_px).values():
        assert found.total == found.found == found.matched == found.predicted
        assert found.f1 in (None, 1.0)
        assert found.too_small == 0


@given(PAIRS)
def test_other_numbers_for_the_classes_change_no_lesion(both: tuple[Mask, Mask]) -> None:
    swap = np.arange(256, dtype=np.uint8)
    swap[[1, 2]] = 2, 1
    plain, swapped = count(*both), count(swap[both[0]], swap[both[1]])
    assert (plain[1], plain[2]) == (swapped[2], swapped[1])


@given(st.lists(PAIRS, min_size=2, max_size=2))
def test_slides_add_up(slides: list[tuple[Mask, Mask]]) -> None:
    first, second = (count(*both) for both in slides)
    both = first[1] + second[1]
    assert both.total == first[1].total + second[1].total
    assert both.f1 == (2 * both.matched / (both.total + both.predicted) if both.total + both.predicted else None)


def test_a_predicted_lesion_over_two_true_ones_is_one_of_them_at_most() -> None:
    truth = np.zeros((3, 7), np.uint8)
    truth[:, :3] = truth[:, 4:] = 1
    predicted = np.ones_like(truth)
    (found, _) = count(truth, predicted).values()
    assert (found.total, found.found, found.matched, found.predicted) == (2, 2, 0, 1)
    (found, _) = count(truth, predicted, overlap=0.4).values()
    assert (found.matched, found.recall, found.precision) == (1, 0.5, 1.0)
    assert found.f1 == pytest.approx(2 / 3)


def test_small_false_alarms_count_neither_way_and_are_counted() -> None:
    truth = np.zeros((9, 9), np.uint8)
    truth[0:3, 0:3] = 1
    predicted = truth.copy()
    predicted[5:7, 5:7] = predicted[8, 0] = 1
    assert [count(truth, predicted, min_px=m)[1].predicted for m in (0, 2, 5)] == [3, 2, 1]
    assert [count(truth, predicted, min_px=m)[1].too_small for m in (0, 2, 5)] == [0, 1, 2]


def test_areas_that_meet_only_further_down_are_one() -> None:
    fork = np.array([[1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]], np.uint8)
    for rows in (1, 2, 3):
        assert count(fork, fork, rows=rows)[1].total == 1
    assert count(fork[:2], fork[:2], rows=1)[1].total == 3
    for order in permutations(range(3)):
        turned = fork[list(order)]
        assert count(turned, turned, rows=1)[1].total == len(areas(turned, 1))
