"""Binary cross-entropy of pixels: each class against the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from qpkit_train.losses.terms import Scored, Term

if TYPE_CHECKING:
    from torch import Tensor


class BinaryCrossEntropy(Term, frozen=True, kw_only=True):
    """-log p of each class against the rest, mean over classes, weighted mean over known pixels.

    It makes the classes independent (sigmoid) in all terms of the sum; without it they share a softmax.
    """

    name: ClassVar = "bce"
    sigmoid: ClassVar = True
    excludes: ClassVar = ("ce",)

    def value(self, scored: Scored) -> Tensor:
        """The loss of a batch."""
        from qpkit_train.losses.pixels import pixel_losses, pixel_weights, weighted_mean

        losses = pixel_losses(scored.logits, scored.target, sigmoid=scored.sigmoid)
        return weighted_mean(losses, pixel_weights(scored.target, scored.weights))
