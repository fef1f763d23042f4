"""What training makes small: a weighted sum of terms, as the recipe names them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from qpkit_train.losses import terms as loss_terms
from qpkit_train.losses.activation import probabilities_of, uses_sigmoid
from qpkit_train.recipe.rules import parse_terms
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
    terms = parse_terms(config.terms)
    sigmoid = uses_sigmoid(config.terms)
    is_dynamic = config.class_weights == "dynamic"

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        logits = logits.float()
        weights = loss_terms.batch_weights(target, logits.shape[1]) if is_dynamic else class_weights
        total = logits.new_zeros(())
        for factor, name in terms:
            total = total + factor * _term(name, logits, target, weights)
        return total

    def _term(name: str, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        if name in ("ce", "bce"):
            return loss_terms.cross_entropy(logits, target, weights, sigmoid=sigmoid)
        if name == "focal":
            return loss_terms.focal(logits, target, weights, sigmoid=sigmoid, gamma=config.focal_gamma)
        if name == "ohem":
            return loss_terms.ohem(logits, target, weights, sigmoid=sigmoid, share=config.ohem_share)
        chance = probabilities_of(logits, sigmoid=sigmoid)
        if name == "lovasz":
            return loss_terms.lovasz(chance, target, weights, background=background)
        alpha, beta = (0.5, 0.5) if name == "dice" else (config.tversky_alpha, config.tversky_beta)
        return loss_terms.tversky(chance, target, weights, background=background, alpha=alpha, beta=beta)

    return loss
