"""The loss of a recipe: a weighted sum of terms."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from qpkit_train.losses.activation import uses_sigmoid
from qpkit_train.losses.pixels import batch_weights
from qpkit_train.losses.sums import parse_terms
from qpkit_train.losses.terms import Scored, loss_terms
from qpkit_train.recipe.settings import LossConfig

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(config: LossConfig, *, background: int, class_weights: Tensor | None = None) -> Loss:
    """Build the loss of a recipe.

    Args:
        config: Terms and their settings. All terms take the activation that "bce" (sigmoid) or its absence (softmax)
            says.
        background: Class index that the terms about areas leave out of their mean.
        class_weights: (classes,) float32; None for all 1. Not with "dynamic" weights, which come from each batch.

    Returns:
        loss(logits, target) -> scalar float32, with logits (n, classes, h, w) in any float and target (n, h, w)
        int64 class indices or IGNORE_INDEX.
    """
    terms = [(factor, loss_terms()[name].of(config)) for factor, name in parse_terms(config.terms)]
    sigmoid = uses_sigmoid(config.terms)
    is_dynamic = config.class_weights == "dynamic"

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        # Sums over a batch need more digits than 16 bits have.
        logits = logits.float()
        scored = Scored(
            logits,
            target,
            batch_weights(target, logits.shape[1]) if is_dynamic else class_weights,
            sigmoid,
            background,
        )
        total = logits.new_zeros(())
        for factor, term in terms:
            total = total + factor * term.value(scored)
        return total

    return loss
