"""Blending and test-time augmentation with models that are known to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_train_slide_predictor import CARD, PixelModel, probabilities

from qpkit.core.tiles import TileGrid
from qpkit.errors import ConfigError
from qpkit.progress import no_progress
from qpkit.slides import SlideSource, open_source
from qpkit_train.inference.pixels.blend import Blend, Blender, axis_weights
from qpkit_train.inference.predicted import PredictedSlide
from qpkit_train.inference.running.together import Together, Tta
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.slide import SlidePredictor
from qpkit_train.models.card import LEVELS, Answer, Model

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SIDE = 128
SETTINGS = PredictSettings(probabilities=True, tile_px=64, halo_px=32, only_tissue=False)


class Blur(PixelModel):
    """A network that looks 2 px around: each class has a 5 x 5 kernel of its own; zeros beyond the tile."""

    def __init__(self, *, symmetric: bool = True) -> None:
        super().__init__()
        kernel = torch.rand(3, 3, 5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        turned = [torch.rot90(kernel, k, (2, 3)) for k in range(4)]
        self.kernel = sum(turned) + sum(part.flip(3) for part in turned) if symmetric else kernel * 8

    def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        images = torch.from_numpy(pixels).movedim(-1, 1).double() / 255
        found = torch.nn.functional.conv2d(images, self.kernel, padding=2)
        return (found / found.sum(1, keepdim=True).clamp(min=1e-9) * LEVELS).round().numpy().astype(np.uint16)

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        levels = self.levels(pixels)[..., halo : pixels.shape[1] - halo, halo : pixels.shape[2] - halo]
        return Answer(
            levels.argmax(axis=1).astype(np.uint8), ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        )


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 240, (SIDE, SIDE, 3), dtype=np.uint8)


def predicted(
    pixels: NDArray[np.uint8], root: Path, how: PredictSettings, model: Model, limits: tuple[int, ...] = (0, 0, 0)
) -> tuple[NDArray[np.uint8], PredictedSlide]:
    root.mkdir()
    tifffile.imwrite(root / "s.tif", pixels, tile=(64, 64), photometric="rgb")
    source = SlideSource(name="s", path=root / "s.tif", mpp=0.5)
    with open_source(source) as slide:
        job = SlidePredictor(CARD, source, slide, root, "s", how, np.array(limits, np.uint8))
        report = job.run_with(model, no_progress)
    with rasterio.open(root / "s.probabilities.tif") as bands, rasterio.open(root / "s.labels.tif") as labels:
        return np.concatenate([labels.read(), bands.read()]), report


@pytest.mark.parametrize(("tile", "halo"), [(64, 32), (96, 32)])
def test_cropping_is_the_whole_image_at_once(pixels: NDArray[np.uint8], tmp_path: Path, tile: int, halo: int) -> None:
    whole, _ = predicted(pixels, tmp_path / "whole", replace(SETTINGS, tile_px=SIDE, halo_px=32), Blur())
    tiles, _ = predicted(pixels, tmp_path / "tiles", replace(SETTINGS, tile_px=tile, halo_px=halo), Blur())
    assert np.array_equal(whole, tiles)


@pytest.mark.parametrize("blend", ["linear", "gaussian"])
def test_blending_does_not_depend_on_batches_or_threads(
    pixels: NDArray[np.uint8], tmp_path: Path, blend: Blend
) -> None:
    how = replace(SETTINGS, blend=blend, tile_px=64, halo_px=32)
    found = [
        predicted(
            pixels[:100], tmp_path / f"{batch}-{readers}", replace(how, batch_size=batch, readers=readers), Blur()
        )[0]
        for batch, readers in ((1, 1), (2, 3), (5, None))
    ]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


@pytest.mark.parametrize("blend", ["linear", "gaussian"])
def test_tiles_that_agree_are_not_changed_by_blending(pixels: NDArray[np.uint8], tmp_path: Path, blend: Blend) -> None:
    found, _ = predicted(pixels, tmp_path / "out", replace(SETTINGS, blend=blend), PixelModel())
    assert np.array_equal(found[1:], probabilities(pixels))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 99), blend=st.sampled_from(["linear", "gaussian"]), halo=st.sampled_from([0, 3, 8]),
    left_out=st.sets(st.integers(0, 11)),
)  # fmt: skip
def test_blending_is_the_weighted_mean_in_whatever_order(
    seed: int, blend: Blend, halo: int, left_out: set[int]
) -> None:
    core, rng = 8, np.random.default_rng(seed)
    grid = TileGrid(slide_width=32, slide_height=24, tile_size=core, halo=halo, downsample=1.0)
    tiles = [tile for i, tile in enumerate(grid) if i not in left_out]
    levels = {(t.col, t.row): rng.integers(0, LEVELS + 1, (2, core + 2 * halo, core + 2 * halo)) for t in tiles}
    weight = np.multiply.outer(*[axis_weights(blend, core=core, halo=halo).astype(float)] * 2)
    total, weights = np.zeros((2, 24 + 2 * halo, 32 + 2 * halo)), np.zeros((24 + 2 * halo, 32 + 2 * halo))
    for tile in tiles:
        there = np.s_[tile.y : tile.y + core + 2 * halo, tile.x : tile.x + core + 2 * halo]
        total[(slice(None), *there)] += levels[tile.col, tile.row] * weight
        weights[there] += weight
    mean = total / np.maximum(weights, 1) / LEVELS * 255
    blender = Blender(tiles, blend, classes=2, core=core, halo=halo)
    seen = set()
    for i in rng.permutation(len(tiles)):
        one = levels[tiles[i].col, tiles[i].row].astype(np.uint16)[np.newaxis]
        for tile, answer in blender.add([tiles[i]], one):
            expected = mean[:, tile.y + halo : tile.y + halo + core, tile.x + halo : tile.x + halo + core]
            assert answer.probabilities is not None
            assert np.abs(answer.probabilities[0] - expected).max() <= 0.5 + 1e-9
            assert np.array_equal(answer.indices[0], expected.argmax(axis=0))
            seen.add((tile.col, tile.row))
    assert seen == set(levels)


def test_linear_weights_of_neighbours_add_up_to_the_same() -> None:
    weights = axis_weights("linear", core=64, halo=16).astype(int)
    assert (np.abs(weights[64 : 64 + 32] + weights[:32] - 64) <= 1).all() and (weights[32:64] == 64).all()


@pytest.mark.parametrize("blend", ["crop", "linear"])
def test_a_halo_that_is_too_small_shows_at_the_borders_and_blending_hides_it(tmp_path: Path, blend: Blend) -> None:
    """With zeros beyond each tile a model that compares with its surroundings sees borders where none are."""

    class Edgy(Blur):
        def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
            rise = np.linspace(0, LEVELS, pixels.shape[2]).astype(np.uint16)
            one = np.broadcast_to(rise, pixels.shape[:3])
            return np.stack([one, LEVELS - one, np.zeros_like(one)], axis=1)

    smooth = np.full((SIDE, SIDE, 3), 90, np.uint8)
    _, report = predicted(smooth, tmp_path / "out", replace(SETTINGS, blend=blend), Edgy())
    assert report.seams is not None and report.seams.ratio is not None
    assert report.seams.ratio > 5 if blend == "crop" else report.seams.ratio < 2


@pytest.mark.parametrize("tta", ["flips", "d4"])
def test_a_model_that_turns_with_its_image_gives_the_same_with_augmentation(
    pixels: NDArray[np.uint8], tmp_path: Path, tta: Tta
) -> None:
    plain, _ = predicted(pixels, tmp_path / "plain", SETTINGS, Blur())
    several, _ = predicted(pixels, tmp_path / "several", SETTINGS, Together([Blur()], tta))
    assert np.abs(plain[1:].astype(int) - several[1:]).max() <= 1
    assert (plain[0] != several[0]).mean() < 1e-3


@pytest.mark.parametrize("blend", ["crop", "linear", "gaussian"])
def test_a_turned_slide_gives_the_turned_result(pixels: NDArray[np.uint8], tmp_path: Path, blend: Blend) -> None:
    model = Together([Blur(symmetric=False)], "d4")
    how = replace(SETTINGS, blend=blend)
    found, _ = predicted(pixels, tmp_path / "as-it-is", how, model)
    turned, _ = predicted(np.ascontiguousarray(np.rot90(pixels)), tmp_path / "turned", how, model)
    assert np.array_equal(np.rot90(found, axes=(1, 2)), turned)


def test_an_ensemble_is_the_mean_of_its_models(pixels: NDArray[np.uint8], tmp_path: Path) -> None:
    one, other = Blur(), Blur(symmetric=False)
    found, _ = predicted(pixels, tmp_path / "out", SETTINGS, Together([one, other]))
    mean = (one.levels(pixels[np.newaxis])[0].astype(int) + other.levels(pixels[np.newaxis])[0]) / 2 / LEVELS * 255
    inside = np.s_[:, 8:-8, 8:-8]  # at the slide's edge tiles see white, the whole image zeros
    assert np.abs(found[1:][inside] - mean[inside]).max() <= 0.5 + 1e-9


def test_models_that_do_not_fit_are_refused_in_one_line() -> None:
    for changed, word in (
        (replace(CARD, labels=replace(CARD.labels, background=7)), "classes"),
        (replace(CARD, mpp=1.0), "um/px"),
    ):
        with pytest.raises(ConfigError, match=word) as info:
            Together([PixelModel(), PixelModel(changed)])
        assert len(str(info.value)) < 200


@pytest.mark.parametrize("halo", [0, 96])
def test_blending_needs_a_halo_no_wider_than_the_tile(halo: int) -> None:
    with pytest.raises(ConfigError, match="--halo"):
        replace(SETTINGS, blend="linear", halo_px=halo)


def test_further_models_are_read_from_the_command_line() -> None:
    assert PredictSettings.of(others=["fold-1", "b.onnx"]).others == (Path("fold-1"), Path("b.onnx"))
