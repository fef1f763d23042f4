"""The tissue that an encoder sees: tiles of an export, or of slides whose annotations do not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import TileGrid, downsample_for
from qpkit.dataset import TileSet
from qpkit.errors import ConfigError, FormatError
from qpkit.slides import SlideSource, open_source
from qpkit_train.inference.pixels.tile_choice import choose_tiles
from qpkit_train.pretraining.settings import PretrainSettings

_GLASS = 0.1
"""Tiles with less tissue teach what glass looks like."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What can be read.

    Args:
        reads: One for each tile: gives (h, w, 3) uint8.
        facts: What it is, for the folder that comes out.
    """

    reads: Sequence[Callable[[], NDArray[np.uint8]]]
    facts: dict[str, Any]


def pictures_of_tiles(tiles: TileSet) -> Pictures:
    """Tiles of the training split with tissue; those of validation and test stay unseen.

    Raises:
        ConfigError: There is none.
    """
    chosen = [tile for tile in tiles.of_split("train") if not tile.tissue < _GLASS]
    if not chosen:
        raise ConfigError(f"{tiles.root}: no training tile shows tissue, so there is nothing to learn from")
    facts = {"tiles": str(tiles.root.resolve()), "mpp": tiles.info.get("mpp"), "count": len(chosen)}
    return Pictures([partial(tiles.read_image, tile) for tile in chosen], facts)


def pictures_of_slides(sources: Sequence[SlideSource], settings: PretrainSettings, stack: ExitStack) -> Pictures:
    """Tiles with tissue of whole slides, whatever is annotated there; `stack` closes the slides.

    Raises:
        ConfigError: No slide has tissue.
        FormatError: A slide cannot be read, or its um/px are not known.
    """
    reads: list[Callable[[], NDArray[np.uint8]]] = []
    for source in sources:
        slide = stack.enter_context(open_source(source))
        info = slide.info
        if info.mpp is None:
            raise FormatError(f"{source.name}: um/px is unknown ({info.mpp_note or 'not stated'}); give --slide-mpp")
        grid = TileGrid(
            slide_width=info.width, slide_height=info.height, tile_size=settings.tile_px, halo=0,
            downsample=downsample_for(settings.mpp, info.mpp),
        )  # fmt: skip
        reads += [partial(slide.read, tile) for tile in choose_tiles(slide, grid, None, only_tissue=True).predicted]
    if not reads:
        raise ConfigError(f"none of {len(sources)} slides shows tissue, so there is nothing to learn from")
    names = [source.name for source in sources]
    return Pictures(reads, {"slides": names, "mpp": settings.mpp, "count": len(reads)})
