"""Where the staining that training images get comes from: tiles of all slides, a folder of pictures, or a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from qpkit.core.pictures import DAMAGED_IMAGE, open_large_image
from qpkit.dataset import TileRecord
from qpkit.errors import ConfigError
from qpkit_train.appearance import look_of
from qpkit_train.augment.style_network import StyleSource, load_style
from qpkit_train.augment.transforms.style import Style
from qpkit_train.data.batches import TileReader
from qpkit_train.recipe.settings import AugmentConfig

_MOST: Final = 64
"""Pictures that are kept: 13 MB of 256 px."""

_ENDINGS: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})


def style_source(config: AugmentConfig, reader: TileReader, tiles: Sequence[TileRecord]) -> StyleSource | None:
    """Read what `augment.style` takes stainings from; None where it is off.

    Args:
        config: Of the recipe.
        reader: Of the tiles.
        tiles: Of the training split; the first one with tissue of every slide, then the second ones, and so on.

    Raises:
        ConfigError: There is no folder or network, a picture cannot be read, or none shows tissue.
        FormatError: A tile cannot be read.
    """
    how = Style.of(config)
    if not (how.style and how.style_p):
        return None
    if how.style_way == "network":
        return load_style(Path(how.style_from))
    folder = Path(how.style_from) if how.style_from else None
    found = _tiles(reader, tiles) if folder is None else _squares(folder, reader.tile_size)
    shown = list(islice((pixels for pixels in found if look_of(pixels) is not None), _MOST))
    if not shown:
        where = "no training tile" if folder is None else f"{folder}: none of its pictures"
        raise ConfigError(f"augment.style: {where} shows tissue, so there is no staining to take over")
    return torch.from_numpy(np.stack(shown)).movedim(-1, 1)


def _tiles(reader: TileReader, tiles: Sequence[TileRecord]) -> Iterator[NDArray[np.uint8]]:
    of_slide: dict[str, list[TileRecord]] = defaultdict(list)
    for tile in tiles:
        of_slide[tile.slide].append(tile)
    in_turn = chain.from_iterable(zip_longest(*of_slide.values()))
    return (reader.read(tile)[0][..., :3] for tile in in_turn if tile is not None)


def _squares(folder: Path, side: int) -> Iterator[NDArray[np.uint8]]:
    """The middle of each picture."""
    for pixels in pictures_in(folder, side):
        top, left = ((length - side) // 2 for length in pixels.shape[:2])
        yield pixels[top : top + side, left : left + side]


def pictures_in(folder: Path, side: int) -> Iterator[NDArray[np.uint8]]:
    """Read the pictures of a folder, (h, w, 3) uint8, in the order of their names; smaller ones are enlarged to `side`.

    Raises:
        ConfigError: There is no such folder, or a picture cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is no folder; stainings come from one with PNG, JPEG or TIFF pictures")
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS):
        try:
            with open_large_image(path) as picture:
                least = min(picture.size)
                size = [round(length * max(1.0, side / least)) for length in picture.size]
                yield np.asarray(picture.convert("RGB").resize(size))
        except DAMAGED_IMAGE as err:
            raise ConfigError(f"{path}: cannot be read as a picture of a staining ({err})") from err
