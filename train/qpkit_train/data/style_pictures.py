"""The pictures whose staining training images get: training tiles of all slides, or those of a folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from qpkit.core.pictures import DAMAGED_IMAGE, open_large_image
from qpkit.dataset import TileRecord
from qpkit.errors import ConfigError
from qpkit_train.appearance import look_of
from qpkit_train.augment.transforms.style import Style
from qpkit_train.data.batches import TileReader
from qpkit_train.recipe.settings import AugmentConfig

_MOST: Final = 64
"""Pictures that are kept: 13 MB of 256 px."""

_ENDINGS: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})


def style_pictures(config: AugmentConfig, reader: TileReader, tiles: Sequence[TileRecord]) -> Tensor | None:
    """Read what `augment.style` takes stainings from: (k, 3, side, side) uint8; None where it is off.

    Args:
        config: Of the recipe.
        reader: Of the tiles.
        tiles: Of the training split; the first one with tissue of every slide, then the second ones, and so on.

    Raises:
        ConfigError: There is no folder, a picture cannot be read, or none shows tissue.
        FormatError: A tile cannot be read.
    """
    how = Style.of(config)
    if not (how.style and how.style_p):
        return None
    folder = Path(how.style_from) if how.style_from else None
    found = _tiles(reader, tiles) if folder is None else _pictures(folder, reader.tile_size)
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


def _pictures(folder: Path, side: int) -> Iterator[NDArray[np.uint8]]:
    if not folder.is_dir():
        raise ConfigError(f"augment.style_from: {folder} is no folder; give one with PNG, JPEG or TIFF pictures")
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS):
        try:
            with open_large_image(path) as picture:
                yield np.asarray(_square(picture.convert("RGB"), side))
        except DAMAGED_IMAGE as err:
            raise ConfigError(f"{path}: cannot be read as a picture for augment.style_from ({err})") from err


def _square(picture: Image.Image, side: int) -> Image.Image:
    """The middle of a picture; a smaller one is enlarged."""
    least = min(picture.size)
    if least < side:
        picture = picture.resize([round(length * side / least) for length in picture.size])
    left, top = ((length - side) // 2 for length in picture.size)
    return picture.crop((left, top, left + side, top + side))
