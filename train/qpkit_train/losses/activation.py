"""From logits to probabilities: one softmax over the classes, or a sigmoid for each, as the loss has it."""

from __future__ import annotations

from torch import Tensor

from qpkit_train.losses.sums import parse_terms
from qpkit_train.losses.terms import loss_terms


def uses_sigmoid(terms: str) -> bool:
    """Say whether the model's channels are independent (sigmoid) or share one softmax: "bce" makes them so."""
    return any(loss_terms()[name].sigmoid for _, name in parse_terms(terms))


def probabilities_of(logits: Tensor, *, sigmoid: bool) -> Tensor:
    """Turn (n, classes, ...) logits into probabilities of the same shape."""
    return logits.sigmoid() if sigmoid else logits.softmax(dim=1)
