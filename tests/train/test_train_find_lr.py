"""The learning-rate range test."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.cli import main
from qpkit.errors import ConfigError
from qpkit_train.find_lr import find_learning_rate, steepest


def test_the_range_test_rises_falls_and_repeats(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    before = sorted(tmp_path.rglob("*"))
    found = find_learning_rate(tiles, tiny_recipe(), steps=40)
    assert sorted(tmp_path.rglob("*")) == before
    factors = [b / a for a, b in zip(found.rates[:-1], found.rates[1:], strict=True)]
    assert max(factors) == pytest.approx(min(factors)) and min(factors) > 1
    assert min(found.losses) < found.losses[0] and 1e-6 < found.suggestion < 1
    assert found == find_learning_rate(tiles, tiny_recipe(), steps=40)


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    rates = [10.0**-k for k in range(6, 0, -1)]
    assert steepest(rates, [1.0, 0.98, 0.9, 0.4, 0.35, 0.9]) in (1e-4, 1e-3)
    with pytest.raises(ConfigError, match="does not fall"):
        steepest(rates, [1.0, 1.1, 1.2, 1.3, 1.4, 1.5])


def test_the_first_steps_are_too_noisy_to_suggest_a_rate() -> None:
    rates = [1e-6 * 1.15**k for k in range(60)]
    losses = [3.0, 2.0, *(2.0 - 0.4 / (1 + 2.0 ** (30 - k)) for k in range(2, 60))]
    assert rates[15] < steepest(rates, losses) < rates[40]


def test_the_command_suggests_a_rate_and_draws_it(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    settings = [
        "--set=model.encoder_depth=3",
        "--set=model.options.decoder_channels=[64,32,16]",
        "--set=data.crop_px=32",
    ]
    command = ["train", str(tiles), "--recipe", "unet-resnet18", "--find-lr", *settings]
    with pytest.raises(SystemExit) as end:
        main([*command, "-o", str(tmp_path / "lr.png")])
    assert end.value.code in (0, None)
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit) as end:
        main([*command, "-o", str(tmp_path / "run")])
    assert end.value.code == 1
