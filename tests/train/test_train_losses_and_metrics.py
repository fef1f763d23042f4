"""What is made small, and what is reported."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qpkit.ops.compare import IGNORE_INDEX, accuracy, class_scores, confusion_of, mean_score
from qpkit_train import figures
from qpkit_train.config import LossName, OptimConfig
from qpkit_train.losses import make_loss
from qpkit_train.schedule import Watch, learning_rate

TERMS: tuple[LossName, ...] = ("bce", "ce", "dice", "bce+dice", "ce+dice")


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.manual_seed(0)).requires_grad_()


@pytest.fixture
def target() -> torch.Tensor:
    return torch.randint(0, 3, (2, 6, 6), generator=torch.manual_seed(1))


@pytest.mark.parametrize("terms", TERMS)
def test_a_batch_of_unknown_pixels_gives_no_loss_and_no_gradient(terms: LossName, logits: torch.Tensor) -> None:
    weights = torch.tensor([1.0, 2.0, 3.0])
    for class_weights in (None, weights):
        loss = make_loss(terms, background=0, class_weights=class_weights)
        value = loss(logits, torch.full((2, 6, 6), IGNORE_INDEX))
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.item() == 0
        assert (gradient == 0).all()


@pytest.mark.parametrize("terms", TERMS)
def test_unknown_pixels_do_not_matter(terms: LossName, logits: torch.Tensor, target: torch.Tensor) -> None:
    loss = make_loss(terms, background=0, class_weights=torch.tensor([1.0, 2.0, 0.5]))
    target[:, 3:] = IGNORE_INDEX
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient[:, :, 3:] == 0).all()
    assert (gradient[:, :, :3] != 0).any()
    assert value.item() == pytest.approx(loss(logits[:, :, :3], target[:, :3]).item(), rel=1e-6)


@pytest.mark.parametrize("terms", TERMS)
def test_the_truth_has_the_smallest_loss(terms: LossName, target: torch.Tensor) -> None:
    loss = make_loss(terms, background=0)
    right = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float() * 40 - 20
    assert loss(right, target).item() < 1e-3 < loss(-right, target).item()


def test_cross_entropy_is_torchs_own(logits: torch.Tensor, target: torch.Tensor) -> None:
    target[0, 0] = IGNORE_INDEX
    weights = torch.tensor([1.0, 2.0, 0.5])
    ours = make_loss("ce", background=0, class_weights=weights)(logits, target)
    torchs = torch.nn.functional.cross_entropy(logits, target, weights, ignore_index=IGNORE_INDEX)
    assert ours.item() == pytest.approx(torchs.item(), rel=1e-5)


def test_dice_leaves_out_classes_that_the_batch_does_not_show(logits: torch.Tensor) -> None:
    target = torch.zeros(2, 6, 6, dtype=torch.long)
    assert make_loss("dice", background=0)(logits, target).item() == 0
    target[0, 0, 0] = 1
    assert make_loss("dice", background=0)(logits, target).item() > 0.3


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
    assert figures.curves_png(rows, ["a", "b"]).startswith(b"\x89PNG")
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
