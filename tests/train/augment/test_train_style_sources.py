"""Where stainings come from: every slide's tiles in turn, or a folder; what has none is said before the first step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_tiles import MakeTiles, tiny_recipe

from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError
from qpkit_train.augment.style_sources import style_source
from qpkit_train.data.batches import TileReader
from qpkit_train.loop import fit
from qpkit_train.recipe.settings import AugmentConfig


def picture(path: Path, level: int, *, size: tuple[int, int] = (80, 100)) -> None:
    pixels = np.random.default_rng(level).integers(level - 30, level, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def test_every_slide_gives_pictures_in_turn_and_nothing_is_read_where_it_is_off(make_tiles: MakeTiles) -> None:
    tiles = read_tile_set(make_tiles())
    reader, train = TileReader(tiles), tiles.of_split("train")
    both = [
        replace(tile, slide=f"slide-{number % 2}") for number, tile in enumerate(sorted(train, key=lambda t: t.key))
    ]
    ordered = sorted(both, key=lambda tile: tile.slide)
    found = style_source(AugmentConfig(style=1), reader, ordered)
    assert found is not None and found.dtype == torch.uint8 and found.shape[1:] == (3, 64, 64)
    firsts = [next(tile for tile in both if tile.slide == name) for name in ("slide-0", "slide-1")]
    for pixels, tile in zip(found, firsts, strict=False):
        assert np.array_equal(pixels.movedim(0, -1), reader.read(tile)[0])
    assert len(found) == len(train)
    for off in (AugmentConfig(), AugmentConfig(style=1, style_p=0)):
        assert style_source(off, reader, train) is None


def test_pictures_of_any_size_and_kind_are_taken_from_a_folder(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, folder = read_tile_set(make_tiles()), tmp_path / "others"
    folder.mkdir()
    for name, level, size in (("a.png", 120, (300, 70)), ("b.jpg", 160, (20, 40)), ("c.tif", 90, (64, 64))):
        picture(folder / name, level, size=size)
    Image.new("RGB", (90, 90), "white").save(folder / "glass.png")
    (folder / "notes.txt").write_text("no picture")
    how = AugmentConfig(style=1, style_from=str(folder))
    found = style_source(how, TileReader(tiles), tiles.tiles)
    assert found is not None and found.shape == (3, 3, 64, 64)
    assert np.allclose(found.float().mean((1, 2, 3)), [105, 145, 75], atol=3)


def test_a_folder_without_tissue_or_with_a_broken_picture_is_one_line_before_the_first_step(
    make_tiles: MakeTiles, tmp_path: Path
) -> None:
    tiles, folder = make_tiles(), tmp_path / "others"
    for content, said in (
        (None, "no folder"), ("glass", "none of its pictures shows tissue"), ("broken", "cannot be read"),
    ):  # fmt: skip
        if content is not None:
            folder.mkdir(exist_ok=True)
        if content == "glass":
            Image.new("RGB", (90, 90), "white").save(folder / "glass.png")
        if content == "broken":
            (folder / "broken.png").write_bytes((folder / "glass.png").read_bytes()[:60])
        recipe = tiny_recipe("augment.style=1", f'augment.style_from="{folder}"')
        with pytest.raises(ConfigError, match=said):
            fit(tiles, tmp_path / "run", recipe)
        assert not (tmp_path / "run").exists()
