"""Samples with surroundings: concentric images of as many px, stacked in channels, the tile's own first.

Every image after the first shows `factor` times as much of the slide, each of its pixels covering factor x factor of
the tile's, exactly. What lies outside of the slide is white, as wherever a slide is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile
from qpkit.dataset import TileRecord, TileSet
from qpkit.dataset.stores.layers import context_layer
from qpkit.dataset.stores.slides import SlideStore
from qpkit.errors import ConfigError, listed
from qpkit.slides import Slide
from qpkit_train.recipe.settings import Recipe
from qpkit_train.stride import stride_for


def joined_images(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Stack the k images of a sample, (h, w, 3) each, to (h, w, 3 k); a single one stays as it is."""
    return images[0] if len(images) == 1 else np.concatenate(images, axis=-1)


def read_sample(tile_set: TileSet, tile: TileRecord, factors: Sequence[int]) -> NDArray[np.uint8]:
    """Read a tile and its surroundings, (h, w, 3 k) uint8.

    Tiles that lie in the slides have surroundings whether or not they were exported with them.

    Raises:
        FormatError: One is gone, damaged, or was not exported.
    """
    store = tile_set.store
    wider = [
        store.window(tile, "image", x=0, y=0, side=tile_set.tile_size, factor=factor)
        if isinstance(store, SlideStore)
        else tile_set.read(tile, context_layer("image", factor))
        for factor in factors[1:]
    ]
    return joined_images([tile_set.read_image(tile), *wider])


def sample_of(slide: Slide, tile: Tile, factors: Sequence[int]) -> NDArray[np.uint8]:
    """Read a tile with its halo, and what lies around both, from a slide: (h, w, 3 k) uint8.

    Args:
        slide: Opened.
        tile: Its place and size, halo included, are multiples of 2 * factor.
        factors: How many times their surroundings the images show, 1 first.

    Raises:
        FormatError: The slide cannot be read there.
    """
    rows, columns = tile.array_shape
    square = replace(tile, x=tile.array_x, y=tile.array_y, width=columns, height=rows, halo=0)
    return joined_images([slide.read(tile), *(slide.read(square.surroundings(factor)) for factor in factors[1:])])


def surrounding_corner(row: int, col: int, side: int, tile_size: int, factor: int) -> tuple[int, int]:
    """Where the surroundings of a crop begin in those of its tile, px of theirs.

    Args:
        row, col: Of the crop in the tile; multiples of `factor`.
        side: Of the crop and of its surroundings, px; it and `tile_size` are multiples of 2 * factor.
        tile_size: Of the tile.
        factor: How many times as much they show.
    """
    inset = (factor - 1) * (tile_size - side) // (2 * factor)
    return row // factor + inset, col // factor + inset


def require_surroundings(tile_set: TileSet, recipe: Recipe) -> None:
    """Raise unless tiles have the surroundings that a network sees, and px that line up with theirs.

    Raises:
        ConfigError: They have not; every reason in one message.
    """
    faults = list(_faults(tile_set, recipe))
    if faults:
        raise ConfigError(f"{tile_set.root}: {listed(faults, joint='; ')}")


def _faults(tile_set: TileSet, recipe: Recipe) -> Iterator[str]:
    factors, mpp = recipe.model.factors, recipe.model.mpp
    if mpp and math.isnan(tile_set.mpp):
        yield "the tiles have no um/px in common; say model.context instead of model.mpp, or export with --mpp"
    elif mpp and abs(tile_set.mpp / mpp[0] - 1) > 0.01:
        yield f"tiles are at {tile_set.mpp:g} um/px, model.mpp begins with {mpp[0]:g}; export with --mpp {mpp[0]:g}"
    if len(factors) == 1:
        return
    wide = factors[-1]
    shown = ",".join(map(str, factors))
    missing = [f for f in factors[1:] if context_layer("image", f) not in tile_set.layers]
    if missing and not isinstance(tile_set.store, SlideStore):
        yield f"no surroundings of {listed(map(str, missing))} times; export with --context {shown}, or --store none"
        return
    crop = recipe.data.crop_px if 0 < recipe.data.crop_px < tile_set.tile_size else 0
    unit = stride_for(factors)
    for name, px in (("tiles of", tile_set.tile_size), ("data.crop_px", crop)):
        if px % unit:
            yield f"{name} {px} px do not line up with surroundings of {wide} times; take a multiple of {unit}"
            return
    step = math.lcm(*factors)
    if any(round(at / tile.downsample) % step for tile in tile_set.tiles for at in (tile.x, tile.y)):
        yield f"places of tiles are no multiples of {step} px; export with --context {shown}"
