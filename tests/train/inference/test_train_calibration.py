"""Batch-norm statistics that are estimated on the slide: those of its tiles, and the trained network stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from command_line import run
from qpkit.core.tiles import TileGrid
from qpkit.errors import ConfigError, FormatError
from qpkit.predictions import read_predictions
from qpkit.slides import SlideSource, open_slide
from qpkit_train.inference.predict import predict
from qpkit_train.inference.running import torch_model
from qpkit_train.inference.running.calibration import calibrated, middles_of
from qpkit_train.inference.running.opening import open_one
from qpkit_train.inference.settings import PredictSettings
from shared_data import ROOT

KEPT = ROOT / "tests/kept"


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4, eps=1e-9), torch.nn.Conv2d(4, 2, 1))
    return torch.nn.Sequential(*layers).eval()


def forward(network: torch.nn.Module, pixels: NDArray[np.uint8]) -> torch.Tensor:
    with torch.inference_mode():
        return network(torch.from_numpy(pixels).movedim(-1, 1).float())


@pytest.fixture
def batches() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 100, (4, 16, 16, 3), np.uint8) for _ in range(3)]


def test_statistics_are_the_mean_of_those_of_the_batches(batches: list[NDArray[np.uint8]]) -> None:
    given = network()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    own = calibrated(given, forward, batches)
    seen = [forward(given[0], batch).transpose(0, 1).flatten(1) for batch in batches]  # type: ignore[index]
    norm = own[1]  # type: ignore[index]
    torch.testing.assert_close(norm.running_mean, torch.stack([values.mean(dim=1) for values in seen]).mean(dim=0))
    torch.testing.assert_close(norm.running_var, torch.stack([values.var(dim=1) for values in seen]).mean(dim=0))
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
    assert not any(module.training for module in own.modules())
    again = calibrated(own, forward, batches)
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in again.state_dict().items())


def test_a_slide_of_other_brightness_gets_the_same_answer(batches: list[NDArray[np.uint8]]) -> None:
    brighter = [2 * batch + 40 for batch in batches]
    one, other = (calibrated(network(), forward, own) for own in (batches, brighter))
    torch.testing.assert_close(forward(one, batches[0]), forward(other, brighter[0]), rtol=1e-3, atol=1e-4)


def test_rasters_do_not_depend_on_threads_and_say_how_they_were_made(tmp_path: Path) -> None:
    slide = SlideSource(name="s", path=KEPT / "slide.tif", mpp=0.5)
    for name, readers in (("a", 1), ("b", 3)):
        how = PredictSettings(probabilities=True, tile_px=32, halo_px=32, readers=readers, calibrate="batch-norm")
        predict(KEPT / "run", [slide], tmp_path / name, how)
    predict(KEPT / "run", [slide], tmp_path / "c", PredictSettings(probabilities=True, tile_px=32, halo_px=32))
    rasters = [(tmp_path / name / "s.probabilities.tif").read_bytes() for name in "abc"]
    assert rasters[0] == rasters[1] != rasters[2]
    assert read_predictions(tmp_path / "a").info["settings"]["calibrate"] == "batch-norm"


def test_the_trained_model_is_still_what_it_was() -> None:
    model = open_one(KEPT / "run", "cpu", 0, PredictSettings(calibrate="batch-norm"))
    assert isinstance(model, torch_model.Predictor)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    before = model.levels(pixels)
    with open_slide(KEPT / "slide.tif", mpp=0.5) as slide:
        size = {"slide_width": slide.info.width, "slide_height": slide.info.height}
        own = model.for_slide(slide, list(TileGrid(**size, tile_size=32, halo=32, downsample=1.0)))
        assert (own.levels(pixels) != before).any()
        with pytest.raises(FormatError, match="no tile with tissue"):
            middles_of(slide, [])
    assert np.array_equal(model.levels(pixels), before)


def test_what_cannot_be_calibrated_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [KEPT / "slide.tif", "-o", tmp_path / "out", "--slide-mpp", "0.5", "--calibrate", "batch-norm"]
    assert run("predict", KEPT / "model.onnx", *arguments) == 1
    assert "goes with run folders" in capsys.readouterr().err and not (tmp_path / "out").exists()
    monkeypatch.setattr(torch_model, "batch_norms", lambda network: [])
    with pytest.raises(ConfigError, match="has no batch norm"):
        open_one(KEPT / "run", "cpu", 0, PredictSettings(calibrate="batch-norm"))
