"""Errors by tile against plain numpy, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.validation.tile_errors import TileErrors


@settings(max_examples=25)
@given(st.integers(0, 2**16), st.integers(1, 6), st.integers(1, 4))
def test_a_tile_has_the_fraction_of_its_known_pixels_that_were_wrong_last(seed: int, tiles: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    errors = TileErrors(tiles, is_wanted=True)
    expected = np.full(tiles, np.nan)
    for _ in range(2):
        for _ in range(3):
            shown = rng.permutation(tiles)[:size]
            shown = np.where(rng.random(len(shown)) < 0.2, -1, shown)
            logits = rng.normal(size=(len(shown), 3, 4, 5)).astype(np.float32)
            targets = rng.choice([0, 1, 2, IGNORE_INDEX], size=(len(shown), 4, 5))
            errors.note(torch.from_numpy(shown), torch.from_numpy(logits), torch.from_numpy(targets))
            for i, tile in enumerate(shown):
                known = targets[i] != IGNORE_INDEX
                if tile >= 0:
                    wrong = (logits[i].argmax(axis=0) != targets[i])[known]
                    expected[tile] = wrong.mean() if known.any() else 0.0
        errors.settle()
        assert errors.of_tiles is not None
        np.testing.assert_allclose(errors.of_tiles, expected, rtol=1e-6)


def test_an_epoch_that_did_not_end_tells_nothing() -> None:
    errors = TileErrors(2, is_wanted=True)
    logits, targets = torch.tensor([[[[1.0]], [[0.0]]]]), torch.ones(1, 1, 1, dtype=torch.int64)
    errors.note(torch.tensor([1]), logits, targets)
    assert errors.of_tiles is not None and np.isnan(errors.of_tiles).all()
    errors.settle()
    assert errors.of_tiles[1] == 1
    errors.settle()
    assert errors.of_tiles[1] == 1 and np.isnan(errors.of_tiles[0])


def test_what_is_kept_comes_back_and_leaves_the_rest() -> None:
    errors = TileErrors(3, is_wanted=True)
    errors.note(torch.tensor([2]), torch.tensor([[[[1.0]], [[0.0]]]]), torch.zeros(1, 1, 1, dtype=torch.int64))
    errors.settle()
    kept = {**errors.tensors(), "0/momentum": torch.ones(1)}
    again = TileErrors(3, is_wanted=True)
    again.restore(kept)
    assert list(kept) == ["0/momentum"]
    np.testing.assert_array_equal(again.of_tiles, errors.of_tiles)
    again.restore({})
    np.testing.assert_array_equal(again.of_tiles, errors.of_tiles)


@pytest.mark.parametrize("kept", [{}, TileErrors(3, is_wanted=True).tensors()])
def test_what_nobody_wants_is_neither_noted_nor_kept(kept: dict[str, torch.Tensor]) -> None:
    errors = TileErrors(3, is_wanted=False)
    errors.restore(kept)
    errors.note(torch.tensor([0]), torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64))
    errors.settle()
    assert errors.of_tiles is None and errors.tensors() == {} and kept == {}
