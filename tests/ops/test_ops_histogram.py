from __future__ import annotations

import numpy as np
import pytest

from qpkit.ops.histogram import histogram


@pytest.mark.parametrize("shape", [(7, 9), (1024, 1024), (1025, 1027), (3, 700_001)])
@pytest.mark.parametrize("runs", [1, 5, 300])
def test_counts_are_those_of_numpy(shape: tuple[int, int], runs: int) -> None:
    rng = np.random.default_rng(1)
    size = shape[0] * shape[1]
    mask = np.repeat(rng.integers(0, 256, size // runs + 1).astype(np.uint8), runs)[:size].reshape(shape)
    assert np.array_equal(histogram(mask), np.bincount(mask.ravel(), minlength=256))
    assert np.array_equal(histogram(mask.T), histogram(mask))
    assert np.array_equal(histogram(mask[:, ::2]), np.bincount(mask[:, ::2].ravel(), minlength=256))
