"""Cross-entropy of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from qpkit_train.losses.terms import Scored, Term

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(Term, frozen=True, kw_only=True):
    """-log p of each known pixel, weighted mean.

    p is the probability of the true class.
    """

    name: ClassVar = "ce"

    def value(self, scored: Scored) -> Tensor:
        """The loss of a batch."""
        from qpkit_train.losses.pixels import pixel_losses, pixel_weights, weighted_mean

        losses = pixel_losses(scored.logits, scored.target, sigmoid=scored.sigmoid)
        return weighted_mean(losses, pixel_weights(scored.target, scored.weights))
