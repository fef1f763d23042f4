"""What is made small, and what is reported."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qpkit.errors import ConfigError
from qpkit.ops.scores.confusion import IGNORE_INDEX, accuracy, class_scores, confusion_of, mean_score
from qpkit.report.figures import curves as figures
from qpkit_train.losses.loss import Loss, make_loss
from qpkit_train.losses.pixels import batch_weights
from qpkit_train.losses.sums import parse_terms
from qpkit_train.losses.terms import loss_terms
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import LossConfig, OptimConfig
from qpkit_train.schedule import Watch, learning_rate

TERMS = (*loss_terms(), "bce+dice", "ce+dice", "bce+focal", "bce+ohem", "0.5*ce + lovasz", "bce+lovasz+tversky")


def loss_of(terms: str, *, class_weights: torch.Tensor | None = None, **settings: object) -> Loss:
    config = LossConfig(terms=terms, **settings)  # type: ignore[arg-type]
    return make_loss(config, background=0, class_weights=class_weights)


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.manual_seed(0)).requires_grad_()


@pytest.fixture
def target() -> torch.Tensor:
    return torch.randint(0, 3, (2, 6, 6), generator=torch.manual_seed(1))


@pytest.mark.parametrize("terms", TERMS)
def test_a_batch_of_unknown_pixels_gives_no_loss_and_no_gradient(terms: str, logits: torch.Tensor) -> None:
    weights = torch.tensor([1.0, 2.0, 3.0])
    for class_weights in (None, weights):
        loss = loss_of(terms, class_weights=class_weights)
        value = loss(logits, torch.full((2, 6, 6), IGNORE_INDEX))
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.item() == 0
        assert (gradient == 0).all()


@pytest.mark.parametrize("terms", TERMS)
def test_unknown_pixels_do_not_matter(terms: str, logits: torch.Tensor, target: torch.Tensor) -> None:
    loss = loss_of(terms, class_weights=torch.tensor([1.0, 2.0, 0.5]))
    target[:, 3:] = IGNORE_INDEX
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient[:, :, 3:] == 0).all()
    assert (gradient[:, :, :3] != 0).any()
    assert value.item() == pytest.approx(loss(logits[:, :, :3], target[:, :3]).item(), rel=1e-6)


@pytest.mark.parametrize("terms", TERMS)
def test_the_truth_has_the_smallest_loss(terms: str, target: torch.Tensor) -> None:
    loss = loss_of(terms)
    right = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float() * 40 - 20
    assert loss(right, target).item() < 1e-3 < loss(-right, target).item()


def test_cross_entropy_is_torchs_own(logits: torch.Tensor, target: torch.Tensor) -> None:
    target[0, 0] = IGNORE_INDEX
    weights = torch.tensor([1.0, 2.0, 0.5])
    ours = loss_of("ce", class_weights=weights)(logits, target)
    torchs = torch.nn.functional.cross_entropy(logits, target, weights, ignore_index=IGNORE_INDEX)
    assert ours.item() == pytest.approx(torchs.item(), rel=1e-5)


def test_dice_leaves_out_classes_that_the_batch_does_not_show(logits: torch.Tensor) -> None:
    target = torch.zeros(2, 6, 6, dtype=torch.long)
    assert loss_of("dice")(logits, target).item() == 0
    target[0, 0, 0] = 1
    assert loss_of("dice")(logits, target).item() > 0.3


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, IGNORE_INDEX]), st.integers(0, 2)), min_size=1, max_size=60))
def test_scores_are_what_counting_gives(pairs: list[tuple[int, int]]) -> None:
    truth, said = (np.array(column, np.uint8) for column in zip(*pairs, strict=True))
    confusion = confusion_of(truth, said, 3)
    known = [(t, s) for t, s in pairs if t != IGNORE_INDEX]
    assert confusion.sum() == len(known)
    for index, score in enumerate(class_scores(confusion, ["a", "b", "c"])):
        hits = sum(t == s == index for t, s in known)
        there, guessed = sum(t == index for t, _ in known), sum(s == index for _, s in known)
        assert (score.support, score.predicted) == (there, guessed)
        assert score.recall == (hits / there if there else None)
        assert score.precision == (hits / guessed if guessed else None)
        assert score.dice == (pytest.approx(2 * hits / (there + guessed)) if there + guessed else None)
        assert score.iou == (pytest.approx(hits / (there + guessed - hits)) if there + guessed else None)


def test_undefined_scores_are_none_and_left_out_of_the_mean() -> None:
    confusion = np.array([[8, 0, 0], [1, 3, 0], [0, 0, 0]])
    scores = class_scores(confusion, ["background", "a", "b"])
    assert (scores[2].dice, scores[2].iou, scores[2].recall) == (None, None, None)
    assert mean_score(scores, "dice", background=0) == scores[1].dice
    assert accuracy(np.zeros((2, 2), np.int64)) is None
    assert mean_score(scores[:1], "dice", background=0) is None


def test_figures_are_pictures_and_tables_even_with_gaps() -> None:
    rows = [
        {"epoch": i, "lr": 0.1, "train_loss": 1.0, "val_loss": 2.0, "mean_dice": None, "mean_iou": None}
        | {"dice": {"a": None, "b": 0.5}}
        for i in (1, 2)
    ]
    assert figures.curves_png(rows, ["a", "b"], where="val").startswith(b"\x89PNG")
    assert figures.curves_csv(rows, ["a", "b"]).splitlines()[1] == b"1,0.1,1.0,2.0,,,,0.5"
    confusion = np.array([[3, 1], [0, 0]])
    assert figures.confusion_png(confusion, ["a", "b"]).startswith(b"\x89PNG")
    assert figures.confusion_csv(confusion, ["a", "b"]).splitlines()[1:] == [b"a,3,1,0.75,0.25", b"b,0,0,0.0,0.0"]


def test_learning_rates_follow_their_schedule() -> None:
    def rates(optim: OptimConfig) -> list[float]:
        return [learning_rate(optim, step=s, steps_per_epoch=2) for s in range(8)]

    assert rates(OptimConfig(lr=1, epochs=4, schedule="constant")) == [1] * 8
    stepped = rates(OptimConfig(lr=1, epochs=4, schedule="step", milestones=[1, 3], gamma=0.5))
    assert stepped == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    cosine = rates(OptimConfig(lr=1, epochs=4, schedule="cosine", final_factor=0.1))
    assert cosine[0] == 1
    assert cosine == sorted(cosine, reverse=True)
    assert rates(OptimConfig(lr=1, epochs=4, schedule="constant", warmup_steps=4))[:5] == [0.25, 0.5, 0.75, 1, 1]


def test_plateau_cuts_and_patience_ends() -> None:
    optim = OptimConfig(schedule="plateau", plateau_patience=1, gamma=0.5)
    watch = Watch()
    for epoch, value in enumerate([0.5, 0.4, 0.4, 0.4, 0.4], start=1):
        watch = watch.after(value, epoch=epoch, min_delta=0.0, optim=optim)
    assert (watch.best_epoch, watch.without_better, watch.plateau_factor) == (1, 4, 0.25)
    assert watch.should_stop(4)
    assert not watch.should_stop(5)
    assert not watch.should_stop(0)


def test_focal_without_gamma_is_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> None:
    for plain, focal in (("ce", "focal"), ("bce", "bce+focal")):
        expected = loss_of(plain)(logits, target) * (2 if "+" in focal else 1)
        assert loss_of(focal, focal_gamma=0.0)(logits, target).item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_is_its_formula(logits: torch.Tensor, target: torch.Tensor) -> None:
    probability = logits.softmax(dim=1).gather(1, target.unsqueeze(1)).squeeze(1)
    expected = -((1 - probability) ** 2 * probability.log()).mean()
    assert loss_of("focal")(logits, target).item() == pytest.approx(expected.item(), rel=1e-5)


def test_tversky_with_equal_costs_is_dice_and_dear_misses_push_towards_the_class(
    logits: torch.Tensor, target: torch.Tensor
) -> None:
    even = loss_of("tversky", tversky_alpha=0.5, tversky_beta=0.5)(logits, target)
    assert even.item() == pytest.approx(loss_of("dice")(logits, target).item(), rel=1e-6)
    missing = torch.nn.functional.one_hot(torch.zeros_like(target), 3).movedim(-1, 1).float() * 9
    shares = [loss_of("tversky", tversky_alpha=1 - b, tversky_beta=b)(missing, target).item() for b in (0.2, 0.8)]
    assert shares[0] < shares[1]


def test_ohem_looks_at_the_stated_share_of_the_hardest_known_pixels(logits: torch.Tensor, target: torch.Tensor) -> None:
    target[0, 0] = IGNORE_INDEX
    per_pixel = torch.nn.functional.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, reduction="none")
    known = per_pixel[target != IGNORE_INDEX]
    for share in (0.01, 0.25, 1.0):
        count = max(1, round(share * known.numel()))
        value = loss_of("ohem", ohem_fraction=share)(logits, target)
        assert value.item() == pytest.approx(known.sort(descending=True).values[:count].mean().item(), rel=1e-6)
        (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
        assert int((gradient.abs().sum(dim=1) > 0).sum()) == count


def test_lovasz_on_hard_answers_is_one_minus_iou(target: torch.Tensor) -> None:
    """Where every answer is certain, the extension is the set function itself (Berman et al., section 3)."""
    said = torch.randint(0, 3, (2, 6, 6), generator=torch.manual_seed(5))
    certain = torch.nn.functional.one_hot(said, 3).movedim(-1, 1).float() * 2000 - 1000
    ious = []
    for value in (1, 2):
        both, either = ((said == value) & (target == value)).sum(), ((said == value) | (target == value)).sum()
        ious.append((both / either).item())
    assert loss_of("lovasz")(certain, target).item() == pytest.approx(1 - np.mean(ious), rel=1e-5)


@pytest.mark.parametrize("terms", TERMS)
def test_the_order_of_pixels_and_of_tiles_does_not_matter(
    terms: str, logits: torch.Tensor, target: torch.Tensor
) -> None:
    order = torch.randperm(36, generator=torch.manual_seed(2))
    mixed = logits.flatten(2)[:, :, order].reshape(2, 3, 6, 6).flip(0)
    moved = target.flatten(1)[:, order].reshape(2, 6, 6).flip(0)
    assert loss_of(terms)(mixed, moved).item() == pytest.approx(loss_of(terms)(logits, target).item(), rel=1e-5)


@pytest.mark.parametrize("terms", loss_terms())
def test_going_down_the_gradient_makes_the_loss_smaller(terms: str, target: torch.Tensor) -> None:
    point = torch.randn(2, 3, 6, 6, generator=torch.manual_seed(4)).requires_grad_()
    loss = loss_of(terms)
    value = loss(point, target)
    (gradient,) = torch.autograd.grad(value, point)
    slope = (gradient**2).sum().item()
    step = 1e-2 / max(gradient.abs().max().item(), 1e-9)
    below = loss(point - step * gradient, target).item()
    assert 0.3 < (value.item() - below) / (step * slope) < 1.7


@pytest.mark.parametrize("terms", TERMS)
def test_a_heavier_class_counts_more_in_every_term(terms: str, target: torch.Tensor) -> None:
    """The model is right about class 1 and wrong about class 2."""
    said = torch.where(target == 1, 1, 0)
    logits = torch.nn.functional.one_hot(said, 3).movedim(-1, 1).float() * 4
    light, heavy = (loss_of(terms, class_weights=torch.tensor([1.0, 1.0, w]))(logits, target).item() for w in (0.2, 5))
    assert light < heavy


def test_dynamic_weights_are_one_minus_the_share_with_mean_one() -> None:
    target = torch.tensor([[[0, 0, 0, 0], [0, 0, 1, IGNORE_INDEX]]])
    weights = batch_weights(target, 3)
    assert weights.tolist() == pytest.approx([2 * 1 / 7, 2 * 6 / 7, 1.0], rel=1e-5)
    assert batch_weights(torch.zeros(1, 2, 2, dtype=torch.long), 3).tolist() == [1, 1, 1]
    assert batch_weights(torch.full((1, 2, 2), IGNORE_INDEX), 3).tolist() == [1, 1, 1]
    logits = torch.randn(1, 3, 2, 4, generator=torch.manual_seed(0))
    dynamic = loss_of("ce", class_weights=None)(logits, target)
    config = LossConfig(terms="ce", class_weights="dynamic")
    weighted = make_loss(config, background=0)(logits, target)
    assert weighted.item() == pytest.approx(loss_of("ce", class_weights=weights)(logits, target).item(), rel=1e-6)
    assert weighted.item() != dynamic.item()


def test_terms_are_read_with_their_factors() -> None:
    assert parse_terms("0.5*ce + dice+0.3 * focal") == [(0.5, "ce"), (1.0, "dice"), (0.3, "focal")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ce+dise", "did you mean 'dice'"),
        ("x*ce", "is no factor"),
        ("0*ce", "is no factor"),
        ("inf*ce", "is no factor"),
        ("ce+dice+ce", "twice"),
        ("ce+bce", "exclude"),
        ("", "no term"),
        ("ce+", "no term"),
    ],
)
def test_wrong_terms_are_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_terms(text)
    with pytest.raises(ConfigError, match=said):
        load_recipe("unet-resnet18", [f"loss.terms={text!r}"])


def test_poly_falls_to_zero_and_cyclic_comes_back() -> None:
    poly = OptimConfig(schedule="poly", epochs=10, lr=1.0)
    rates = [learning_rate(poly, step=step, steps_per_epoch=10) for step in range(100)]
    assert rates[0] == 1.0 and all(b < a for a, b in itertools.pairwise(rates))
    assert rates[50] == pytest.approx(0.5**0.9)
    cyclic = OptimConfig(schedule="cyclic", epochs=9, lr=1.0, gamma=0.5, cycle_epochs=3, warmup_steps=2)
    rates = [learning_rate(cyclic, step=step, steps_per_epoch=2) for step in range(18)]
    assert rates[:8] == [0.5, 1.0, 0.5, 0.5, 0.25, 0.25, 1.0, 1.0]
    assert rates[12:14] == [1.0, 1.0]
