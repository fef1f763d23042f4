"""Tiny sets of tiles: bright squares on a dark, noisy ground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.labels import LabelClass, LabelMap, label_map_to_builtins
from qpkit.dataset import TileRecord, write_tile_set
from qpkit.dataset.stores.layers import context_layer
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import Recipe

LABELS = LabelMap(classes=(LabelClass("Lesion", 1, ("Lesion",), -65536), LabelClass("Other", 3, ("Other",))))
"""Values 0 background, 1 Lesion, 3 Other (a gap, so that index and value differ), 255 ignore."""

BRIGHTNESS = {0: 60, 1: 210, 3: 130, 255: 60}

MakeTiles = Callable[..., Path]


def square_mask(rng: np.random.Generator, value: int, size: int = 64) -> NDArray[np.uint8]:
    """(size, size) mask with one square of `value`."""
    mask = np.zeros((size, size), np.uint8)
    side = int(rng.integers(size // 5, size // 3))
    row, col = rng.integers(0, size - side, 2)
    mask[row : row + side, col : col + side] = value
    return mask


def paint(mask: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """(h, w, 3) noisy picture of a mask."""
    levels = np.vectorize(BRIGHTNESS.get, otypes=[float])(mask)
    noisy = levels[..., np.newaxis] * (1.0, 0.8, 0.9) + rng.normal(0, 12, (*mask.shape, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def record(number: int, split: str, mask: NDArray[np.uint8], context: Sequence[int] = ()) -> TileRecord:
    """Table row of a tile."""
    values, counts = np.unique(mask, return_counts=True)
    size = mask.shape[0]
    return TileRecord(
        slide=f"slide-{split}",
        entry="",
        group=f"slide-{split}",
        split=split,  # type: ignore[arg-type]
        col=number,
        row=0,
        x=number * size * 2.0,
        y=0.0,
        width=size * 2.0,
        height=size * 2.0,
        downsample=2.0,
        mpp=0.5,
        tissue=1.0,
        std=20.0,
        pixels=dict(zip(values.tolist(), counts.tolist(), strict=True)),
        image=f"{number}.png",
        mask=f"{number}-mask.png",
        others={context_layer("image", factor): f"{number}-x{factor}.png" for factor in context},
    )


def write_tiles(
    root: Path, masks: Sequence[tuple[str, NDArray[np.uint8]]], *, seed: int = 0, context: Sequence[int] = ()
) -> Path:
    """Write masks with their split as a tile set of noisy pictures, and noise as their surroundings."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True)
    tiles = [record(i, split, mask, context) for i, (split, mask) in enumerate(masks)]
    for tile, (_, mask) in zip(tiles, masks, strict=True):
        Image.fromarray(paint(mask, rng)).save(root / tile.image)
        Image.fromarray(mask).save(root / tile.mask)
    size = masks[0][1].shape[0]
    for tile in tiles:
        for path in tile.others.values():
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(root / path)
    layers = ["image", "mask", *(context_layer("image", factor) for factor in context)]
    info = {"labels": label_map_to_builtins(LABELS), "mpp": 0.5, "tile_size_px": size, "layers": layers}
    write_tile_set(root, tiles, info)
    return root


TINY = (
    "data.batch_size=4",
    "data.crop_px=0",
    "data.workers=0",
    "model.encoder_depth=3",
    "model.options.decoder_channels=[64,32,16]",
    "optim.epochs=2",
    "precision=32-true",
)


HOOKNET = (
    "model.architecture=hooknet",
    "model.encoder=none",
    "model.encoder_depth=0",
    "model.options={depth = 2, filters = 4}",
    "model.context=[4]",
    "loss.branch_weights=[0.5]",
)
"""A tiny network that sees four times the surroundings of a tile, for `tiny_recipe`."""


def tiny_recipe(*overrides: str) -> Recipe:
    """unet-resnet18 cut down to a second or two, in float32."""
    return load_recipe("unet-resnet18", [*TINY, *overrides])
