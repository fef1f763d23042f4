"""A network for another staining: SSIM as others have it, colours arrive, structure stays, and trainings take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_tiles import MakeTiles, tiny_recipe

from command_line import run
from qpkit.errors import ConfigError
from qpkit_train.augment.style_network import StyleNetwork, load_style, save_style
from qpkit_train.loop import fit
from qpkit_train.style_settings import StyleSettings
from qpkit_train.train_style import ssim, train_style

SMALL = StyleSettings(steps=60, batch_size=4, crop_px=32, width=8, lr=4e-3)


def brown(folder: Path) -> Path:
    """Pictures of which every pixel is brown."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.normal((150, 100, 60), 25, (70, 90, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_ssim_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(1)
    grey = rng.random((2, 40, 50)).cumsum(axis=2) / 50
    other = np.clip(grey + rng.normal(0, 0.05, grey.shape), 0, 1)
    found = ssim(*(torch.from_numpy(part)[:, None].expand(2, 3, 40, 50) for part in (grey, other)))
    for number in range(2):
        _, places = metrics.structural_similarity(
            grey[number], other[number], data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            full=True,
        )  # fmt: skip
        assert float(found[number]) == pytest.approx(places[5:-5, 5:-5].mean(), abs=1e-3)
    same = torch.rand(1, 3, 20, 20)
    assert float(ssim(same, same)) == pytest.approx(1)


def test_it_begins_as_a_network_that_changes_nothing_and_is_read_as_it_was_written(tmp_path: Path) -> None:
    network, images = StyleNetwork(8), torch.rand(2, 3, 24, 24)
    assert torch.allclose(network(images), images.clamp(0.01, 0.99), atol=1e-5)
    with torch.no_grad():
        network.layers[-1].bias.add_(0.5)  # type: ignore[operator, union-attr] # a convolution's
    save_style(network, tmp_path / "style.safetensors", {})
    assert torch.equal(load_style(tmp_path)(images), network(images))
    for broken in (tmp_path / "nothing", tmp_path / "broken.safetensors"):
        (tmp_path / "broken.safetensors").write_bytes(b"no weights")
        with pytest.raises(ConfigError, match="no network that qpkit train-style wrote"):
            load_style(broken)


def test_tiles_get_the_colours_of_the_target_and_keep_their_structure(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, target = make_tiles(), brown(tmp_path / "target")
    report = train_style(tiles, target, tmp_path / "style", SMALL)
    assert report.after < 0.6 * report.before and report.ssim > 0.8 and report.targets == 3
    again = train_style(tiles, target, tmp_path / "again", SMALL)
    assert (again.after, again.ssim) == (report.after, report.ssim)
    assert (tmp_path / "style/style.png").stat().st_size > 1000
    recipe = tiny_recipe("augment.style=1", 'augment.style_way="network"', f'augment.style_from="{tmp_path / "style"}"')
    assert fit(tiles, tmp_path / "run", recipe).epochs == 2


def test_what_cannot_work_is_one_line_and_leaves_nothing(
    make_tiles: MakeTiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles, glass = make_tiles(), tmp_path / "glass"
    glass.mkdir()
    Image.new("RGB", (80, 80), "white").save(glass / "a.png")
    for target, more, said in (
        (glass, ("--crop-px", "32"), "no picture shows tissue"),
        (tmp_path / "none", ("--crop-px", "32"), "is no folder"),
        (brown(tmp_path / "brown"), ("--crop-px", "128"), "less than --crop-px 128"),
    ):
        code = run("train-style", tiles, target, "-o", tmp_path / "style", "--steps", "1", *more)
        error = capsys.readouterr().err
        assert code == 1 and said in error and len(error.splitlines()[-1]) < 260
        assert not (tmp_path / "style").exists()
