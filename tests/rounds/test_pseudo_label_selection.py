"""Which predicted pixels become labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpkit.rounds.pseudo_labels.selection import Rule, Surest

LEVELS = 20
NONE = 255


def drawn(seed: int, tiles: int = 4, classes: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Few levels, so that many pixels are equally sure."""
    rng = np.random.default_rng(seed)
    return [
        (
            rng.choice([*range(classes), NONE], size=(9, 7)).astype(np.uint8),
            rng.integers(LEVELS // 2, LEVELS + 1, size=(9, 7)).astype(np.uint16),
        )
        for _ in range(tiles)
    ]


def counted(tiles: list[tuple[np.ndarray, np.ndarray]], classes: int = 3) -> np.ndarray:
    return np.array(
        [sum(np.bincount(sure[of == index], minlength=LEVELS + 1) for of, sure in tiles) for index in range(classes)]
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.data())
def test_exactly_so_many_are_kept_and_none_that_is_left_out_is_surer(seed: int, data: st.DataObject) -> None:
    tiles = drawn(seed)
    counts = counted(tiles)
    kept = [data.draw(st.integers(0, int(row.sum()))) for row in counts]
    surest, again = Surest(counts, kept), Surest(counts, kept)
    chosen = [surest.of(*tile) for tile in tiles]
    assert all((one == again.of(*tile)).all() for one, tile in zip(chosen, tiles, strict=True))
    of, sure = (np.stack(parts) for parts in zip(*tiles, strict=True))
    mask = np.stack(chosen)
    assert not mask[of == NONE].any()
    for index, number in enumerate(kept):
        inside, outside = sure[mask & (of == index)], sure[~mask & (of == index)]
        assert len(inside) == number
        if len(inside) and len(outside):
            assert inside.min() >= outside.max()
        if number:
            assert surest.least[index] == inside.min()


def test_pixels_that_are_equally_sure_are_kept_evenly_over_all_tiles() -> None:
    tiles = [(np.zeros((10, 10), np.uint8), np.full((10, 10), LEVELS, np.uint16)) for _ in range(5)]
    surest = Surest(counted(tiles, 1), [50])
    assert [int(surest.of(*tile).sum()) for tile in tiles] == [10] * 5


@pytest.mark.parametrize("quantile", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_a_quantile_keeps_the_stated_part_of_each_class_however_sure_it_is(quantile: float) -> None:
    counts = np.zeros((2, LEVELS + 1), np.int64)
    counts[0, LEVELS], counts[1, 8] = 1000, 50  # a common class that is sure, a rare one that is not
    kept = [Rule(quantile=quantile).kept(row) for row in counts]
    assert kept == [round((1 - quantile) * 1000), round((1 - quantile) * 50)]
    assert [Rule(threshold=0.95).kept(row) for row in counts] == [1000, 0]


def test_a_threshold_includes_its_own_level_and_above_1_there_is_none() -> None:
    row = np.ones(LEVELS + 1, np.int64)
    assert Rule(threshold=0.9).kept(row) == 3  # levels 18, 19, 20 of 20
    assert Rule(threshold=1.0).kept(row) == 1
    assert Rule(threshold=1.01).kept(row) == 0


def test_a_cap_is_kept() -> None:
    row = np.full(LEVELS + 1, 10, np.int64)
    assert Rule(threshold=0.5, most=7).kept(row) == 7
    assert Rule(quantile=0.5, most=10_000).kept(row) == 105
