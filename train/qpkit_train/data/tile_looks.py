"""What the training tiles look like, slide by slide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.dataset import TileRecord
from qpkit_train.appearance import Appearance, appearance_of, look_of
from qpkit_train.data.batches import TileReader

_MOST_TILES: Final = 2_000
"""That are measured, as many of each slide."""


def measured_appearance(reader: TileReader, tiles: Sequence[TileRecord], names: Mapping[int, str]) -> Appearance | None:
    """Measure the looks of tiles, an even choice of each slide's; None if none shows tissue.

    Args:
        reader: Of the tiles.
        tiles: Of the training split.
        names: Of the classes, by the value in masks.

    Raises:
        FormatError: A tile cannot be read.
    """
    of_slide: dict[str, list[TileRecord]] = defaultdict(list)
    for tile in tiles:
        of_slide[tile.slide].append(tile)
    most = max(1, _MOST_TILES // max(1, len(of_slide)))
    looks: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for slide, own in of_slide.items():
        for tile in own[:: -(-len(own) // most)]:
            look = look_of(reader.read(tile)[0][..., :3])
            if look is not None:
                looks[slide].append(look)
    pixels = {
        slide: {name: sum(tile.pixels.get(value, 0) for tile in own) for value, name in names.items()}
        for slide, own in of_slide.items()
    }
    return appearance_of(looks, [tile.downsample for tile in tiles], pixels, side=reader.tile_size)
