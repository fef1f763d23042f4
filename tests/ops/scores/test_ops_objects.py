"""Objects against objects: what PQ, AJI and detection scores are, whatever the numbers and the strips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qpkit.ops.scores.objects import (
    THRESHOLDS,
    ObjectCounts,
    ObjectOverlaps,
    count_objects,
    object_confusion,
    object_overlaps,
)
from qpkit.ops.scores.pairs import Pairs, PairTally

Numbers = NDArray[np.int64]


@st.composite
def images(draw: st.DrawFn, *, most: int = 4) -> tuple[Numbers, Numbers]:
    """Truth and prediction of one small size; blocks, so that objects have more than one px."""
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    element = st.integers(0, most)
    true, predicted = (draw(arrays(np.int64, shape, elements=element)) for _ in range(2))
    wide = np.repeat(np.repeat(predicted, 2, axis=0), 2, axis=1)
    return np.repeat(np.repeat(true, 2, axis=0), 2, axis=1), np.roll(wide, draw(st.integers(0, 1)), axis=1)


def overlaps_of(true: NDArray[Any], predicted: NDArray[Any], *, rows: int = 1000) -> ObjectOverlaps:
    tally = PairTally()
    for y in range(0, len(true), rows):
        tally.add(true[y : y + rows], predicted[y : y + rows])
    return object_overlaps(tally.pairs())


def count(true: NDArray[Any], predicted: NDArray[Any], *, rows: int = 1000) -> ObjectCounts:
    return count_objects(overlaps_of(true, predicted, rows=rows))


def reference(true: Numbers, predicted: Numbers) -> dict[str, float]:
    """The definitions as they are written, with whole masks; thresholds and AJI pick as documented."""
    trues = {n: true == n for n in np.unique(true[true > 0]).tolist()}
    saids = {n: predicted == n for n in np.unique(predicted[predicted > 0]).tolist()}
    found: dict[str, float] = {"total": len(trues), "predicted": len(saids), "iou_sum": 0.0}
    for percent in THRESHOLDS:
        pairs = [
            (a & b).sum() / (a | b).sum()
            for a in trues.values()
            for b in saids.values()
            if 100 * (a & b).sum() > percent * (a | b).sum()
        ]
        found[f"above {percent}"] = len(pairs)
        found["iou_sum"] = found["iou_sum"] if percent > 50 else sum(pairs)
    shared, union, used = 0, 0, set()
    for a in trues.values():
        candidates = [
            ((a & b).sum() / (a | b).sum(), int((a & b).sum()), -int(np.flatnonzero(a & b)[0]), n)
            for n, b in saids.items()
            if (a & b).any()
        ]
        if candidates:
            n = max(candidates)[-1]
            used.add(n)
            shared, union = shared + int((a & saids[n]).sum()), union + int((a | saids[n]).sum())
        else:
            union += int(a.sum())
    union += sum(int(b.sum()) for n, b in saids.items() if n not in used)
    return found | {"aji_shared": shared, "aji_union": union}


def plain(counts: ObjectCounts) -> Mapping[str, float]:
    matched = {f"above {percent}": n for percent, n in zip(THRESHOLDS, counts.matched, strict=True)}
    names = ("total", "predicted", "iou_sum", "aji_shared", "aji_union")
    return matched | {name: getattr(counts, name) for name in names}


@given(images())
def test_objects_are_counted_as_the_definitions_say(both: tuple[Numbers, Numbers]) -> None:
    assert plain(count(*both)) == pytest.approx(reference(*both))


@given(images(), st.integers(1, 4))
def test_strips_of_any_height_give_the_same_counts(both: tuple[Numbers, Numbers], rows: int) -> None:
    assert count(*both, rows=rows) == count(*both)


@given(images(), st.permutations(range(1, 5)), st.permutations([7, 70_000, 3, 2**31 - 1]))
def test_what_the_numbers_are_does_not_matter(
    both: tuple[Numbers, Numbers], true: list[int], predicted: list[int]
) -> None:
    renamed = np.array([0, *true])[both[0]], np.array([0, *predicted])[both[1]]
    assert count(*renamed) == count(*both)


@given(images())
def test_the_truth_itself_scores_one(both: tuple[Numbers, Numbers]) -> None:
    true, _ = both
    counts = count(true, true)
    scores = counts.precision, counts.recall, counts.f1, counts.mean_ap, counts.sq, counts.pq, counts.aji
    assert scores == ((1.0,) * 7 if true.any() else (None,) * 7)
    assert set(counts.matched) == {counts.total}


@given(images())
def test_truth_and_prediction_may_change_places_but_for_the_aji(both: tuple[Numbers, Numbers]) -> None:
    one, other = count(*both), count(*both[::-1])
    assert (one.f1, one.pq, one.mean_ap, one.precision) == (other.f1, other.pq, other.mean_ap, other.recall)


def test_a_case_counted_by_hand() -> None:
    """Six true px against four of them and one more: IoU 4/7. One missed of 2 px, one false alarm of 1 px."""
    true = np.array([[1, 1, 1, 0, 2, 0], [1, 1, 1, 0, 2, 0]])
    said = np.array([[0, 5, 5, 5, 0, 0], [0, 5, 5, 0, 0, 9]])
    counts = count(true, said)
    assert (counts.total, counts.predicted, counts.matched) == (2, 2, (1, 1, *(0,) * 8))
    assert (counts.precision, counts.recall, counts.f1) == (0.5, 0.5, 0.5)
    assert counts.sq == pytest.approx(4 / 7) and counts.pq == pytest.approx(2 / 7)
    assert counts.mean_ap == pytest.approx(2 * (1 / 3) / 10)
    assert (counts.aji_shared, counts.aji_union) == (4, 7 + 2 + 1)


def test_at_an_iou_of_exactly_one_half_nothing_is_matched() -> None:
    """Here an object could have two partners: each half of it has an IoU of 0.5."""
    counts = count(np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]]))
    assert counts.matched == (0,) * 10 and counts.f1 == counts.pq == 0.0 and counts.sq is None
    # The AJI takes the half that comes first, and adds the other one below the line.
    assert counts.aji == 2 / (4 + 2)
    exact = count(np.array([[1, 1, 1, 1, 1]]), np.array([[1, 1, 1, 0, 0]]))
    assert exact.matched[:3] == (1, 1, 0)  # 0.6 is not above 0.6


def test_where_something_is_missing_scores_are_blank_or_zero() -> None:
    one, none = np.array([[1, 1]]), np.array([[0, 0]])
    missed, false = count(one, none), count(none, one)
    assert (missed.precision, missed.recall, missed.f1, missed.pq, missed.aji, missed.sq) == (None, 0, 0, 0, 0, None)
    assert (false.precision, false.recall, false.f1, false.pq, false.aji, false.sq) == (0, None, 0, 0, 0, None)
    assert count(none, none) == ObjectCounts() and ObjectCounts().mean_ap is None
    assert missed + false == ObjectCounts(total=1, predicted=1, aji_union=4)


def test_an_object_found_as_another_class_is_missed_there_and_false_here() -> None:
    overlaps = overlaps_of(np.array([[1, 1, 0, 2, 2, 3]]), np.array([[4, 4, 0, 5, 5, 0]]))
    true_class, said_class = np.array([0, 0, 1]), np.array([0, 1])  # 2 is found, as another class
    by_class = [count_objects(overlaps, true_class == k, said_class == k) for k in (0, 1)]
    assert [(c.total, c.predicted, c.matched[0]) for c in by_class] == [(2, 1, 1), (1, 1, 0)]
    assert by_class[0].aji == 2 / 4 and by_class[1].aji == 0
    assert count_objects(overlaps).matched[0] == 2
    confusion = object_confusion(overlaps, true_class, said_class, 2)
    assert confusion.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]


@given(images())
def test_every_object_is_in_the_confusion_once(both: tuple[Numbers, Numbers]) -> None:
    overlaps = overlaps_of(*both)
    classes = overlaps.true % 2, overlaps.predicted % 2
    confusion = object_confusion(overlaps, *classes, 2)
    assert confusion[:2].sum(axis=1).tolist() == np.bincount(classes[0], minlength=2).tolist()
    assert confusion[:, :2].sum(axis=0).tolist() == np.bincount(classes[1], minlength=2).tolist()
    assert confusion[:2, :2].sum() == count_objects(overlaps).matched[0]


@given(images())
def test_pairs_have_every_pixel_once_and_where_they_start(both: tuple[Numbers, Numbers]) -> None:
    true, said = both
    pairs = Pairs.of(true.ravel(), said.ravel())
    assert pairs.px.sum() == true.size
    for a, b, px, start in zip(pairs.first, pairs.second, pairs.px, pairs.start, strict=True):
        places = np.flatnonzero((true == a) & (said == b))
        assert (len(places), places[0]) == (px, start)
