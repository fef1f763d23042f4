"""Encoders without labels: the statistic as it is defined, nothing collapses, an interruption changes no bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy import integrate
from tiny_tiles import MakeTiles, tiny_recipe

from command_line import run
from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError
from qpkit.slides import SlideSource
from qpkit_train.models.registry import build_model, encoder_of
from qpkit_train.pretraining.fit import effective_rank, pretrain
from qpkit_train.pretraining.objectives import hidden_blocks
from qpkit_train.pretraining.settings import Method, PretrainSettings
from qpkit_train.pretraining.sigreg import epps_pulley, sigreg
from qpkit_train.pretraining.views import crops
from qpkit_train.run_folder.initial_network import initial_network

SMALL = PretrainSettings(epochs=2, batch_size=8, crop_px=32, local_px=32, local_crops=1)


@given(st.integers(0, 99))
def test_the_statistic_is_the_weighed_distance_of_characteristic_functions(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.3, 1.2, 12)

    def weighed(place: float) -> float:
        found = np.exp(1j * place * values).mean()
        return float(abs(found - np.exp(-(place**2) / 2)) ** 2 * np.exp(-(place**2) / 2))

    exact = 12 * integrate.quad(weighed, -5, 5)[0]
    assert float(epps_pulley(torch.tensor(values)[:, None])) == pytest.approx(exact, rel=0.02, abs=1e-3)


def test_spread_descriptions_cost_little_and_descriptions_that_are_all_alike_much() -> None:
    rng = torch.Generator().manual_seed(0)
    directions = torch.randn(16, 64, generator=rng)
    spread = sigreg(torch.randn(256, 16, generator=rng), directions)
    alike = sigreg(torch.randn(1, 16, generator=rng).expand(256, 16), directions)
    flat = sigreg(torch.randn(256, 16, generator=rng) * torch.tensor([1.0] + 15 * [0.0]), directions)
    assert spread < 3 and flat > 10 * spread and alike > 10 * spread
    scaled = sigreg(torch.randn(256, 16, generator=rng), 7 * directions)
    assert scaled == pytest.approx(float(spread), rel=0.5)  # only the direction counts


@given(st.integers(1, 6), st.floats(0, 1), st.integers(0, 99))
def test_as_many_blocks_are_hidden_of_every_image_and_never_all(side: int, fraction: float, seed: int) -> None:
    hidden = hidden_blocks(np.random.default_rng(seed), 5, side, fraction)
    counts = hidden.sum(axis=(1, 2))
    assert hidden.shape == (5, side, side) and (counts == counts[0]).all()
    assert counts[0] >= 1 and (counts[0] < side**2 or side == 1)
    assert side == 1 or abs(counts[0] - fraction * side**2) <= 1


def test_crops_are_parts_of_their_picture_of_the_size_that_was_asked_for() -> None:
    rows, columns = np.mgrid[:64, :80]
    picture = np.stack([rows, columns, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    for area in ((0.05, 0.1), (0.5, 1.0)):
        found = crops([picture] * 40, 32, area, np.random.default_rng(1)) * 255
        assert found.shape == (40, 3, 32, 32) and torch.allclose(found[:, 2], torch.tensor(7.0), atol=1e-3)
        spans = [(image[number].max() - image[number].min() + 1) for image in found for number in (0, 1)]
        covered = np.array(spans[::2]) * np.array(spans[1::2]) / (64 * 80)
        assert area[0] * 0.6 < covered.min() and covered.max() < area[1] * 1.3
    assert len({tuple(image[0, 0, :3].tolist()) for image in found}) > 20


def test_the_rank_counts_directions() -> None:
    rng = torch.Generator().manual_seed(0)
    assert effective_rank(torch.randn(4000, 8, generator=rng)) == pytest.approx(8, rel=0.02)
    assert effective_rank(torch.randn(500, 1, generator=rng) * torch.ones(1, 8)) == pytest.approx(1, abs=1e-6)
    assert effective_rank(torch.ones(5, 8)) == 1


@pytest.mark.parametrize("method", ["lejepa", "masked"])
@pytest.mark.usefixtures("same_bits_each_time")
def test_an_interruption_changes_no_bit_and_trainings_start_from_the_encoder(
    make_tiles: MakeTiles, tmp_path: Path, method: Method
) -> None:
    tiles = read_tile_set(make_tiles(train={0: 10, 1: 8}))
    settings = replace(SMALL, method=method)
    whole = pretrain(tiles, tmp_path / "whole", settings)

    def kill(done: int, total: int, text: str) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(tiles, tmp_path / "cut", settings, on_progress=kill)
    assert not (tmp_path / "cut").exists()
    again = pretrain(tiles, tmp_path / "cut", settings)
    assert (again.resumed_from, again.loss, again.rank) == (1, whole.loss, whole.rank)
    one, other = (load_file(tmp_path / name / "encoder.safetensors") for name in ("whole", "cut"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["encoder.safetensors", "pretrain.json"]
    recipe = tiny_recipe(f"model.encoder_weights=run:{tmp_path / 'whole'}", "model.encoder_depth=5", "model.options={}")
    network = initial_network(recipe, ["a", "b", "c"])
    started = encoder_of(network.network, recipe.model).state_dict()
    assert network.origins["encoder_weights"]["pretrained"].endswith("encoder.safetensors")
    assert all(torch.equal(value, one[key]) for key, value in started.items())
    fresh = encoder_of(build_model(tiny_recipe("model.encoder_depth=5", "model.options={}").model, 3), recipe.model)
    assert any(not torch.equal(value, one[key]) for key, value in fresh.state_dict().items())


def test_without_the_spread_descriptions_become_alike_and_with_it_they_do_not(
    make_tiles: MakeTiles, tmp_path: Path
) -> None:
    tiles = read_tile_set(make_tiles(train={0: 10, 1: 8}))
    alike, spread = (
        pretrain(tiles, tmp_path / str(weight), replace(SMALL, spread=weight, epochs=6)) for weight in (0.0, 0.3)
    )
    assert spread.deviation > 0.3 and not spread.has_collapsed
    assert alike.deviation < spread.deviation / 3


def test_slides_are_learned_from_and_bad_input_is_one_line(
    made_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slide = next(made_study.parent.rglob("patient_A.tif"))
    settings = replace(SMALL, epochs=1, mpp=1.0, tile_px=64, method="masked")
    report = pretrain([SlideSource(name="A", path=slide)], tmp_path / "slides", settings)
    assert report.pictures > 8 and report.loss > 0
    with pytest.raises(ConfigError, match="are less than a batch"):
        pretrain([SlideSource(name="A", path=slide)], tmp_path / "x", PretrainSettings(batch_size=9999))
    for more, said in (
        (("--crop-px", "100"), "multiple of 32"), (("--batch-size", "4"), "at least 8 tiles"),
        (("--encoder", "resnet99"), "resnet99"),
    ):  # fmt: skip
        assert run("pretrain", slide, "-o", tmp_path / "y", "--mpp", "1", "--tile-px", "64", *more) == 1
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error and not (tmp_path / "y").exists()
