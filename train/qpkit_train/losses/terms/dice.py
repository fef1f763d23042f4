"""Dice loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from qpkit_train.losses.terms import Scored, Term

if TYPE_CHECKING:
    from torch import Tensor


class Dice(Term, frozen=True, kw_only=True):
    """1 - 2 TP / (2 TP + FP + FN) on probabilities, over the whole batch, mean over classes without background."""

    name: ClassVar = "dice"

    def value(self, scored: Scored) -> Tensor:
        """The loss of a batch."""
        from qpkit_train.losses.overlap import overlap_loss

        return overlap_loss(scored, alpha=0.5, beta=0.5)
