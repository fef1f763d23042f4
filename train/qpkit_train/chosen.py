"""Which images of a batch a change falls on. Drawn for all of them, whatever they show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Stream = Callable[[str], np.random.Generator]
"""Random numbers of a change, by its name; the same ones each time that it is asked."""


def chosen_of(rng: np.random.Generator, count: int, probability: float) -> NDArray[np.int64]:
    """Choose among `count` images, each with a probability; one number is drawn for each."""
    return np.flatnonzero(rng.random(count) < probability)


def replaced(batch: Tensor, chosen: NDArray[np.int64], change: Callable[[Tensor], Tensor]) -> Tensor:
    """Give the batch (n, ...) with some of its images changed together; the others keep their bits."""
    if not len(chosen):
        return batch
    at = torch.from_numpy(chosen).to(batch.device)
    return batch.index_copy(0, at, change(batch[at]))


def like(values: NDArray[np.float64], images: Tensor) -> Tensor:
    """Numbers in the images' type and on their device."""
    return torch.as_tensor(values, dtype=images.dtype, device=images.device)
