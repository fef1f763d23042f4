"""Samples with surroundings: the same from every store, cut around the same centre, aligned to the px."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tiny_tiles import HOOKNET, MakeTiles, tiny_recipe

from qpkit.core.annotation import Annotation, PathClass
from qpkit.dataset import TileRecord, TileSet, read_tile_set
from qpkit.dataset.splits import SplitRule
from qpkit.dataset.stores.slides import SlideStore, open_exported_slide
from qpkit.errors import ConfigError
from qpkit.qupath import write_geojson
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import project_classes, slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule
from qpkit_train.data.batches import TileReader, crop_corner
from qpkit_train.data.surroundings import read_sample, sample_of
from qpkit_train.loop import fit

FACTORS = (1, 2, 4)


def export(project: Path, out: Path, store: str, context: tuple[int, ...] = FACTORS) -> TileSet:
    settings = ExportSettings(
        mpp=4.0,
        tile_size=64,
        tissue=TissueRule.parse("otsu"),
        split=SplitRule.parse("metadata:Split"),
        store=store,  # type: ignore[arg-type]
        context=context,
    )
    export_tiles(slide_inputs([project]), out, settings, classes=project_classes([project]))
    return read_tile_set(out)


@pytest.fixture(scope="module")
def sets(made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TileSet]:
    """The same tiles with surroundings in each store; the slides' were exported without."""
    root = tmp_path_factory.mktemp("samples")
    found = {store: export(made_study, root / store, store) for store in ("files", "shards")}
    return {**found, "none": export(made_study, root / "none", "none", (1,))}


def middle(tiles: TileSet) -> TileRecord:
    """A tile with much of the slide around it."""
    return sorted(tiles.tiles, key=lambda t: (t.slide, abs(t.col - 3) + abs(t.row - 3)))[0]


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TileSet]:
    """Tiles of a slide of noise without coarser levels, in which no two places are alike."""
    root = tmp_path_factory.mktemp("noise")
    pixels = np.random.default_rng(0).integers(0, 256, (1300, 1100, 3), dtype=np.uint8)
    tifffile.imwrite(root / "noise.tif", pixels, tile=(256, 256))
    shape = shapely.Point(500, 600).buffer(290)
    write_geojson(root / "a.geojson", [Annotation(geometry=shape, path_class=PathClass(("Tumor",)))])
    inputs = slide_inputs([root / "noise.tif"], annotations=root / "a.geojson")
    for store in ("files", "none"):
        settings = ExportSettings(downsample=2, tile_size=64, context=FACTORS, store=store)  # type: ignore[arg-type]
        export_tiles(inputs, root / store, settings)
    return {store: read_tile_set(root / store) for store in ("files", "none")}


def is_middle(fine: NDArray[np.uint8], wide: NDArray[np.uint8], factor: int) -> bool:
    """Whether each px in the middle of the wide image is the mean of factor x factor px of the fine one."""
    side = len(fine) // factor
    start = (len(wide) - side) // 2
    means = fine.reshape(side, factor, side, factor, 3).mean(axis=(1, 3))
    # Both were rounded.
    return bool(np.abs(wide[start : start + side, start : start + side] - means).max() <= 1.01)


@pytest.mark.parametrize("store", ["shards", "none"])
def test_files_shards_and_slides_give_the_same_samples_and_crops(sets: dict[str, TileSet], store: str) -> None:
    files, other = sets["files"], sets[store]
    for number, (a, b) in enumerate(zip(files.tiles[::5], other.tiles[::5], strict=True)):
        assert np.array_equal(read_sample(files, a, FACTORS), read_sample(other, b, FACTORS))
        crops = [
            TileReader(tiles, factors=(1, 2)).crop(tile, [1], side=32, rng=np.random.default_rng(number), margin=margin)
            for tiles, tile in ((files, a), (other, b))
            for margin in (0, 9)
        ]
        assert np.array_equal(crops[0][0], crops[2][0]) and np.array_equal(crops[0][1], crops[2][1])
        assert np.array_equal(crops[1][0], crops[3][0]) and crops[1][0].shape == (50, 50, 6)


def test_the_middle_of_surroundings_is_the_tile_or_the_crop_to_the_px(noise: dict[str, TileSet]) -> None:
    for store, tiles in noise.items():
        tile = max(tiles.tiles, key=lambda t: t.pixels.get(1, 0))
        sample = read_sample(tiles, tile, FACTORS)
        assert sample.shape == (64, 64, 9)
        for number, factor in enumerate(FACTORS[1:], start=1):
            wide = sample[..., 3 * number : 3 * number + 3]
            assert is_middle(sample[..., :3], wide, factor)
            assert not is_middle(sample[..., :3], np.roll(wide, 1, axis=number - 1), factor)
        reader = TileReader(tiles, factors=FACTORS)
        for free in (False, store == "none"):
            corners = set()
            for seed in range(6):
                crop, _ = reader.crop(tile, [1], side=32, rng=np.random.default_rng(seed), free=free)
                assert is_middle(crop[..., :3], crop[..., 3:6], 2) and is_middle(crop[..., :3], crop[..., 6:], 4)
                corners.add(crop.tobytes())
            assert len(corners) > 2


def test_margins_of_free_crops_are_the_slide_in_every_image(noise: dict[str, TileSet]) -> None:
    tiles = noise["none"]
    reader, tile = TileReader(tiles, factors=(1, 4)), max(tiles.tiles, key=lambda t: t.pixels.get(1, 0))
    narrow, wide = (
        reader.crop(tile, [1], side=32, rng=np.random.default_rng(3), free=True, margin=margin)[0] for margin in (0, 24)
    )
    assert np.array_equal(narrow, wide[24:56, 24:56])
    assert is_middle(wide[..., :3], wide[..., 3:], 4)


def test_corners_keep_the_pixel_they_were_drawn_for_and_lie_on_the_step() -> None:
    target = np.zeros((96, 96), np.uint8)
    target[95, 37] = 1
    for free in (False, True):
        found = {
            crop_corner(target, [1], side=32, rng=np.random.default_rng(seed), free=free, step=8) for seed in range(60)
        }
        assert all(row % 8 == col % 8 == 0 and row <= 95 < row + 32 and col <= 37 < col + 32 for row, col in found)
        assert len(found) == (16 if free else 4)


def test_a_prediction_reads_what_training_read_to_the_bit(sets: dict[str, TileSet]) -> None:
    tiles = sets["none"]
    assert isinstance(tiles.store, SlideStore)
    tile = middle(tiles)
    place = tiles.store._place(tile)
    with open_exported_slide(tiles.root, tiles.info, tile.slide) as slide:
        core = replace(place, x=place.x + 16, y=place.y + 16, width=32, height=32, halo=16)
        assert np.array_equal(sample_of(slide, core, FACTORS), read_sample(tiles, tile, FACTORS))
        off = replace(core, x=core.x + 4)
        assert not np.array_equal(sample_of(slide, off, (1, 4)), read_sample(tiles, tile, (1, 4)))


def test_beside_the_slide_surroundings_are_white(sets: dict[str, TileSet]) -> None:
    tiles = sets["none"]
    corner = min(tiles.tiles, key=lambda t: (t.x + t.y, t.slide))
    wide = read_sample(tiles, replace(corner, x=0.0, y=0.0, col=0, row=0), (1, 4))[..., 3:]
    assert (wide[:24] == 255).all() and (wide[:, :24] == 255).all()


@pytest.mark.usefixtures("same_bits_each_time")
def test_files_shards_and_slides_train_the_same_model_with_surroundings(
    sets: dict[str, TileSet], tmp_path: Path
) -> None:
    changes = (*HOOKNET, "optim.epochs=1", "data.crop_px=32", "augment.rotate=20")
    found = {}
    for store, tiles in sets.items():
        fit(tiles.root, tmp_path / store, tiny_recipe(*changes))
        found[store] = load_file(tmp_path / store / "best.safetensors")
    for store in ("shards", "none"):
        assert all(torch.equal(found[store][name], found["files"][name]) for name in found["files"]), store


@pytest.mark.parametrize(
    ("changes", "context", "said"),
    [
        ((), (), "no surroundings of 4 times; export with --context 1,4, or --store none"),
        (("model.context=[2,4]",), (2,), "no surroundings of 4 times; export with --context 1,2,4"),
        (("data.crop_px=40",), (4,), "data.crop_px 40 px do not line up with surroundings of 4 times"),
        (("model.context=[]", "model.mpp=[1,4]"), (4,), "tiles are at 0.5 um/px, model.mpp begins with 1; export with"),
        (("model.context=[32]",), (32,), "um/px x 2^depth of its branches agree nowhere"),
        (("model.context=[3]",), (3,), "do not line up with surroundings of 3 times; take a multiple of 96"),
        (("model.context=[]",), (4,), "hooknet sees surroundings; say which with model.context"),
        (("loss.branch_weights=[1,1]",), (4,), "the network has 1 branch that answers"),
        (("model.architecture=dense-unet", "model.options={}"), (4,), "dense-unet takes 1 image"),
    ],
)
def test_what_does_not_fit_is_one_line_before_the_first_step(
    make_tiles: MakeTiles, tmp_path: Path, changes: tuple[str, ...], context: tuple[int, ...], said: str
) -> None:
    tiles = make_tiles(context=context)
    with pytest.raises(ConfigError) as caught:
        fit(tiles, tmp_path / "run", tiny_recipe(*HOOKNET, *changes))
    text = str(caught.value).replace(str(tmp_path), "")
    assert said in text and len(text) < 200 and "\n" not in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.context=[1]", "model.context"),
        ("model.context=[4,2]", "has to rise"),
        ("model.mpp=[0.5]", "model.mpp"),
        ("model.mpp=[0.5,0.8]", "whole factors"),
        ("model.mpp=[0,1]", "model.mpp"),
        ("model.context=[4096]", "below 1024"),
        ("semi.weight=1", "see one image"),
    ],
)
def test_surroundings_that_make_no_sense_are_refused_with_the_recipe(change: str, said: str) -> None:
    both = "model.context=[]" if "mpp" in change else "model.context=[4]"
    with pytest.raises(ConfigError, match=said):
        tiny_recipe(*HOOKNET, both, change)
    with pytest.raises(ConfigError, match="leave one of them out"):
        tiny_recipe(*HOOKNET, "model.mpp=[0.5,2]")


def test_um_per_px_and_factors_say_the_same() -> None:
    assert tiny_recipe(*HOOKNET, "model.context=[]", "model.mpp=[0.5,2,8]").model.factors == (1, 4, 16)
    assert tiny_recipe(*HOOKNET, "model.context=[]", "model.mpp=[0.2528,1.0112]").model.factors == (1, 4)
    assert tiny_recipe().model.factors == (1,)
