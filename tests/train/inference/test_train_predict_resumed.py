"""A prediction that was killed goes on with the slides that were not done; a batch that does not fit is halved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from test_train_slide_predictor import PixelModel

from qpkit.errors import ConfigError
from qpkit.predictions import read_predictions
from qpkit.slides import SlideSource
from qpkit_train.inference import opening
from qpkit_train.inference.memory import InParts
from qpkit_train.inference.predict import predict
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.models.card import Answer

SETTINGS = PredictSettings(tile_px=32, halo_px=0, only_tissue=False, probabilities=True)
TILES = 6
KILLED_IN = 2
"""Of the slides, from 1."""


class Mortal(PixelModel):
    """Kills its process in the middle of a slide; never if that is 0."""

    def __init__(self, slide: int = 0) -> None:
        super().__init__()
        self.left = (slide - 1) * TILES // 2 + 2 if slide else -1

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool) -> Answer:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(pixels, halo=halo, probabilities=probabilities)


def run(folder: Path, model: PixelModel, *, settings: PredictSettings = SETTINGS, out: str = "out") -> tuple[str, ...]:
    """Predict the slides in a folder with a model instead of the file beside them; gives the notes."""
    sources = [SlideSource(name=path.stem, path=path, mpp=0.5) for path in sorted(folder.glob("*.tif"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_one", lambda *_: model)
        return predict(folder / "model.onnx", sources, folder / out, settings).notes


def rasters(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "predictions.json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "model.onnx").write_bytes(b"weights")
    for name in "abc":
        pixels = rng.integers(0, 240, (64, 96, 3), dtype=np.uint8)
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, tile=(64, 64), photometric="rgb")
    return tmp_path


def killed(folder: Path) -> None:
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
from test_train_predict_resumed import KILLED_IN, Mortal, run
run(Path({str(folder)!r}), Mortal(KILLED_IN))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is posix")
def test_a_killed_prediction_goes_on_and_is_the_same_to_the_byte(folder: Path) -> None:
    run(folder, PixelModel(), out="whole")
    killed(folder)
    assert not (folder / "out").exists()
    model = PixelModel()
    (note,) = run(folder, model)
    assert note.startswith(f"{KILLED_IN - 1} slide(s) had been finished")
    assert sum(shape[0] for shape in model.shapes) == (4 - KILLED_IN) * TILES
    assert rasters(folder / "out") == rasters(folder / "whole")
    assert [slide.name for slide in read_predictions(folder / "out").slides] == ["a", "b", "c"]
    assert not list(folder.glob("*partial*"))


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is posix")
@pytest.mark.parametrize("what", ["settings", "model", "slide"])
def test_another_prediction_does_not_go_on_from_it(folder: Path, what: str) -> None:
    killed(folder)
    if what == "model":
        (folder / "model.onnx").write_bytes(b"others")
    if what == "slide":
        tifffile.imwrite(folder / "a.tif", np.zeros((64, 96, 3), np.uint8), tile=(64, 64), photometric="rgb")
    settings = SETTINGS if what != "settings" else PredictSettings(tile_px=64, halo_px=0, only_tissue=False)
    assert run(folder, PixelModel(), settings=settings) == ()
    assert not list(folder.glob("*partial*"))


def test_a_batch_that_does_not_fit_is_halved_and_that_is_said_once() -> None:
    sizes: list[int] = []

    def predict(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        sizes.append(len(part))
        if len(part) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return part[:, 0, 0, 0]

    in_parts, pixels = InParts(), np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    for _ in range(2):
        assert np.concatenate(in_parts(predict, pixels)).tolist() == list(range(9))
    assert sizes == [9, 4, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1]
    (note,) = in_parts.notes
    assert "--batch-size 2" in note


def test_a_tile_that_does_not_fit_is_one_line_and_other_errors_stay() -> None:
    def fails(error: Exception) -> None:
        raise error

    pixels = np.zeros((2, 64, 64, 3), np.uint8)
    with pytest.raises(ConfigError, match="--tile-size") as info:
        InParts()(lambda _: fails(torch.cuda.OutOfMemoryError("CUDA out of memory")), pixels)
    assert len(str(info.value)) < 200
    with pytest.raises(RuntimeError, match="shapes"):
        InParts()(lambda _: fails(RuntimeError("shapes do not match")), pixels)
