"""The loss of networks that answer several times in training: a weighted sum over all answers.

Coarser answers (deep supervision) count half of the next finer one, and all of them together 1: Isensee et al. 2021,
nnU-Net. Branches answer at the size of the tile, and count what the recipe says. One that sees surroundings answers for
the middle of them, where the tile is: what lies around it is seen and not asked about, as the tiles beside it ask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qpkit.errors import ConfigError
from qpkit_train.losses.loss import Loss
from qpkit_train.recipe.settings import LossConfig


def target_of(logits: Tensor, target: Tensor) -> Tensor:
    """What an answer is held against: of a coarser one the class at the centre of each block.

    Args:
        logits: (n, classes, h, w).
        target: (n, h step, w step) int64.

    Returns:
        (n, h, w); the target itself where step is 1.
    """
    step = target.shape[-1] // logits.shape[-1]
    return target[:, step // 2 :: step, step // 2 :: step]


def level_weights(count: int) -> tuple[float, ...]:
    """What each of so many answers counts, finest first: half of the one before, 1 in all."""
    plain = [0.5**number for number in range(count)]
    return tuple(weight / sum(plain) for weight in plain)


def branch_weights(config: LossConfig, network: torch.nn.Module) -> tuple[float, ...] | None:
    """The weight of the network's own answer, 1, and that of each of its branches; None if it has none.

    Raises:
        ConfigError: The recipe weighs branches that the network does not have.
    """
    there, weights = int(getattr(network, "branches", 0)), config.branch_weights
    if weights and len(weights) != there:
        raise ConfigError(f"loss.branch_weights = {weights}: the network has {_counted(there)}; give as many weights")
    return (1.0, *(weights or [0.0] * there)) if there else None


def loss_of_answers(
    loss: Loss, answers: Sequence[tuple[Tensor, Tensor]], weights: Sequence[float] | None = None
) -> Tensor:
    """Score every answer that has a weight.

    Args:
        loss: Of one.
        answers: Logits and target of each, the network's own first.
        weights: As `branch_weights` gives them; None for those of levels.

    Returns:
        A scalar float32; of a single answer, its loss to the bit.
    """
    first, *others = zip(answers, level_weights(len(answers)) if weights is None else weights, strict=True)
    total = first[1] * loss(*first[0])
    for (logits, target), weight in others:
        # Zero times an answer: its parameters take part in every step, as several processes expect of all.
        total = total + (weight * loss(logits, target) if weight else logits.sum() * 0)
    return total


def _counted(branches: int) -> str:
    return "1 branch that answers" if branches == 1 else f"{branches} branches that answer"
