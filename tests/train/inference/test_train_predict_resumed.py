"""A prediction that was killed goes on with the slides that were not done; a batch that does not fit is halved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from test_train_slide_predictor import PixelModel

from qpkit.errors import ConfigError
from qpkit.predictions import read_predictions
from qpkit.slides import SlideSource
from qpkit_train.inference.predict import predict
from qpkit_train.inference.report import PredictReport
from qpkit_train.inference.running import opening
from qpkit_train.inference.running.memory import InParts
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.models.card import Answer

SETTINGS = PredictSettings(batch_size=2, tile_px=32, halo_px=0, only_tissue=False, probabilities=True)
BLENDED = PredictSettings(tile_px=32, halo_px=32, only_tissue=False, blend="linear")
NEAR = {"slides": {"a": [0.3] * 9, "b": [0.4] * 9}, "within": np.eye(9).tolist(), "downsamples": [1.0, 1.0]}
"""What the training tiles are said to look like."""

COLUMNS, ROWS = 3, 4
TILES = COLUMNS * ROWS
"""Of each slide."""


class Mortal(PixelModel):
    """Does something when it is asked for a batch of a slide, both counted from 1; nothing if that is 0."""

    def __init__(self, batch: int = 0, *, slide: int = 2, then: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.left = (slide - 1) * TILES // SETTINGS.batch_size + batch if batch else -1
        self.then = then or self.die
        self.tiles = 0

    @staticmethod
    def die() -> None:
        time.sleep(0.2)  # until the answers before this one are written
        os.kill(os.getpid(), signal.SIGKILL)

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        self.count(pixels)
        return super().answer(pixels, halo=halo, probabilities=probabilities, uncertainty=uncertainty)

    def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        self.count(pixels)
        return super().levels(pixels)

    def count(self, pixels: NDArray[np.uint8]) -> None:
        self.left -= 1
        if self.left == 0:
            self.then()
        self.tiles += len(pixels)


def run(
    folder: Path, model: PixelModel, *, settings: PredictSettings = SETTINGS, out: str = "out", **how: Any
) -> PredictReport:
    """Predict the slides in a folder with a model instead of the file beside them."""
    model.card = replace(model.card, trained={"appearance": NEAR})
    sources = [SlideSource(name=path.stem, path=path, mpp=0.5) for path in sorted(folder.glob("*.tif"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_one", lambda *_: model)
        return predict(folder / "model.onnx", sources, folder / out, settings, **how)


def rasters(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "predictions.json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "model.onnx").write_bytes(b"weights")
    for name in "abc":
        pixels = rng.integers(0, 240, (ROWS * 32, COLUMNS * 32, 3), dtype=np.uint8)
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, tile=(32, 32), photometric="rgb")
    return tmp_path


def killed(folder: Path, settings: str = "SETTINGS", *, batch: int = 3, slide: int = 2) -> None:
    """Predict in a process that is killed in a batch of a slide."""
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
from test_train_predict_resumed import *
run(Path({str(folder)!r}), Mortal({batch}, slide={slide}), settings={settings})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is posix")
@pytest.mark.parametrize(("settings", "kept"), [("SETTINGS", 8), ("BLENDED", 2)])
def test_a_killed_prediction_goes_on_in_mid_slide_and_is_the_same_to_the_byte(
    folder: Path, settings: str, kept: int
) -> None:
    how = globals()[settings]
    whole = run(folder, PixelModel(), settings=how, out="whole")
    killed(folder, settings, batch=5 if kept == 8 else 6)
    assert not (folder / "out").exists()
    model = Mortal()
    report = run(folder, model, settings=how)
    assert report.notes[0].startswith("1 slide(s) had been finished")
    assert model.tiles == 2 * TILES - kept
    assert [slide.kept for slide in report.slides] == [0, kept, 0]
    assert all(slide.distance is not None and len(slide.distance.stripes) == ROWS for slide in report.slides)
    assert [slide.distance for slide in report.slides] == [slide.distance for slide in whole.slides]
    assert rasters(folder / "out") == rasters(folder / "whole")
    assert [slide.name for slide in read_predictions(folder / "out").slides] == ["a", "b", "c"]
    assert not list(folder.glob("*shared*"))


def test_predicting_again_replaces_what_is_there_and_leaves_nothing(folder: Path) -> None:
    run(folder, PixelModel())
    model = Mortal()
    report = run(folder, model, overwrite=True)
    assert model.tiles == 3 * TILES and report.missing == 0
    assert not list(folder.glob("out?*"))


def test_a_folder_that_another_process_finishes_meanwhile_is_reported(folder: Path) -> None:
    def finish() -> None:
        """As if this process slept while another one did all slides."""
        run(folder, PixelModel(), out="theirs")
        (root,) = folder.glob("out.shared-*")
        root.rename(folder / "gone")
        (folder / "theirs").rename(folder / "out")

    report = run(folder, Mortal(1, then=finish))
    assert [slide.name for slide in report.slides] == ["a", "b", "c"]
    assert (report.missing, report.total) == (0, 3)


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is posix")
def test_it_may_be_killed_again_and_again(folder: Path) -> None:
    run(folder, PixelModel(), out="whole")
    for _ in range(3):
        killed(folder, batch=5, slide=1)  # after four batches of whatever was left
    report = run(folder, PixelModel())
    assert [slide.name for slide in report.slides] == ["a", "b", "c"]
    assert rasters(folder / "out") == rasters(folder / "whole")


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is posix")
@pytest.mark.parametrize("what", ["settings", "model", "slide"])
def test_another_prediction_does_not_go_on_from_it(folder: Path, what: str) -> None:
    killed(folder)
    if what == "model":
        (folder / "model.onnx").write_bytes(b"others")
    if what == "slide":
        tifffile.imwrite(folder / "a.tif", np.zeros((64, 96, 3), np.uint8), tile=(64, 64), photometric="rgb")
    settings = SETTINGS if what != "settings" else PredictSettings(tile_px=64, halo_px=0, only_tissue=False)
    assert run(folder, PixelModel(), settings=settings).notes == ()
    assert not list(folder.glob("*shared*"))


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
