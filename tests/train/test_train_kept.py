"""Tiles, run folders, ONNX files and predictions that an earlier qpkit wrote still open, and do what they did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from qpkit.dataset import read_tile_set
from qpkit.predictions import read_predictions
from qpkit.slides import SlideSource
from qpkit_train.inference.predict import predict
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.loop import fit
from qpkit_train.run_folder.records import read_state
from qpkit_train.run_folder.run import load_run
from shared_data import ROOT

KEPT = ROOT / "tests/kept"

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def bands(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read()


def test_tiles_are_read() -> None:
    tiles = read_tile_set(KEPT / "tiles")
    assert [len(tiles.of_split(split)) for split in ("train", "val")] == [6, 3]
    for tile in tiles.tiles:
        values, counts = np.unique(tiles.read_mask(tile), return_counts=True)
        assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == tile.pixels


def test_a_run_says_what_it_is_and_its_recipe_is_still_the_same_run() -> None:
    run = load_run(KEPT / "run")
    stored = json.loads((KEPT / "run/run.json").read_text())
    assert run.id == stored["id"] == "unet-resnet18-8a04b5"
    assert run.file.thresholds == stored["thresholds"]
    assert run.load_model()(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("model", ["run", "model.onnx"])
def test_a_model_predicts_what_it_predicted(model: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    slide = SlideSource(name="slide.tif", path=KEPT / "slide.tif", mpp=0.5)
    settings = PredictSettings(probabilities=True, halo_px=32, tile_px=32, thresholds={"Lesion": 0.4})
    predict(KEPT / model, [slide], tmp_path / "out", settings)
    before, now = read_predictions(KEPT / "predictions"), read_predictions(tmp_path / "out")
    assert (before.run, before.model) == (now.run, now.model)
    for name in ("slide.tif.labels.tif", "slide.tif.probabilities.tif"):
        then, here = bands(KEPT / "predictions" / name), bands(tmp_path / "out" / name)
        differs = np.abs(then.astype(int) - here) > (0 if "labels" in name else 1)
        assert differs.mean() < 0.001  # other processors add in another order


@pytest.mark.usefixtures("on_cpu")
def test_a_training_that_was_stopped_goes_on_to_where_the_finished_one_came(tmp_path: Path) -> None:
    tiles, run = tmp_path / "tiles", tmp_path / "run"
    shutil.copytree(KEPT / "tiles", tiles)
    shutil.copytree(KEPT / "interrupted", run)
    report = fit(tiles, run, load_run(run).recipe, resume=True)
    assert (report.run, report.resumed_from, report.epochs) == ("unet-resnet18-8a04b5", 2, 3)
    ended, whole = read_state(run, run=report.run), read_state(KEPT / "run", run=report.run)
    assert ended is not None and whole is not None
    assert [row["epoch"] for row in ended.history] == [1, 2, 3]
    for mine, theirs in zip(ended.history, whole.history, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
        assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-4)
