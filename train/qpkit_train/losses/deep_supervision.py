"""The loss of a network that answers at several sizes in training: each answer is scored, coarser ones count less.

Source: Isensee et al. 2021, nnU-Net: weights are halved from one answer to the next coarser one, and add up to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from qpkit_train.losses.loss import Loss


def coarser(target: Tensor, halvings: int) -> Tensor:
    """Class indices at half the size, so many times: the pixel at the centre of each block stands for it.

    Args:
        target: (n, h, w) int64, h and w multiples of 2 ** halvings.
        halvings: 0 gives the target itself.
    """
    step = 2**halvings
    return target[:, step // 2 :: step, step // 2 :: step]


def level_weights(count: int) -> list[float]:
    """What each of so many answers counts, finest first: half of the one before, 1 in all."""
    plain = [0.5**number for number in range(count)]
    return [weight / sum(plain) for weight in plain]


def loss_of_levels(loss: Loss, levels: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Score every answer.

    Args:
        loss: Of one.
        levels: Logits and targets (see `coarser`) of each, finest first.

    Returns:
        A scalar float32; of a single answer, its loss to the bit.
    """
    first, *others = [weight * loss(*level) for weight, level in zip(level_weights(len(levels)), levels, strict=True)]
    return sum(others, start=first)
