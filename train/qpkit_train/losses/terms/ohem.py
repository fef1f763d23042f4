"""Online hard example mining: the pixels that are most wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit.settings import Range
from qpkit_train.losses.terms import Scored, Term

if TYPE_CHECKING:
    from torch import Tensor


class Ohem(Term, frozen=True, kw_only=True):
    """Mean cross-entropy (of ce, or bce) of the hardest of the known pixels of the batch, at least one.

    Weights count in the order of hardness, too.

    Args:
        ohem_fraction: Fraction of the known pixels, the hardest ones, that "ohem" looks at.

    Source: Shrivastava et al. 2016, online hard example mining, on pixels.
    """

    ohem_fraction: Annotated[float, Range(above=0, at_most=1)] = 0.25

    name: ClassVar = "ohem"

    def value(self, scored: Scored) -> Tensor:
        """The loss of a batch."""
        from qpkit_train.losses.pixels import pixel_losses, pixel_weights

        losses = pixel_losses(scored.logits, scored.target, sigmoid=scored.sigmoid)
        known = (losses * pixel_weights(scored.target, scored.weights))[scored.target != IGNORE_INDEX]
        if not known.numel():
            return scored.logits.sum() * 0
        return known.topk(max(1, round(self.ohem_fraction * known.numel()))).values.mean()
