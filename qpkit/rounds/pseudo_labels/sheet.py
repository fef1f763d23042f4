"""Pseudo-labels to look at: tiles in which most was added, as annotated and as the next network learns them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from qpkit.dataset import TileRecord, TileSet, read_tile_set
from qpkit.dataset.example_tiles import slide_after_slide
from qpkit.report.figures.contact_sheet import contact_sheet
from qpkit.report.figures.tiles import shaded

_OF_A_CLASS: Final = 5
_SIDE: Final = 256
"""px of a picture."""


def pseudo_label_sheet(tiles: TileSet, root: Path) -> bytes | None:
    """PNG with the tiles to which most pixels of each class were added; None where none was.

    Args:
        tiles: Of the export.
        root: Of `label_tiles`.
    """
    made = read_tile_set(root)
    before = {tile.key: tile for tile in tiles.tiles}
    pictures, titles = [], []
    for value in tiles.labels.trained_values:
        for tile in _most_added(made, before, value):
            old = before[tile.key]
            image, masks = made.read_image(tile), (tiles.read_mask(old), made.read_mask(tile))
            pictures.append(np.hstack([shaded(image, mask, tiles.labels, side=_SIDE) for mask in masks]))
            added = tile.pixels[value] - old.pixels.get(value, 0)
            name = tiles.labels.name_of(value)
            titles.append(
                f"{name}, {added / tiles.tile_size**2:.0%} of the tile\n{tile.slide}, x {tile.x:.0f} y {tile.y:.0f}"
            )
    return contact_sheet(pictures, titles) if pictures else None


def _most_added(made: TileSet, before: dict[str, TileRecord], value: int) -> list[TileRecord]:
    """Tiles with most new pixels of a value, slide after slide."""
    added = {tile.key: tile.pixels.get(value, 0) - before[tile.key].pixels.get(value, 0) for tile in made.tiles}
    with_it = sorted((tile for tile in made.tiles if added[tile.key] > 0), key=lambda t: (-added[t.key], t.key))
    return slide_after_slide(with_it)[:_OF_A_CLASS]
