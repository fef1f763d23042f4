"""A network that sees surroundings, from training to predicted slides: torch, ONNX, turns, pages, tile classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from safetensors.torch import load_file
from test_train_classifier import classifier
from tiny_tiles import HOOKNET, MakeTiles, tiny_recipe

from qpkit.dataset import TileRecord, TileSet, read_tile_set
from qpkit.dataset.splits import SplitRule
from qpkit.errors import ConfigError
from qpkit.predictions.store import read_predictions
from qpkit.report.pages.augmentations import preview_augmented
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import project_classes, slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule
from qpkit_train.classify import fit_classifier
from qpkit_train.data.surroundings import read_sample
from qpkit_train.evaluation import evaluate_run
from qpkit_train.inference.predict import predict
from qpkit_train.inference.running.opening import open_model
from qpkit_train.inference.running.together import Together, require_alike
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.loop import fit
from qpkit_train.models.card import LEVELS
from qpkit_train.preview import augmented_batches
from qpkit_train.run_folder.run import load_run
from qpkit_train.tile_predictions import TilePredictor

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def trained(made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TileSet, Path]:
    """Tiles with surroundings, and a run that looks at them."""
    root = tmp_path_factory.mktemp("trained")
    settings = ExportSettings(mpp=4.0, tile_size=64, tissue=TissueRule.parse("otsu"), store="none",
                              split=SplitRule.parse("metadata:Split"))  # fmt: skip
    export_tiles(slide_inputs([made_study]), root / "tiles", settings, classes=project_classes([made_study]))
    fit(root / "tiles", root / "run", tiny_recipe(*HOOKNET, "optim.epochs=1"))
    return read_tile_set(root / "tiles"), root / "run"


def raster_at(folder: Path, tile: TileRecord, *, probabilities: bool = False) -> np.ndarray:
    """(bands, rows, columns) of a raster where a tile is."""
    (row,) = read_predictions(folder).slides
    x, y = (round(at / tile.downsample) for at in (tile.x, tile.y))
    with rasterio.open(folder / str(row.probabilities if probabilities else row.labels)) as raster:
        found: np.ndarray = raster.read()[:, y : y + 64, x : x + 64]
    return found


def test_a_slide_is_predicted_with_the_surroundings_that_training_saw(
    trained: tuple[TileSet, Path], made_study: Path, tmp_path: Path
) -> None:
    tiles, run = trained
    (item,) = [item for item in slide_inputs([made_study]) if item.source.name == "patient_A.tif"]
    alone = PredictSettings(tile_px=64, halo_px=0, only_tissue=False, batch_size=3, probabilities=True)
    predict(run, [item.source], tmp_path / "alone", alone)
    own = [tile for tile in tiles.tiles if tile.slide == item.source.name]
    for tile, (classes, sure) in TilePredictor(run).predict(tiles, own):
        probabilities = raster_at(tmp_path / "alone", tile, probabilities=True)
        _, rows, columns = probabilities.shape
        found = np.take_along_axis(probabilities, classes[None, :rows, :columns], axis=0)[0]
        # 8 bits of it are kept.
        assert np.abs(found - sure[:rows, :columns] / (LEVELS / 255)).max() < 0.51, tile.key
    # The halo widens what is seen, so other answers are fine; the surroundings of tile and halo still line up.
    predict(run, [item.source], tmp_path / "halo", replace(alone, halo_px=64, tile_px=128))
    agree = [np.mean(raster_at(tmp_path / "halo", tile) == raster_at(tmp_path / "alone", tile)) for tile in own]
    assert np.mean(agree) > 0.9


@pytest.mark.usefixtures("on_cpu")
def test_onnx_predicts_the_slide_as_the_run_does(
    trained: tuple[TileSet, Path], made_study: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    from qpkit_train.inference.running.onnx_export import export_onnx

    _, run = trained
    export_onnx(run, tmp_path / "model.onnx")
    (item,) = [item for item in slide_inputs([made_study]) if item.source.name == "patient_A.tif"]
    for name, model in (("torch", run), ("onnx", tmp_path / "model.onnx")):
        predict(model, [item.source], tmp_path / name, PredictSettings(tile_px=128, halo_px=32, blend="linear"))
    found = []
    for name in ("torch", "onnx"):
        (row,) = read_predictions(tmp_path / name).slides
        with rasterio.open(tmp_path / name / row.labels) as raster:
            found.append(raster.read(1))
    assert np.mean(found[0] != found[1]) < 1e-3


def test_turned_looks_turn_the_surroundings_too(trained: tuple[TileSet, Path]) -> None:
    tiles, run = trained
    model = Together([Predictor(load_run(run), device="cpu")], "d4")
    pixels = read_sample(tiles, tiles.tiles[4], (1, 4))[np.newaxis]
    levels = model.levels(pixels)
    for turns in (1, 2, 3):
        turned = model.levels(np.ascontiguousarray(np.rot90(pixels, turns, (1, 2))))
        assert np.array_equal(np.rot90(turned, -turns, (2, 3)), levels)


def test_batch_norms_are_calibrated_on_samples(trained: tuple[TileSet, Path], made_study: Path, tmp_path: Path) -> None:
    _, run = trained
    (item,) = [item for item in slide_inputs([made_study]) if item.source.name == "patient_A.tif"]
    how = PredictSettings(tile_px=128, halo_px=32, calibrate="batch-norm")
    report = predict(run, [item.source], tmp_path / "out", how)
    assert report.slides and read_predictions(tmp_path / "out").slides


def test_models_that_see_other_surroundings_are_not_averaged(trained: tuple[TileSet, Path]) -> None:
    _, run = trained
    card = open_model(run, PredictSettings(), device="cpu").card
    with pytest.raises(ConfigError, match=r"sees images of 1 times the tile, .* of 1, 4 times|1 and 4 times"):
        require_alike(card, replace(card, factors=(1,)))


def test_tiles_are_measured_again_as_they_were(trained: tuple[TileSet, Path]) -> None:
    _, run = trained
    opened = load_run(run)
    evaluation = evaluate_run(opened)
    assert evaluation.worst[0].image.shape == (64, 64, 3)
    row = opened.file.metrics
    assert evaluation.loss == pytest.approx(row["val_loss"], rel=1e-4) if "val_loss" in row else evaluation.loss > 0


def test_a_page_shows_the_surroundings_changed_as_one(make_tiles: MakeTiles, tmp_path: Path) -> None:
    recipe = tiny_recipe(*HOOKNET, "augment.rotate=30")
    shown = augmented_batches(make_tiles(context=(4,)), recipe, count=3, versions=2)
    assert [[factor for factor, _ in item.surroundings] for item in shown.tiles] == [[4]] * 3
    assert all(
        len(wider) == 3 and wider[0].shape == (64, 64, 3) for item in shown.tiles for _, wider in item.surroundings
    )
    assert all(pair[0].shape == (64, 64, 3) for item in shown.tiles for pair in item.versions)
    preview_augmented(shown, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text.count("<img") == 3 * 2 * 3 and "4 times the surroundings" in text
    plain = augmented_batches(make_tiles(name="plain"), tiny_recipe(), count=1, versions=1)
    assert plain.tiles[0].surroundings == ()


def test_a_tile_classifier_sees_the_surroundings(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles(context=(4,))
    report = fit_classifier(tiles, tmp_path / "run", classifier("model.context=[4]", "optim.epochs=1"))
    alone = fit_classifier(tiles, tmp_path / "alone", classifier("optim.epochs=1"))
    assert report.confusion.sum() == alone.confusion.sum() > 0
    network = load_run(tmp_path / "run").load_model()
    pixels = torch.rand(1, 6, 64, 64)
    other = pixels.clone()
    other[:, 3:] = 1 - other[:, 3:]
    with torch.inference_mode():
        assert not torch.allclose(network(pixels), network(other))


@pytest.mark.usefixtures("same_bits_each_time")
def test_a_training_with_surroundings_is_resumed_with_the_same_bits(make_tiles: MakeTiles, tmp_path: Path) -> None:
    recipe = tiny_recipe(*HOOKNET, "augment.rotate=20", "augment.elastic_px=4", "augment.noise=0.05", "data.crop_px=32")

    def cut(done: int, total: int, text: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    tiles = make_tiles(context=(4,))
    fit(tiles, tmp_path / "whole", recipe)
    with pytest.raises(KeyboardInterrupt):
        fit(tiles, tmp_path / "cut", recipe, on_progress=cut)
    assert fit(tiles, tmp_path / "cut", recipe, resume=True).resumed_from == 1
    whole, resumed = (load_file(tmp_path / name / "last-0002.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
