"""Training takes tiles from files, from shards and straight from the slides, and it makes no difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_tiles import tiny_recipe

from qpkit.dataset import read_tile_set
from qpkit.dataset.splits import SplitRule
from qpkit.dataset.stores.slides import SlideStore
from qpkit.errors import ConfigError, FormatError
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import project_classes, slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule
from qpkit_train.data.batches import TileReader, crop_corner
from qpkit_train.loop import fit

OTHERS = ("shards", "none")


def export(project: Path, out: Path, store: str, *, mpp: float = 4.0) -> Path:
    settings = ExportSettings(
        mpp=mpp,
        tile_size=64,
        tissue=TissueRule.parse("otsu"),
        split=SplitRule.parse("metadata:Split"),
        store=store,  # type: ignore[arg-type]
    )
    export_tiles(slide_inputs([project]), out, settings, classes=project_classes([project]))
    return out


def train(tiles: Path, out: Path, *, workers: int = 0) -> dict[str, torch.Tensor]:
    changes = ("data.crop_px=32", "augment.rotate=20", f"data.workers={workers}")
    fit(tiles, out, tiny_recipe("optim.epochs=1", *changes))
    return load_file(out / "best.safetensors")


def test_files_shards_and_slides_train_the_same_model(made_study: Path, tmp_path: Path) -> None:
    expected = train(export(made_study, tmp_path / "files", "files"), tmp_path / "run")
    for store in OTHERS:
        tiles = export(made_study, tmp_path / store, store)
        for workers in (0, 2):
            found = train(tiles, tmp_path / f"run-{store}-{workers}", workers=workers)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected), (store, workers)


@pytest.mark.parametrize("store", OTHERS)
def test_training_on_tiles_that_are_gone_says_so_in_one_line(study: Path, tmp_path: Path, store: str) -> None:
    tiles = export(study, tmp_path / "tiles", store)
    (study / "slides" if store == "none" else tiles / "shards").rename(tmp_path / "gone")
    with pytest.raises(FormatError, match="patient"):
        train(tiles, tmp_path / "run")


def test_a_window_of_a_streamed_tile_is_the_same_part_of_the_tile(made_study: Path, tmp_path: Path) -> None:
    tiles = read_tile_set(export(made_study, tmp_path / "tiles", "none", mpp=1.37))
    assert isinstance(tiles.store, SlideStore)
    for tile in tiles.tiles[::17]:
        for layer in ("image", "mask"):
            whole = tiles.read(tile, layer)
            assert np.array_equal(tiles.store.window(tile, layer, x=5, y=9, side=40), whole[9:49, 5:45])
    places = {(t.slide, t.col, t.row): t for t in tiles.tiles}
    (slide, col, row), other = next((p, t) for p, t in places.items() if (p[0], p[1] - 1, p[2]) in places)
    beyond = tiles.store.window(places[slide, col - 1, row], "image", x=32, y=0, side=64)
    assert np.array_equal(beyond[:, 32:], tiles.read_image(other)[:, :32])


def test_free_crops_hold_what_they_are_drawn_for_in_changing_surroundings(made_study: Path, tmp_path: Path) -> None:
    tiles = read_tile_set(export(made_study, tmp_path / "tiles", "none"))
    tile = max(tiles.tiles, key=lambda t: t.pixels.get(1, 0))
    reader, rng = TileReader(tiles), np.random.default_rng(0)
    crops = [reader.crop(tile, [1], side=48, rng=rng, free=True) for _ in range(40)]
    assert all((target == 1).any() for _, target in crops)
    corners = [crop_corner(tiles.read_mask(tile), [1], side=48, rng=rng, free=True) for _ in range(60)]
    assert min(min(corner) for corner in corners) < 0 or max(max(corner) for corner in corners) > 16
    for seed in range(4):  # with more around it than the tile has
        narrow, wide = (
            reader.crop(tile, [1], side=48, rng=np.random.default_rng(seed), free=True, margin=margin)
            for margin in (0, 40)
        )
        assert all(np.array_equal(a, b[40:88, 40:88]) for a, b in zip(narrow, wide, strict=True))
        assert wide[0].shape == (128, 128, 3) and wide[1].shape == (128, 128)
    recipe = tiny_recipe("optim.epochs=1", "data.crop_px=48", "data.free_crops=true")
    fit(tmp_path / "tiles", tmp_path / "run", recipe)
    with pytest.raises(ConfigError, match="--store none"):
        fit(export(made_study, tmp_path / "files", "files"), tmp_path / "other", recipe)
