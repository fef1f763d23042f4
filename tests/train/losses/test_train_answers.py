"""Networks that answer at several sizes in training: what counts how much, and that all of it is learned."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.dataset import read_tile_set
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.find_lr import find_learning_rate
from qpkit_train.loop import Training, fit
from qpkit_train.losses.answers import level_weights, loss_of_answers, target_of
from qpkit_train.losses.loss import make_loss
from qpkit_train.machine.devices import make_fabric
from qpkit_train.recipe.settings import LossConfig, Recipe
from qpkit_train.run_folder.run import load_run
from qpkit_train.run_folder.start import run_file


def recipe(*overrides: str) -> Recipe:
    model = ("model.architecture=nnunet", "model.encoder=none", "model.encoder_depth=0",
             "model.options={channels = [4, 6, 8, 8, 8]}", "augment.rot90=false", "augment.hflip=0.0",
             "augment.vflip=0.0", "augment.hue=0.0", "augment.brightness=0.0", "augment.contrast=0.0",
             "augment.saturation=0.0", "optim.epochs=1")  # fmt: skip
    return tiny_recipe(*model, *overrides)


def training(tiles: Path, root: Path, *overrides: str) -> Training:
    tile_set, chosen = read_tile_set(tiles), recipe(*overrides)
    data, fabric = training_tiles_of(tile_set, chosen), make_fabric(chosen)
    return Training(root, chosen, data, fabric, run_file(tile_set, chosen, data, fabric.device))


@given(st.integers(1, 6))
def test_every_answer_counts_half_of_the_finer_one_and_all_together_one(count: int) -> None:
    weights = level_weights(count)
    assert sum(weights) == pytest.approx(1)
    assert all(weight == 2 * after for weight, after in pairwise(weights))


@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3))
def test_a_coarser_target_has_the_class_in_the_middle_of_each_block(halvings: int, rows: int, columns: int) -> None:
    step = 2**halvings
    blocks = torch.arange(rows * columns).view(1, rows, columns)
    whole = blocks.repeat_interleave(step, dim=1).repeat_interleave(step, dim=2)
    logits = torch.zeros(1, 2, rows, columns)
    assert torch.equal(target_of(logits, whole), blocks)
    edge = whole.clone()
    edge[:, ::step, ::step] = 99
    assert halvings == 0 or torch.equal(target_of(logits, edge), blocks)


def test_one_answer_costs_what_it_costs_to_the_bit() -> None:
    loss = make_loss(LossConfig(terms="ce+dice"), background=0)
    logits = torch.randn(2, 3, 8, 8, generator=torch.manual_seed(0))
    target = torch.randint(0, 3, (2, 8, 8), generator=torch.manual_seed(1))
    assert torch.equal(loss_of_answers(loss, [(logits, target)]), loss(logits, target))


def test_a_step_costs_the_weighed_losses_of_all_answers(make_tiles: MakeTiles, tmp_path: Path) -> None:
    there = training(make_tiles(), tmp_path / "run")
    batch = next(iter(there.read_ahead(there.batches_of(0))))
    images, targets = there._on_device(batch)
    there.begin_learning()
    with torch.no_grad():
        mean, deviation = (
            torch.tensor(v, device=images.device).view(1, 3, 1, 1)
            for v in (there.normalization.mean, there.normalization.deviation)
        )
        answers = there.network((images.float() / 255 - mean) / deviation)
    target = targets.long()
    losses = [
        float(there.loss(answer, target[:, 2**i // 2 :: 2**i, 2**i // 2 :: 2**i])) for i, answer in enumerate(answers)
    ]
    assert len(losses) == 3
    assert float(there.step(batch, 0)) == pytest.approx(np.average(losses, weights=[4, 2, 1]), rel=1e-5)


def test_all_answers_are_learned_and_one_is_measured_kept_and_resumed(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    fit(tiles, tmp_path / "run", recipe())
    before = training(tiles, tmp_path / "other").network.state_dict()
    run = load_run(tmp_path / "run")
    for name, value in run.load_model().state_dict().items():
        if "heads" in name or "head" in name:
            assert not torch.equal(value, before[name].cpu()), name
    whole = fit(tiles, tmp_path / "whole", recipe("optim.epochs=2", "optim.schedule=constant"))
    fit(tiles, tmp_path / "two", recipe("optim.schedule=constant"))
    longer = fit(tiles, tmp_path / "two", recipe("optim.epochs=2", "optim.schedule=constant"), resume=True)
    assert longer.scores == whole.scores


def test_learning_rates_can_be_tried_and_a_teacher_can_stand_beside(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles(train={0: 4, 1: 3, 3: 2, 255: 3})
    with_teacher = recipe("semi.weight=0.5", "semi.feature_dropout=0.0", "optim.steps_per_epoch=2")
    assert fit(tiles, tmp_path / "semi", with_teacher).epochs == 1
    assert len(find_learning_rate(tiles, recipe(), steps=12).rates) > 2
