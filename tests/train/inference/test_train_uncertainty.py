"""How unsure a model is, as a raster beside the labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from numpy.typing import NDArray
from test_train_blend import Blur
from test_train_slide_predictor import PixelModel

from qpkit.predictions import read_predictions
from qpkit.slides import SlideSource
from qpkit_train.inference.pixels.uncertainty import as_bytes, entropy_bytes, spread_levels
from qpkit_train.inference.predict import predict
from qpkit_train.inference.running import opening
from qpkit_train.inference.running.together import Together
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.models.card import LEVELS, Model

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SETTINGS = PredictSettings(probabilities=True, tile_px=64, halo_px=32)


def predicted(
    tmp_path: Path, name: str, how: PredictSettings, model: Model
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, float]]:
    """All rasters of a slide of noise, the right half of which is glass; and the means."""
    pixels = np.random.default_rng(1).integers(0, 240, (128, 128, 3), dtype=np.uint8)
    pixels[:, 64:] = 255
    tifffile.imwrite(tmp_path / "s.tif", pixels, tile=(64, 64), photometric="rgb")
    (tmp_path / "model.onnx").write_bytes(b"weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_one", lambda *_: model)
        source = SlideSource(name="s", path=tmp_path / "s.tif", mpp=0.5)
        report = predict(tmp_path / "model.onnx", [source], tmp_path / name, how)
    (row,) = read_predictions(tmp_path / name).slides
    found = {}
    for path in row.rasters:
        with rasterio.open(tmp_path / name / path) as dataset:
            found[path.split(".")[1]] = dataset.read()
    return found, report.slides[0].uncertainty


def test_entropy_is_0_where_it_is_certain_and_255_where_all_are_alike() -> None:
    known = np.array([[1, 0, 0], [1, 1, 1], [0.5, 0.5, 0], [0, 0, 0]], np.float32).T.reshape(1, 3, 4, 1)
    assert entropy_bytes(known).ravel().tolist() == [0, 255, round(np.log(2) / np.log(3) * 255), 0]
    rng = np.random.default_rng(0)
    some = rng.dirichlet([0.3, 0.3, 0.3], (2, 40, 30)).astype(np.float32).transpose(0, 3, 1, 2)
    ours = entropy_bytes(torch.from_numpy(some)).numpy().astype(int)
    assert np.abs(ours - entropy_bytes(some)).max() <= 1
    assert np.array_equal(entropy_bytes(some * 4), entropy_bytes(some))  # whatever the unit is


def test_spread_is_the_standard_deviation_of_the_looks() -> None:
    looks = np.random.default_rng(0).integers(0, LEVELS + 1, (5, 2, 3, 8, 8))
    sums, squares = looks.sum(axis=0).astype(np.int32), (looks.astype(np.int64) ** 2).sum(axis=0)
    expected = looks.std(axis=0).max(axis=1) * 2
    assert np.abs(spread_levels(sums, squares, 5) - expected).max() <= 0.5 + 1e-6
    apart = np.array([0, LEVELS]).reshape(2, 1, 1, 1, 1)
    sums, squares = apart.sum(axis=0).astype(np.int32), (apart.astype(np.int64) ** 2).sum(axis=0)
    assert as_bytes(spread_levels(sums, squares, 2)).item() == 255


@pytest.mark.parametrize("blend", ["crop", "linear"])
@pytest.mark.parametrize("tta", ["none", "d4"])
def test_to_ask_for_uncertainty_changes_nothing_else(tmp_path: Path, blend: str, tta: str) -> None:
    how = replace(SETTINGS, blend=blend, tta=tta)
    model = Blur(symmetric=False) if (blend, tta) != ("crop", "none") else PixelModel()
    plain, nothing = predicted(tmp_path, "plain", how, model)
    unsure, means = predicted(tmp_path, "unsure", replace(how, uncertainty=True), model)
    assert nothing == {} and set(unsure) == {*plain, "uncertainty"}
    assert all(np.array_equal(plain[name], unsure[name]) for name in plain)
    bands = unsure["uncertainty"]
    assert len(bands) == (1 if tta == "none" else 2)
    assert not bands[:, :, 80:].any() and bands[:, :, 8:56].any(axis=(1, 2)).all()  # glass is certain
    # From bytes of probabilities it comes out nearly the same.
    again = entropy_bytes(unsure["probabilities"][np.newaxis])[0].astype(int)
    assert np.abs(again - bands[0]).max() <= 6
    assert list(means) == ["entropy", "spread"][: len(bands)]
    assert all(0 < mean < 1 for mean in means.values())


def test_looks_that_agree_have_no_spread() -> None:
    pixels = np.random.default_rng(1).integers(0, 240, (1, 96, 96, 3), dtype=np.uint8)
    same = Together([Blur(), Blur()], "none").answer(pixels, halo=32, probabilities=False, uncertainty=True)
    assert same.uncertainty is not None and not same.uncertainty[:, 1].any()
    apart = Together([Blur(), Blur(symmetric=False)]).answer(pixels, halo=32, probabilities=False, uncertainty=True)
    assert apart.uncertainty is not None and apart.uncertainty[:, 1].any()
