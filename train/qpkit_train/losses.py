"""What training makes small: cross-entropies and soft Dice that leave unknown pixels out.

A batch in which every pixel is unknown gives loss 0 and gradient 0, never NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from qpkit.ops.compare import IGNORE_INDEX
from qpkit_train.config import LossName

_SMOOTH: Final = 1.0
"""Pixels added to both sides of the Dice quotient: a few false pixels on a tiny object do not make it jump."""

Loss = Callable[[Tensor, Tensor], Tensor]


def uses_sigmoid(terms: LossName) -> bool:
    """Say whether the model's channels are independent (sigmoid) or share one softmax."""
    return terms.startswith("bce")


def make_loss(terms: LossName, *, background: int, class_weights: Tensor | None = None) -> Loss:
    """Build the loss of a recipe.

    Args:
        terms: Names joined by '+'; Dice takes the activation of the term beside it, alone a softmax.
        background: Class index that Dice leaves out of its mean.
        class_weights: (classes,) float32 weight of a pixel by its class, for bce and ce; None for all 1.

    Returns:
        loss(logits, target) -> scalar float32, with logits (n, classes, h, w) in any float and target (n, h, w)
        int64 class indices or IGNORE_INDEX.
    """
    names = terms.split("+")
    sigmoid = uses_sigmoid(terms)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        logits = logits.float()
        total = logits.new_zeros(())
        if "bce" in names:
            total = total + binary_cross_entropy(logits, target, class_weights)
        if "ce" in names:
            total = total + cross_entropy(logits, target, class_weights)
        if "dice" in names:
            chance = logits.sigmoid() if sigmoid else logits.softmax(dim=1)
            total = total + dice_loss(chance, target, background=background)
        return total

    return loss


def cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean softmax cross-entropy over known pixels, weighted by class: logits (n, c, h, w), target (n, h, w)."""
    known = target != IGNORE_INDEX
    safe = torch.where(known, target, 0)
    loss = F.cross_entropy(logits, safe, reduction="none")
    return _mean(loss, _weights(safe, known, class_weights))


def binary_cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean over known pixels and classes of sigmoid cross-entropy, each class against the rest."""
    known = target != IGNORE_INDEX
    safe = torch.where(known, target, 0)
    truth = _one_hot(safe, logits.shape[1])
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=1)
    return _mean(loss, _weights(safe, known, class_weights))


def dice_loss(chance: Tensor, target: Tensor, *, background: int) -> Tensor:
    """1 - soft Dice over the whole batch, mean over the classes (without background) that the batch shows.

    Args:
        chance: (n, classes, h, w) probabilities.
        target: (n, h, w) class indices or IGNORE_INDEX.
        background: Class index left out, unless it is the only one.
    """
    known = (target != IGNORE_INDEX).unsqueeze(1)
    truth = _one_hot(torch.where(known.squeeze(1), target, 0), chance.shape[1]) * known
    chance = chance * known
    axes = (0, 2, 3)
    overlap, sizes, shown = (chance * truth).sum(axes), (chance + truth).sum(axes), truth.sum(axes) > 0
    loss = 1 - (2 * overlap + _SMOOTH) / (sizes + _SMOOTH)
    counted = shown.clone()
    if chance.shape[1] > 1:
        counted[background] = False
    return _mean(loss, counted.to(loss.dtype))


def _one_hot(target: Tensor, classes: int) -> Tensor:
    """(n, classes, h, w) float32."""
    return F.one_hot(target, classes).movedim(-1, 1).float()


def _weights(target: Tensor, known: Tensor, class_weights: Tensor | None) -> Tensor:
    weights = known.float()
    return weights if class_weights is None else weights * class_weights[target]


def _mean(loss: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean; 0 where all weights are 0."""
    return (loss * weights).sum() / weights.sum().clamp(min=1e-6)
