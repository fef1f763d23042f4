"""The loss of networks whose branches answer, too: a weighted sum over all answers, on the same targets.

A branch that sees surroundings answers for the middle of them, where the tile is, resized to the tile. What lies around
it is seen and not asked about: the tiles beside it ask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qpkit.errors import ConfigError
from qpkit_train.losses.loss import Loss
from qpkit_train.recipe.settings import LossConfig


def branch_weights(config: LossConfig, network: torch.nn.Module) -> tuple[float, ...]:
    """The weight of the network's own answer, 1, and that of each of its branches.

    Raises:
        ConfigError: The recipe weighs branches that the network does not have.
    """
    there, weights = int(getattr(network, "branches", 0)), config.branch_weights
    if weights and len(weights) != there:
        raise ConfigError(f"loss.branch_weights = {weights}: the network has {_counted(there)}; give as many weights")
    return 1.0, *(weights or [0.0] * there)


def loss_of_all(loss: Loss, logits: Tensor, target: Tensor, weights: Sequence[float]) -> Tensor:
    """Add up the loss of every answer that has a weight.

    Args:
        loss: Of one answer.
        logits: (n, answers * classes, h, w), the network's own first.
        target: (n, h, w) int64.
        weights: One for each answer.
    """
    if len(weights) == 1:
        return loss(logits, target)
    answers = logits.chunk(len(weights), dim=1)
    # Zero times a branch: its parameters take part in every step, as several processes expect of all.
    idle = logits.sum() * 0
    return sum((w * loss(answer, target) for w, answer in zip(weights, answers, strict=True) if w), start=idle)


def _counted(branches: int) -> str:
    return "1 branch that answers" if branches == 1 else f"{branches} branches that answer"
