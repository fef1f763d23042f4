"""Soft overlap of classes with their areas: what Dice and Tversky are made of."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.losses.pixels import class_mean, one_hot

_SMOOTH: Final = 1.0
"""Pixels added to both sides of the Dice quotient: a few false pixels on a tiny object do not make it jump."""


def overlap_loss(
    probability: Tensor, target: Tensor, weights: Tensor | None, *, background: int, alpha: float, beta: float
) -> Tensor:
    """1 - soft Tversky index over the whole batch, mean over the classes (without background) that the batch shows.

    index = TP / (TP + alpha FP + beta FN); alpha = beta = 0.5 is Dice.

    Source: Salehi et al. 2017, Tversky loss function for image segmentation.

    Args:
        probability: (n, classes, h, w) probabilities.
        target, weights: As everywhere here.
        background: Class index left out, unless it is the only one.
        alpha, beta: What a false positive and a false negative cost.
    """
    known = (target != IGNORE_INDEX).unsqueeze(1)
    truth = one_hot(torch.where(known.squeeze(1), target, 0), probability.shape[1]) * known
    probability = probability * known
    axes = (0, 2, 3)
    both, predicted, there = (probability * truth).sum(axes), probability.sum(axes), truth.sum(axes)
    size = alpha * (predicted - both) + beta * (there - both) + both
    loss = 1 - (both + _SMOOTH / 2) / (size + _SMOOTH / 2)
    return class_mean(loss, there > 0, weights, background)
