"""What the network is fed: the same bits in training, in predictions and in ONNX."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.dataset import read_tile_set
from qpkit.errors import FormatError, LabelError
from qpkit_train.data.batches import TileReader
from qpkit_train.data.normalization import (
    LUMA,
    Normalization,
    choose_normalization,
    named_normalization,
    normalize,
    normalized_bytes,
)
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.loop import Training, fit, make_fabric
from qpkit_train.recipe.settings import DataConfig
from qpkit_train.run_folder.run import load_run
from qpkit_train.run_folder.start import run_file

STILL = ("augment.hflip=0", "augment.vflip=0", "augment.rot90=false", "augment.brightness=0", "augment.contrast=0",
         "augment.saturation=0", "augment.hue=0")  # fmt: skip

KINDS = [
    ("imagenet", "false"),
    ("unit", "true"),
    ("signed", "false"),
    ("dataset", "false"),
    ("dataset", "true"),
]


@pytest.mark.parametrize(("name", "grey"), KINDS)
def test_predict_feeds_the_network_the_bits_that_training_fed_it(
    make_tiles: MakeTiles, tmp_path: Path, name: str, grey: str
) -> None:
    """In training, in validation and in prediction; and ONNX gives the same probabilities."""
    tiles = make_tiles()
    recipe = tiny_recipe(*STILL, f"data.normalization={name}", f"data.greyscale={grey}", "optim.epochs=1")
    tile_set = read_tile_set(tiles)
    data = training_tiles_of(tile_set, recipe)
    fabric = make_fabric(recipe)
    training = Training(tmp_path, recipe, data, fabric, run_file(tile_set, recipe, data, fabric.device))
    fed: list[torch.Tensor] = []
    training.network.register_forward_pre_hook(lambda module, inputs: fed.append(inputs[0].clone()))
    batch = training.batches_of(0)[0]
    training.step(batch, 0)
    fit(tiles, tmp_path / "run", recipe)
    predictor = Predictor(load_run(tmp_path / "run"))
    predictor._model.register_forward_pre_hook(lambda module, inputs: fed.append(inputs[0].clone()))
    predictor.answer(batch.images.movedim(1, -1).contiguous().numpy(), halo=0, probabilities=False)
    assert len(fed) == 2 and torch.equal(fed[0], fed[1])
    if grey == "true":
        spread = fed[0] * fed[0].new_tensor(training.normalization.deviation).view(1, 3, 1, 1)
        assert torch.allclose(spread[:, 0] - spread[:, 1], spread[:1, 0, :1, :1] - spread[:1, 1, :1, :1], atol=1e-6)


@pytest.mark.parametrize(("name", "grey"), [("dataset", "true"), ("signed", "false")])
def test_onnx_gives_the_probabilities_of_the_run(make_tiles: MakeTiles, tmp_path: Path, name: str, grey: str) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    from qpkit_train.inference.running.onnx_export import export_onnx
    from qpkit_train.inference.running.onnx_model import OnnxModel

    fit(make_tiles(), tmp_path / "run", tiny_recipe(f"data.normalization={name}", f"data.greyscale={grey}"))
    export_onnx(tmp_path / "run", tmp_path / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    models = Predictor(load_run(tmp_path / "run"), device="cpu"), OnnxModel(tmp_path / "model.onnx", device="cpu")
    ours, theirs = (model.answer(pixels, halo=0, probabilities=True).probabilities for model in models)
    assert ours is not None and theirs is not None
    assert abs(ours.astype(int) - theirs).max() <= 1


def test_data_set_figures_are_those_of_the_labelled_training_pixels(make_tiles: MakeTiles) -> None:
    root = make_tiles(train={1: 3, 0: 2}, val={1: 1})
    tile_set = read_tile_set(root)
    train = tile_set.of_split("train")
    mask = tile_set.read_mask(train[0]).copy()
    mask[:20] = 255
    Image.fromarray(mask).save(root / train[0].mask)
    pixels = [tile_set.read_image(tile)[tile_set.read_mask(tile) != 255] for tile in train]
    expected = np.concatenate(pixels).astype(np.float64) / 255
    for order in (train, train[::-1]):
        found = choose_normalization(DataConfig(normalization="dataset"), TileReader(tile_set), order)
        assert np.allclose(found.mean, expected.mean(axis=0), atol=1e-6)
        assert np.allclose(found.deviation, expected.std(axis=0), atol=1e-6)
    grey = choose_normalization(DataConfig(normalization="dataset", greyscale=True), TileReader(tile_set), train)
    luma = expected @ np.array(LUMA)
    assert np.allclose([grey.mean, grey.deviation], [[luma.mean()] * 3, [luma.std()] * 3], atol=1e-6)


def test_tiles_of_one_colour_are_not_blown_up_and_unlabelled_ones_are_refused(make_tiles: MakeTiles) -> None:
    root = make_tiles(train={1: 1}, val={})
    tile_set = read_tile_set(root)
    (tile,) = tile_set.tiles
    Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(root / tile.image)
    found = choose_normalization(DataConfig(normalization="dataset"), TileReader(tile_set), tile_set.tiles)
    assert found.deviation == (round(1 / 255, 6),) * 3
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(root / tile.mask)
    with pytest.raises(LabelError, match="no training tile has a labelled pixel"):
        choose_normalization(DataConfig(normalization="dataset"), TileReader(tile_set), tile_set.tiles)


def test_grey_is_luma_in_all_channels() -> None:
    pixels = torch.rand(2, 3, 4, 5, generator=torch.manual_seed(0))
    grey = normalize(pixels, named_normalization("unit", greyscale=True))
    expected = torch.einsum("nchw,c->nhw", pixels, torch.tensor(LUMA))
    assert all(torch.allclose(grey[:, channel], expected, atol=1e-6) for channel in range(3))


def test_a_run_keeps_its_numbers_and_without_them_a_measured_one_is_refused(
    make_tiles: MakeTiles, tmp_path: Path
) -> None:
    fit(make_tiles(), tmp_path / "run", tiny_recipe("data.normalization=dataset", "optim.epochs=1"))
    path = tmp_path / "run" / "run.json"
    kept = msgspec.json.decode(path.read_bytes())
    assert load_run(tmp_path / "run").normalization == msgspec.convert(kept["normalization"], Normalization)
    assert 0 < kept["normalization"]["mean"][0] < 1
    path.write_bytes(msgspec.json.encode({**kept, "normalization": None}))
    with pytest.raises(FormatError, match="measured normalization is missing"):
        Predictor(load_run(tmp_path / "run"))
    kept["recipe"]["data"]["normalization"] = "signed"
    path.write_bytes(msgspec.json.encode({**kept, "normalization": None}))
    assert load_run(tmp_path / "run").normalization == named_normalization("signed")


@pytest.mark.parametrize("greyscale", [False, True])
@pytest.mark.parametrize("name", ["imagenet", "unit", "signed"])
def test_a_table_of_bytes_normalises_to_the_bit_like_arithmetic(name: str, greyscale: bool) -> None:
    how = named_normalization(name, greyscale=greyscale)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)
    expected = normalize(torch.from_numpy(pixels).movedim(-1, 1).float() / 255, how)
    assert torch.equal(normalized_bytes(pixels, how), expected)
