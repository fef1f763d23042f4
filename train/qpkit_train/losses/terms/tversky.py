"""Tversky loss: Dice with costs of its own for both kinds of mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from qpkit.settings import Range
from qpkit_train.losses.terms import Scored, Term

if TYPE_CHECKING:
    from torch import Tensor


class Tversky(Term, frozen=True, kw_only=True):
    """1 - TP / (TP + alpha FP + beta FN) on probabilities, over the whole batch, mean over classes without background.

    alpha = beta = 0.5 is Dice.

    Args:
        tversky_alpha: What false positives cost in "tversky".
        tversky_beta: What false negatives cost in "tversky".

    Source: Salehi et al. 2017, Tversky loss function for image segmentation.
    """

    tversky_alpha: Annotated[float, Range(above=0)] = 0.3
    tversky_beta: Annotated[float, Range(above=0)] = 0.7

    name: ClassVar = "tversky"

    def value(self, scored: Scored) -> Tensor:
        """The loss of a batch."""
        from qpkit_train.losses.overlap import overlap_loss

        return overlap_loss(scored, alpha=self.tversky_alpha, beta=self.tversky_beta)
