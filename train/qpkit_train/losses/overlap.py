"""Soft overlap of classes with their areas: what Dice and Tversky are made of."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.losses.pixels import class_mean, one_hot
from qpkit_train.losses.terms import Scored

_SMOOTH: Final = 1.0
"""Pixels added to both sides of the Dice quotient: a few false pixels on a tiny object do not make it jump."""


def overlap_loss(scored: Scored, *, alpha: float, beta: float) -> Tensor:
    """1 - soft Tversky index over the whole batch, mean over the classes (without background) that the batch shows.

    index = TP / (TP + alpha FP + beta FN); alpha = beta = 0.5 is Dice.

    Source: Salehi et al. 2017, Tversky loss function for image segmentation.

    Args:
        scored: Its background is left out, unless it is the only class.
        alpha, beta: What a false positive and a false negative cost.
    """
    known = (scored.target != IGNORE_INDEX).unsqueeze(1)
    truth = one_hot(torch.where(known.squeeze(1), scored.target, 0), scored.logits.shape[1]) * known
    probability = scored.probabilities() * known
    axes = (0, 2, 3)
    both, predicted, there = (probability * truth).sum(axes), probability.sum(axes), truth.sum(axes)
    size = alpha * (predicted - both) + beta * (there - both) + both
    loss = 1 - (both + _SMOOTH / 2) / (size + _SMOOTH / 2)
    return class_mean(loss, there > 0, scored.weights, scored.background)
