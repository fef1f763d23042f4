"""What a training step of the plain U-Net (`models/own/nnunet.py`) takes, counted from its sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from qpkit_train.recipe.settings import OptimConfig

_BYTES: Final = 4
"""Of a number; what runs in 16 bits takes less."""

_KEPT: Final = {"sgd": 3, "adam": 4, "adamw": 4}
"""Numbers for each parameter, by optimizer: itself, its gradient, and one or two that the optimizer remembers."""

_OF_LOSS: Final = 6
"""Maps of the size of the logits that cross-entropy and Dice keep."""


def parameters(channels: Sequence[int], *, classes: int, coarser: int) -> int:
    """Numbers that the network learns.

    Args:
        channels: Of each stage, finest first.
        classes: Channels of each answer.
        coarser: Answers beside the finest.
    """
    total = sum(_twice(before, after) for before, after in pairwise((3, *channels)))
    total += sum(4 * coarse * fine + fine + _twice(2 * fine, fine) for fine, coarse in pairwise(channels))
    return total + sum((width + 1) * classes for width in channels[: 1 + coarser])


def step_bytes(
    channels: Sequence[int], *, classes: int, side: int, batch: int, optimizer: OptimConfig, coarser: int
) -> int:
    """Bytes that a step keeps at most: weights, gradients, the optimizer's numbers and what the way back needs.

    What convolutions take besides, to be fast, is not in it.

    Args:
        channels, classes, coarser: As in `parameters`.
        side: Of the crops, px, a multiple of 2 ** (stages - 1).
        batch: Crops.
        optimizer: Its name decides.
    """
    kept = _KEPT[optimizer.name] * parameters(channels, classes=classes, coarser=coarser)
    return _BYTES * (kept + batch * _numbers_per_crop(channels, classes=classes, side=side, coarser=coarser))


def _numbers_per_crop(channels: Sequence[int], *, classes: int, side: int, coarser: int) -> int:
    """What is kept for the way back: of each convolution its answer as it is, and normalised; what is put together."""
    total = 3 * side**2
    for stage, width in enumerate(channels):
        area = (side // 2**stage) ** 2
        is_coarsest = stage == len(channels) - 1
        total += area * width * (4 if is_coarsest else 4 + 4 + 2)
        if stage <= coarser:
            total += area * classes * _OF_LOSS
    return total


def _twice(channels: int, out: int) -> int:
    """Parameters of two convolutions of 3 x 3 px with biases, each with its norm."""
    return sum(9 * before * out + 3 * out for before in (channels, out))
