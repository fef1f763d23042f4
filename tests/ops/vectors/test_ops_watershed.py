from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from qpkit.ops.vectors.distance import distance_inside
from qpkit.ops.vectors.watershed import numbered, split_strips


def discs(*places: tuple[int, int, int], shape: tuple[int, int] = (60, 80), value: int = 1) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    made = np.zeros(shape, np.uint8)
    for x, y, radius in places:
        made[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = value
    return made


def test_two_discs_that_touch_are_two_objects_cut_where_they_touch() -> None:
    labels = discs((20, 30, 12), (42, 30, 12))
    numbers = numbered(labels, skip={0}, distance_px=5, width=80)
    assert np.array_equal(numbers > 0, labels > 0)
    left, right = 1 + 30 * 80 + 20, 1 + 30 * 80 + 42
    assert set(np.unique(numbers).tolist()) == {0, left, right}
    columns = np.arange(80)[None].repeat(60, 0)
    assert columns[numbers == left].max() <= 31 <= columns[numbers == right].min() + 1


def test_labels_are_cut_apart_from_each_other_and_specks_are_objects() -> None:
    labels = discs((20, 30, 12)) + discs((42, 30, 9), value=2)
    labels[labels > 2] = 1
    labels[2, 70] = 1
    numbers = numbered(labels, skip={0}, distance_px=9, width=80)
    assert np.array_equal(numbers > 0, labels > 0)
    assert len(np.unique(numbers)) == 4  # with the 0
    assert (numbers == 1 + 2 * 80 + 70).sum() == 1
    for value in (1, 2):
        assert len(np.unique(numbers[labels == value])) == 3 - value


@pytest.mark.parametrize(("rows", "block"), [(64, 100), (130, 77), (500, 64)])
def test_blocks_do_not_change_objects(rows: int, block: int) -> None:
    rng = np.random.default_rng(3)
    places = [(int(x), int(y), 4 + number % 5) for number, (x, y) in enumerate(rng.integers(0, 400, (150, 2)))]
    labels = discs(*places, shape=(400, 420))
    whole = numbered(labels, skip={0}, distance_px=4, width=420)
    strips = split_strips(
        lambda x, y, width, height: labels[y : y + height, x : x + width],
        420, 400, skip={0}, distance_px=4, rows=rows, block=block,
    )  # fmt: skip
    assert np.array_equal(np.concatenate(list(strips)), whole)


def test_markers_farther_apart_make_fewer_objects() -> None:
    rng = np.random.default_rng(1)
    labels = discs(*[(int(x), int(y), 7) for x, y in rng.integers(0, 200, (60, 2))], shape=(200, 200))
    counts = [len(np.unique(numbered(labels, skip={0}, distance_px=d, width=200))) for d in (3, 6, 12, 24)]
    assert all(more >= fewer for more, fewer in pairwise(counts))
    assert counts[0] > counts[-1]


@given(st.integers(0, 1 << 30), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.1, 0.5, 0.95, 1.0]))
def test_distances_are_those_of_scipy(seed: int, height: int, width: int, inside: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < inside
    mask[0, 0] = False  # scipy's distance to nothing is another number
    assert distance_inside(mask) == pytest.approx(ndimage.distance_transform_edt(mask), abs=1e-4)
