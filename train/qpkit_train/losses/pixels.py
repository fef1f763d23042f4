"""What the terms of a loss are made of: cross-entropies of pixels, weights, means. Unknown pixels count nowhere.

Logits are (n, classes, h, w) float32, targets (n, h, w) int64 class indices or IGNORE_INDEX, class weights (classes,)
float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX


def pixel_losses(logits: Tensor, target: Tensor, *, sigmoid: bool) -> Tensor:
    """Cross-entropy of every pixel, (n, h, w): softmax, or the mean of each class against the rest (sigmoid).

    Unknown pixels have a value without meaning.
    """
    # IGNORE_INDEX is no class that torch could look up; `pixel_weights` leaves these pixels out.
    safe = torch.where(target != IGNORE_INDEX, target, 0)
    if not sigmoid:
        return F.cross_entropy(logits, safe, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, one_hot(safe, logits.shape[1]), reduction="none").mean(dim=1)


def batch_weights(target: Tensor, classes: int) -> Tensor:
    """Weights from the batch itself: W_c = 1 - fraction of class c, scaled to mean 1 over the classes that it shows.

    A batch of one class gives 1. (classes,) float32; classes that are not there have weight 1.

    Source: the dynamic class weights of a published two-branch segmentation of breast tissue.
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


def class_mean(loss: Tensor, shown: Tensor, weights: Tensor | None, background: int) -> Tensor:
    """Mean of (classes,) losses over the classes that a batch shows, without background unless it is the only one."""
    counted = shown.to(loss.dtype)
    if len(loss) > 1:
        counted = counted * (torch.arange(len(loss), device=loss.device) != background)
    return weighted_mean(loss, counted if weights is None else counted * weights)


def weighted_mean(loss: Tensor, weights: Tensor) -> Tensor:
    """Mean with weights; 0 where all weights are 0."""
    return (loss * weights).sum() / weights.sum().clamp(min=1e-6)
