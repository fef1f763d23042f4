"""Random numbers of augmentation: which images of a batch are changed. Drawn for all of them, whatever they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Stream = Callable[[str], np.random.Generator]
"""Random numbers of a change, by its name; the same ones each time that it is asked."""


class Rows(np.random.Generator):
    """Draws for a whole batch and gives the rows of one process's part, so that all see what a single one would.

    Args:
        key: Of the stream.
        first: Row of the whole batch that the part begins with.
        total: Rows of the whole batch; what fills up a part beyond it gets the last one's numbers.
    """

    def __init__(self, key: Sequence[int], *, first: int, total: int) -> None:
        super().__init__(np.random.PCG64(np.random.SeedSequence(key)))
        self._first, self._total = first, total

    def random(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As Generator.random; the first axis of `size` counts images."""
        return self._part(size, lambda whole: super(Rows, self).random(whole, *args, **kwargs))

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """As Generator.uniform; the first axis of `size` counts images."""
        return self._part(size, lambda whole: super(Rows, self).uniform(low, high, whole))

    def integers(self, low: Any, high: Any = None, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As Generator.integers; the first axis of `size` counts images."""
        return self._part(size, lambda whole: super(Rows, self).integers(low, high, whole, *args, **kwargs))

    def _part(self, size: Any, draw: Callable[[tuple[int, ...]], Any]) -> Any:
        count, *shape = (size,) if isinstance(size, int) else size
        rows = np.minimum(np.arange(self._first, self._first + count), self._total - 1)
        return draw((self._total, *shape))[rows]


def chosen_of(rng: np.random.Generator, count: int, probability: float) -> NDArray[np.int64]:
    """Choose among `count` images, each with a probability; one number is drawn for each."""
    return np.flatnonzero(rng.random(count) < probability)


def replaced(batch: Tensor, chosen: NDArray[np.int64], change: Callable[[Tensor], Tensor]) -> Tensor:
    """Give the batch (n, ...) with some of its images changed together; the others keep their bits."""
    if not len(chosen):
        return batch
    import torch

    at = torch.from_numpy(chosen).to(batch.device)
    return batch.index_copy(0, at, change(batch[at]))


def like(values: NDArray[np.float64], images: Tensor) -> Tensor:
    """Numbers in the images' type and on their device."""
    import torch

    return torch.as_tensor(values, dtype=images.dtype, device=images.device)


def drawn_for(
    draw: Callable[[np.random.Generator, int], NDArray[np.float64]],
    rng: np.random.Generator,
    count: int,
    probability: float,
    *,
    is_on: bool,
    still: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Draw numbers for `count` images, those of standing still for those left out; also which were not left out."""
    moved = np.zeros(count, bool)
    if not is_on:
        return np.broadcast_to(still, (count, *still.shape)), moved
    moved[chosen_of(rng, count, probability)] = True
    return np.where(moved.reshape(-1, *[1] * still.ndim), draw(rng, count), still), moved
