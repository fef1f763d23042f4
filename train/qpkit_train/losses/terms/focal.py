"""Focal loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit.settings import Range
from qpkit_train.losses.terms import Scored, Term

if TYPE_CHECKING:
    from torch import Tensor


class Focal(Term, frozen=True, kw_only=True):
    """-(1 - p)^gamma log p of each known pixel, with sigmoid class by class.

    Args:
        focal_gamma: How much less a pixel counts the surer the model is of it.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection; without its alpha, for which class weights stand.
    """

    focal_gamma: Annotated[float, Range(at_least=0)] = 2.0

    name: ClassVar = "focal"

    def value(self, scored: Scored) -> Tensor:
        """The loss of a batch."""
        import torch
        import torch.nn.functional as F

        from qpkit_train.losses.pixels import one_hot, pixel_weights, weighted_mean

        safe = torch.where(scored.target != IGNORE_INDEX, scored.target, 0)
        if scored.sigmoid:
            truth = one_hot(safe, scored.logits.shape[1])
            plain = F.binary_cross_entropy_with_logits(scored.logits, truth, reduction="none")
            per_pixel = (_miss(plain, self.focal_gamma) * plain).mean(dim=1)
        else:
            plain = F.cross_entropy(scored.logits, safe, reduction="none")
            per_pixel = _miss(plain, self.focal_gamma) * plain
        return weighted_mean(per_pixel, pixel_weights(scored.target, scored.weights))


def _miss(cross_entropy: Tensor, gamma: float) -> Tensor:
    """(1 - p) ** gamma where the cross-entropy is -log p; the slope at p = 1 is 0, also for gamma below 1."""
    import torch

    missed = -torch.expm1(-cross_entropy)
    return torch.where(missed > 0, missed.clamp(min=1e-12) ** gamma, torch.zeros_like(missed))
