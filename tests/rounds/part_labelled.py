"""Tiles of which a part is labelled, beside the same with every label."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_tiles import square_mask, write_tiles

from qpkit.dataset import read_tile_set, write_tile_set

UNKNOWN = 255


def part_labelled(root: Path, *, labelled: int = 4, unlabelled: int = 4, val: int = 2) -> tuple[Path, Path]:
    """Write `tiles` and `truth` below a folder; unlabelled tiles are ignore but for a strip of eight rows."""
    rng = np.random.default_rng(5)
    splits = ["train"] * (labelled + unlabelled) + ["val"] * val
    masks = [(split, square_mask(rng, (1, 3)[number % 2])) for number, split in enumerate(splits)]
    truth = write_tiles(root / "truth", masks)
    tiles = root / "tiles"
    shutil.copytree(truth, tiles)
    opened = read_tile_set(tiles)
    records = []
    for number, tile in enumerate(opened.tiles):
        mask = opened.read_mask(tile).copy()
        if labelled <= number < labelled + unlabelled:
            mask[8:] = UNKNOWN
            Image.fromarray(mask).save(tiles / tile.mask)
        values, counts = np.unique(mask, return_counts=True)
        # Two patients in the val split.
        group = f"{tile.group}-{number % 2}"
        records.append(replace(tile, group=group, pixels=dict(zip(values.tolist(), counts.tolist(), strict=True))))
    write_tile_set(tiles, records, {key: value for key, value in opened.info.items() if key != "format"})
    return tiles, truth
