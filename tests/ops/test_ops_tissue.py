from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.tiles import Region, SlideInfo, Tile, TileGrid
from qpkit.ops.tissue import rgb_std, solid_tissue, thumbnail_tissue, tissue_fraction, tissue_mask, tissue_of_tile


def test_pink_tissue_is_told_from_grey_glass() -> None:
    picture = np.full((60, 80, 3), (241, 239, 242), dtype=np.uint8)
    picture[10:40, 20:50] = (220, 150, 190)
    mask = tissue_mask(picture)
    assert mask[10:40, 20:50].all()
    assert mask.sum() == 900
    assert not tissue_mask(np.full((9, 9, 3), 240, dtype=np.uint8)).any()


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1.0, 3.0, 7.5]))
def test_shares_of_tiles_add_up_to_the_mask(size: int, seed: int, step: float) -> None:
    mask = np.random.default_rng(seed).random((20, 30)) < 0.4
    width, height = int(30 * step), int(20 * step)
    whole = tissue_fraction(mask, Region(x=0, y=0, width=width, height=height), width, height)
    assert whole == pytest.approx(mask.mean(), abs=0.02)
    outside = tissue_fraction(mask, Region(x=width + 50, y=0, width=size, height=size), width, height)
    assert outside == 0


def test_lumens_are_filled_but_neither_large_glass_nor_the_slides_edge() -> None:
    mask = np.ones((40, 40), dtype=bool)
    mask[5:8, 5:8] = mask[15:30, 15:30] = mask[0:3, 20:23] = False
    solid = solid_tissue(mask, largest_hole=20)
    assert solid[6, 6]
    assert not solid[22, 22]
    assert not solid[0, 21]
    assert solid_tissue(mask[10:20, 10:14], largest_hole=0).all()


@given(st.integers(5, 37), st.sampled_from([1.0, 2.0, 3.3]))
def test_looking_up_tiles_is_looking_up_the_slide(size: int, downsample: float) -> None:
    mask = np.random.default_rng(0).random((25, 33)) < 0.5
    grid = TileGrid(slide_width=300, slide_height=200, tile_size=size, downsample=downsample)
    columns, rows = grid.columns * size, grid.rows * size
    whole = Tile(col=0, row=0, x=0, y=0, width=columns, height=rows, downsample=downsample)
    expected = tissue_of_tile(mask, whole, 300, 200)
    for tile in grid:
        found = tissue_of_tile(mask, tile, 300, 200)
        assert np.array_equal(found, expected[tile.y : tile.y + size, tile.x : tile.x + size])


def test_std_is_over_all_values_of_the_tile() -> None:
    tile = np.zeros((2, 2, 3), dtype=np.uint8)
    tile[..., 0] = 30
    assert rgb_std(tile) == pytest.approx(np.sqrt(200))


def test_a_region_is_flat_only_without_tissue_and_texture_and_with_its_border() -> None:
    """Pale grey tissue has no colour that Otsu would find, but it is not of one shade."""
    picture = np.full((60, 80, 3), 240, dtype=np.uint8)
    picture[10:20, 10:20] = (200, 130, 180)
    picture[40:50, 40:60:2] = 220
    found = thumbnail_tissue(picture)
    slide = SlideInfo(width=800, height=600)

    def is_flat(x: float, y: float, side: float = 100, below: float = 6.0) -> bool:
        return found.is_flat(Region(x=x, y=y, width=side, height=side), slide, below=below)

    assert is_flat(600, 100) and is_flat(0, 400)
    assert not is_flat(100, 100)
    assert not is_flat(400, 400)
    assert is_flat(400, 400, below=12.0)
    assert not is_flat(205, 105)  # tissue begins half a thumbnail px beside it
