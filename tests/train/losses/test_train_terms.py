"""Each term of a loss against its formula written out in numpy, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.losses.activation import probabilities_of, uses_sigmoid
from qpkit_train.losses.overlap import overlap_loss
from qpkit_train.losses.terms import Scored, Term, loss_terms
from qpkit_train.losses.terms.binary_cross_entropy import BinaryCrossEntropy
from qpkit_train.losses.terms.cross_entropy import CrossEntropy
from qpkit_train.losses.terms.dice import Dice
from qpkit_train.losses.terms.focal import Focal
from qpkit_train.losses.terms.lovasz import Lovasz
from qpkit_train.losses.terms.ohem import Ohem
from qpkit_train.losses.terms.tversky import Tversky

CLASSES, BACKGROUND = 3, 0
Floats = NDArray[np.float64]


@st.composite
def scores(draw: st.DrawFn) -> Scored:
    """Two little pictures, some pixels unknown; weights or none; either activation."""
    seed = draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    chances = draw(st.sampled_from([(0.4, 0.3, 0.2, 0.1), (1, 0, 0, 0), (0, 0, 0.5, 0.5)]))
    target = rng.choice([0, 1, 2, IGNORE_INDEX], (2, 3, 4), p=chances)
    weights = draw(st.sampled_from([None, (1.0, 2.0, 0.5)]))
    return Scored(
        torch.from_numpy(rng.normal(0, 2, (2, CLASSES, 3, 4))).float(),
        torch.from_numpy(target.astype(np.int64)),
        None if weights is None else torch.tensor(weights),
        draw(st.booleans()),
        BACKGROUND,
    )


def known_pixels(scored: Scored) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Probabilities (pixels, classes), truth and weight of the known pixels."""
    logits = scored.logits.double().numpy().transpose(0, 2, 3, 1).reshape(-1, CLASSES)
    truth = scored.target.numpy().ravel()
    if scored.sigmoid:
        p = 1 / (1 + np.exp(-logits))
    else:
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = raised / raised.sum(axis=1, keepdims=True)
    known = truth != IGNORE_INDEX
    weights = np.ones(CLASSES) if scored.weights is None else scored.weights.double().numpy()
    return p[known], truth[known], weights[truth[known]]


def one_hot(truth: NDArray[np.int64]) -> Floats:
    return np.eye(CLASSES)[truth]


def right(scored: Scored) -> tuple[Floats, Floats]:
    """Probability of being right, of each known pixel and class (or of its class alone), and the pixels' weights."""
    p, truth, weights = known_pixels(scored)
    if scored.sigmoid:
        return np.where(one_hot(truth) == 1, p, 1 - p), weights
    return p[np.arange(len(truth)), truth][:, np.newaxis], weights


def mean(values: Floats, weights: Floats) -> float:
    return float((values * weights).sum() / max(weights.sum(), 1e-6))


def cross_entropy(scored: Scored) -> float:
    p, weights = right(scored)
    return mean(-np.log(p).mean(axis=1), weights)


def focal(scored: Scored, gamma: float) -> float:
    p, weights = right(scored)
    return mean((-((1 - p) ** gamma) * np.log(p)).mean(axis=1), weights)


def ohem(scored: Scored, fraction: float) -> float:
    p, weights = right(scored)
    values = np.sort(-np.log(p).mean(axis=1) * weights)[::-1]
    return float(values[: max(1, round(fraction * len(values)))].mean()) if len(values) else 0.0


def over_classes(scored: Scored, of_class: Callable[[Floats, Floats], float]) -> float:
    """Mean over the classes that are there, background only if nothing else is there to be counted."""
    p, truth, _ = known_pixels(scored)
    weights = np.ones(CLASSES) if scored.weights is None else scored.weights.double().numpy()
    shown = [c for c in range(CLASSES) if (truth == c).any() and c != BACKGROUND]
    values = np.array([of_class(p[:, c], one_hot(truth)[:, c]) for c in shown])
    return mean(values, weights[shown]) if shown else 0.0


def tversky(alpha: float, beta: float) -> Callable[[Floats, Floats], float]:
    def value(p: Floats, truth: Floats) -> float:
        both, false_positive, false_negative = (p * truth).sum(), (p * (1 - truth)).sum(), ((1 - p) * truth).sum()
        return float(1 - (both + 0.5) / (both + alpha * false_positive + beta * false_negative + 0.5))

    return value


def lovasz(p: Floats, truth: Floats) -> float:
    """The Lovasz extension by its definition: the sum over thresholds of 1 - IoU of the errors above each."""
    errors = np.abs(truth - p)
    total = 0.0
    levels = np.sort(np.unique(np.append(errors, 0.0)))[::-1]
    for high, low in pairwise(levels):
        wrong = errors >= high
        missed, extra = (wrong & (truth == 1)).sum(), (wrong & (truth == 0)).sum()
        jaccard = (truth.sum() - missed) / (truth.sum() + extra)
        total += (high - low) * (1 - jaccard)
    return total


FORMULAS: dict[str, tuple[Term, Callable[[Scored], float]]] = {
    "ce": (CrossEntropy(), cross_entropy),
    "bce": (BinaryCrossEntropy(), cross_entropy),
    "dice": (Dice(), lambda s: over_classes(s, tversky(0.5, 0.5))),
    "tversky": (Tversky(tversky_alpha=0.3, tversky_beta=0.9), lambda s: over_classes(s, tversky(0.3, 0.9))),
    "focal": (Focal(focal_gamma=1.5), lambda s: focal(s, 1.5)),
    "lovasz": (Lovasz(), lambda s: over_classes(s, lovasz)),
    "ohem": (Ohem(ohem_fraction=0.3), lambda s: ohem(s, 0.3)),
}


def test_every_term_has_its_formula_here() -> None:
    assert set(FORMULAS) == set(loss_terms())
    assert all(type(term) is loss_terms()[name] for name, (term, _) in FORMULAS.items())


@pytest.mark.parametrize("name", FORMULAS)
@given(scores())
@settings(max_examples=25)
def test_a_term_is_its_formula(name: str, scored: Scored) -> None:
    term, formula = FORMULAS[name]
    assert term.value(scored).item() == pytest.approx(formula(scored), rel=1e-4, abs=1e-5)


@given(scores())
@settings(max_examples=20)
def test_dice_is_tversky_with_equal_costs_and_overlap_is_between_0_and_1(scored: Scored) -> None:
    dice = Dice().value(scored)
    assert torch.equal(dice, Tversky(tversky_alpha=0.5, tversky_beta=0.5).value(scored))
    cheap, dear = (overlap_loss(scored, alpha=cost, beta=cost) for cost in (0.1, 2.0))
    assert 0 <= cheap <= dice + 1e-6 <= dear + 2e-6 <= 1 + 2e-6


@given(scores())
@settings(max_examples=20)
def test_probabilities_are_a_softmax_or_a_sigmoid(scored: Scored) -> None:
    logits = scored.logits.double().numpy()
    sigmoid = probabilities_of(scored.logits, sigmoid=True).numpy()
    assert np.allclose(sigmoid, 1 / (1 + np.exp(-logits)), atol=1e-6)
    softmax = probabilities_of(scored.logits, sigmoid=False)
    assert torch.allclose(softmax.sum(dim=1), torch.ones(2, 3, 4)) and (softmax >= 0).all()
    assert torch.equal(softmax.argmax(dim=1), scored.logits.argmax(dim=1))
    assert torch.equal(scored.probabilities(), probabilities_of(scored.logits, sigmoid=scored.sigmoid))


@pytest.mark.parametrize(("terms", "is_one"), [("ce", False), ("dice", False), ("bce", True), ("0.5*dice + bce", True)])
def test_one_binary_term_makes_all_classes_independent(terms: str, is_one: bool) -> None:
    assert uses_sigmoid(terms) == is_one
