"""The mean teacher: its views, its average, and that a training with it obeys the laws of every training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_tiles import LABELS, MakeTiles, tiny_recipe

from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError
from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train import loop
from qpkit_train.data.unlabelled import unlabelled_epoch, unlabelled_tiles
from qpkit_train.loop import fit
from qpkit_train.models.averaging import WeightAverage
from qpkit_train.run_folder.records import BEST_NAME, run_id
from qpkit_train.semi.views import (
    UNLABELLED,
    ChannelDropout,
    cutmix,
    cutmix_boxes,
    pseudo_labels,
    unlabelled_loss,
)

SEMI = ("semi.weight=1", "semi.threshold=0.4", "semi.ema=0.9", "optim.steps_per_epoch=2")


@pytest.fixture
def tiles(make_tiles: MakeTiles) -> Path:
    return make_tiles(train={0: 2, 1: 2, 3: 2, 255: 4})


def best_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / BEST_NAME)


def same(one: Path, other: Path) -> bool:
    first, second = best_of(one), best_of(other)
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("same_bits_each_time")
def test_with_weight_0_a_training_is_the_supervised_one_bit_by_bit(tiles: Path, tmp_path: Path) -> None:
    fit(tiles, tmp_path / "plain", tiny_recipe("optim.steps_per_epoch=2"))
    fit(tiles, tmp_path / "zero", tiny_recipe(*SEMI, "semi.weight=0"))
    fit(tiles, tmp_path / "semi", tiny_recipe(*SEMI))
    assert same(tmp_path / "plain", tmp_path / "zero")
    assert "pseudo_labelled" not in (tmp_path / "zero/curves.csv").read_text()
    assert "mean_iou,pseudo_labelled,dice_background" in (tmp_path / "semi/curves.csv").read_text()
    assert not same(tmp_path / "plain", tmp_path / "semi")
    assert run_id(tiny_recipe(), LABELS, "x") == run_id(tiny_recipe("semi.weight=0"), LABELS, "x")


@pytest.mark.usefixtures("same_bits_each_time")
def test_a_resumed_training_ends_with_the_bits_of_an_uninterrupted_one(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(*SEMI, "optim.epochs=3")
    fit(tiles, tmp_path / "whole", recipe)

    class Killed(BaseException):
        pass

    begin = loop.MeanTeacher.begin

    def killed(self: loop.MeanTeacher, epoch: int, *args: object) -> None:
        if epoch == 2:
            raise Killed
        begin(self, epoch, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop.MeanTeacher, "begin", killed)
        with pytest.raises(Killed):
            fit(tiles, tmp_path / "parts", recipe)
    report = fit(tiles, tmp_path / "parts", recipe, resume=True)
    assert report.resumed_from == 2
    for name in ("last-0003.safetensors", "last-0003.optimizer.safetensors"):
        one, other = (load_file(tmp_path / run / name) for run in ("whole", "parts"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    # The teacher has followed every step, and is not the student.
    assert int(one["teacher/"]) == 6
    student = load_file(tmp_path / "whole/last-0003.safetensors")
    assert not all(torch.equal(one[f"teacher/{name}"], student[name]) for name in student)


def test_the_average_follows_its_formula_in_the_teacher_itself() -> None:
    student, teacher = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    teacher.load_state_dict(student.state_dict())
    average = WeightAverage(student, keep=0.9, prefix="teacher/", average=teacher.state_dict())
    expected = student.weight.detach().clone()
    for step in range(1, 40):
        with torch.no_grad():
            student.weight += 0.1 * step
        average.update()
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * student.weight.detach()
        assert torch.allclose(teacher.weight, expected, atol=1e-5)
    kept = average.tensors()
    assert all(key.startswith("teacher/") for key in kept)


def test_cutmix_mixes_image_and_labels_alike() -> None:
    boxes = torch.from_numpy(cutmix_boxes(np.random.default_rng(0), 6, height=32, width=48, probability=0.8))
    labels = torch.arange(6).view(6, 1, 1).expand(6, 32, 48)
    images = labels[:, None].float().expand(6, 3, 32, 48)
    mixed, own = cutmix(boxes, images), cutmix(boxes, labels)
    assert (mixed == own[:, None]).all()
    assert (own[boxes] == ((labels - 1) % 6)[boxes]).all()
    assert (own[~boxes] == labels[~boxes]).all()
    assert boxes.any()


def test_rectangles_are_as_large_as_published_and_none_without_probability() -> None:
    rng = np.random.default_rng(1)
    fractions = cutmix_boxes(rng, 300, height=64, width=64, probability=1).mean(axis=(1, 2))
    assert fractions.min() > 0.01
    assert fractions.max() < 0.42
    assert not cutmix_boxes(rng, 20, height=64, width=64, probability=0).any()


def test_annotations_win_and_what_is_not_sure_is_no_label() -> None:
    probabilities = torch.tensor([[0.97, 0.6, 0.1, 0.97], [0.03, 0.4, 0.9, 0.03]]).view(1, 2, 1, 4)
    targets = torch.tensor([[[UNLABELLED, UNLABELLED, 0, IGNORE_INDEX]]], dtype=torch.uint8)
    labels = pseudo_labels(probabilities, targets, threshold=0.95)
    assert labels.tolist() == [[[0, UNLABELLED, 0, IGNORE_INDEX]]]


def test_the_loss_is_over_all_valid_pixels() -> None:
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.full((1, 4, 4), UNLABELLED)
    assert unlabelled_loss(logits, labels, sigmoid=False) == 0
    labels[0, 0, :2], labels[0, 3] = 1, IGNORE_INDEX
    plain = torch.nn.functional.cross_entropy(logits, torch.ones(1, 4, 4, dtype=torch.long), reduction="none")
    assert torch.isclose(unlabelled_loss(logits, labels, sigmoid=False), plain[0, 0, :2].sum() / 12)
    assert unlabelled_loss(logits, torch.full((1, 4, 4), IGNORE_INDEX), sigmoid=False) == 0


def test_channels_are_dropped_in_a_block_only_and_the_image_never() -> None:
    class Encoder(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            return [image, torch.ones(2, 50, 4, 4)]

    encoder = Encoder()
    dropout = ChannelDropout(encoder, 0.5)
    image = torch.ones(2, 3, 8, 8)
    assert (encoder(image)[1] == 1).all()
    with dropout.on():
        kept, features = encoder(image)
    assert (kept == image).all()
    sums = features.sum(dim=(2, 3))
    assert set(sums.unique().tolist()) == {0.0, 32.0}
    assert (encoder(image)[1] == 1).all()


def test_unlabelled_tiles_are_those_of_ignore_and_each_comes_before_any_comes_again(tiles: Path) -> None:
    opened = read_tile_set(tiles)
    train = opened.of_split("train")
    found = unlabelled_tiles(train, LABELS, tile_size=64, least=0.5)
    assert found.tolist() == [6, 7, 8, 9]
    assert unlabelled_tiles(train, LABELS, tile_size=64, least=0.0).tolist() == [6, 7, 8, 9]
    epoch = unlabelled_epoch(found, batches=3, batch_size=2, key=(0, 1))
    assert len(epoch) == 3
    assert sorted(epoch.tiles[:4].tolist()) == found.tolist()
    again = unlabelled_epoch(found, batches=3, batch_size=2, key=(0, 1))
    assert (again.tiles == epoch.tiles).all()


def test_what_a_mean_teacher_cannot_do_is_one_line(make_tiles: MakeTiles, tmp_path: Path) -> None:
    whole = make_tiles(name="whole")
    with pytest.raises(ConfigError, match="no training tile is unlabelled to 50%"):
        fit(whole, tmp_path / "run", tiny_recipe(*SEMI))
    with pytest.raises(ConfigError, match="does not go with compile"):
        fit(make_tiles(train={1: 2, 255: 2}), tmp_path / "run", tiny_recipe(*SEMI, "compile=true"))
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())
