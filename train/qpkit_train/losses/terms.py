"""The terms that a loss is the sum of: cross-entropies, focal, OHEM, Dice, Tversky, Lovasz.

Every term leaves unknown pixels out of value and gradient, and is 0 with gradient 0 where every pixel is unknown. All
take logits (n, classes, h, w) float32 and a target (n, h, w) of int64 class indices or IGNORE_INDEX; class weights are
(classes,) float32, a pixel's weight by its true class, or for the terms about areas the class's weight in the mean.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX

_SMOOTH: Final = 1.0
"""Pixels added to both sides of the Dice quotient: a few false pixels on a tiny object do not make it jump."""


def pixel_losses(logits: Tensor, target: Tensor, *, sigmoid: bool) -> Tensor:
    """Cross-entropy of every pixel, (n, h, w): softmax, or the mean of each class against the rest (sigmoid).

    Unknown pixels have a value without meaning.
    """
    safe = torch.where(target != IGNORE_INDEX, target, 0)
    if not sigmoid:
        return F.cross_entropy(logits, safe, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, one_hot(safe, logits.shape[1]), reduction="none").mean(dim=1)


def cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None, *, sigmoid: bool) -> Tensor:
    """Weighted mean of the pixels' cross-entropies."""
    return _mean(pixel_losses(logits, target, sigmoid=sigmoid), pixel_weights(target, weights))


def focal(logits: Tensor, target: Tensor, weights: Tensor | None, *, sigmoid: bool, gamma: float) -> Tensor:
    """Cross-entropy of every pixel times (1 - chance of the truth) ** gamma; with sigmoid class by class.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection; without its alpha, for which class weights stand.
    """
    safe = torch.where(target != IGNORE_INDEX, target, 0)
    if sigmoid:
        truth = one_hot(safe, logits.shape[1])
        plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        per_pixel = (_miss(plain, gamma) * plain).mean(dim=1)
    else:
        plain = F.cross_entropy(logits, safe, reduction="none")
        per_pixel = _miss(plain, gamma) * plain
    return _mean(per_pixel, pixel_weights(target, weights))


def _miss(cross_entropy: Tensor, gamma: float) -> Tensor:
    """(1 - p) ** gamma where the cross-entropy is -log p; the slope at p = 1 is 0, also for gamma below 1."""
    missed = -torch.expm1(-cross_entropy)
    return torch.where(missed > 0, missed.clamp(min=1e-12) ** gamma, torch.zeros_like(missed))


def ohem(logits: Tensor, target: Tensor, weights: Tensor | None, *, sigmoid: bool, share: float) -> Tensor:
    """Mean cross-entropy of the hardest `share` of the known pixels of the batch (at least one).

    Source: Shrivastava et al. 2016, online hard example mining, on pixels. Weights count in the order, too.
    """
    chances = pixel_weights(target, weights)
    per_pixel = (pixel_losses(logits, target, sigmoid=sigmoid) * chances)[target != IGNORE_INDEX]
    if not per_pixel.numel():
        return logits.sum() * 0
    return per_pixel.topk(max(1, round(share * per_pixel.numel()))).values.mean()


def tversky(
    chance: Tensor, target: Tensor, weights: Tensor | None, *, background: int, alpha: float, beta: float
) -> Tensor:
    """1 - soft Tversky index over the whole batch, mean over the classes (without background) that the batch shows.

    index = TP / (TP + alpha FP + beta FN); alpha = beta = 0.5 is Dice.

    Source: Salehi et al. 2017, Tversky loss function for image segmentation.

    Args:
        chance: (n, classes, h, w) probabilities.
        target, weights: As everywhere here.
        background: Class index left out, unless it is the only one.
        alpha, beta: What a false positive and a false negative cost.
    """
    known = (target != IGNORE_INDEX).unsqueeze(1)
    truth = one_hot(torch.where(known.squeeze(1), target, 0), chance.shape[1]) * known
    chance = chance * known
    axes = (0, 2, 3)
    both, said, there = (chance * truth).sum(axes), chance.sum(axes), truth.sum(axes)
    size = alpha * (said - both) + beta * (there - both) + both
    loss = 1 - (both + _SMOOTH / 2) / (size + _SMOOTH / 2)
    return _class_mean(loss, there > 0, weights, background)


def lovasz(chance: Tensor, target: Tensor, weights: Tensor | None, *, background: int) -> Tensor:
    """Lovasz extension of 1 - IoU over the whole batch, mean over the classes (without background) that it shows.

    Source: Berman et al. 2018, The Lovasz-Softmax loss, equations 8 and 9.
    """
    known = target != IGNORE_INDEX
    flat = chance.movedim(1, -1)[known]
    truth = target[known]
    losses, shown = [], []
    for value in range(chance.shape[1]):
        inside = (truth == value).to(chance.dtype)
        errors, order = (inside - flat[:, value]).abs().sort(descending=True)
        losses.append((errors * _lovasz_slope(inside[order])).sum())
        shown.append(inside.sum() > 0)
    return _class_mean(torch.stack(losses), torch.stack(shown), weights, background)


def _lovasz_slope(inside: Tensor) -> Tensor:
    """Growth of 1 - IoU when the pixels, worst first, become errors one after the other: (pixels,)."""
    total = inside.sum()
    missed = inside.cumsum(0)
    jaccard = 1 - (total - missed) / (total + (1 - inside).cumsum(0)).clamp(min=1)
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def batch_weights(target: Tensor, classes: int) -> Tensor:
    """Weights from the batch itself: W_c = 1 - share of class c, scaled to mean 1 over the classes that it shows.

    A batch of one class gives 1. (classes,) float32; classes that are not there have weight 1.

    Source: systems.md 5 (dynamic class weights).
    """
    known = target[target != IGNORE_INDEX]
    counts = torch.bincount(known.flatten(), minlength=classes).float()
    shown = counts > 0
    plain = torch.where(shown, 1 - counts / counts.sum().clamp(min=1), torch.zeros_like(counts))
    mean = plain.sum() / shown.sum().clamp(min=1)
    return torch.where(shown & (mean > 0), plain / mean.clamp(min=1e-6), torch.ones_like(counts))


def one_hot(target: Tensor, classes: int) -> Tensor:
    """(n, classes, h, w) float32."""
    return F.one_hot(target, classes).movedim(-1, 1).float()


def pixel_weights(target: Tensor, weights: Tensor | None) -> Tensor:
    """(n, h, w) weight of every pixel by its class; 0 where it is unknown."""
    known = target != IGNORE_INDEX
    plain = known.float()
    return plain if weights is None else plain * weights[torch.where(known, target, 0)]


def _class_mean(loss: Tensor, shown: Tensor, weights: Tensor | None, background: int) -> Tensor:
    counted = shown.to(loss.dtype)
    if len(loss) > 1:
        counted = counted * (torch.arange(len(loss), device=loss.device) != background)
    return _mean(loss, counted if weights is None else counted * weights)


def _mean(loss: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean; 0 where all weights are 0."""
    return (loss * weights).sum() / weights.sum().clamp(min=1e-6)
