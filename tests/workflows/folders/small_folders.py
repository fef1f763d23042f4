"""Small folders of images and masks, as people have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from qpkit.dataset import TileSet

Pixels = NDArray[np.uint8]


def blocks(values: tuple[int, ...], *, width: int = 70, height: int = 50, seed: int = 0) -> NDArray[np.int64]:
    """(h, w) labels in blocks of 5 px, every value at least once."""
    rng = np.random.default_rng(seed)
    small = rng.choice(values, (-(-height // 5), -(-width // 5)))
    small.ravel()[: len(values)] = values[: small.size]
    return np.asarray(np.kron(small, np.ones((5, 5), np.int64))[:height, :width])


def image_of(mask: NDArray[np.int64], seed: int = 0) -> Pixels:
    """(h, w, 3) noise, brighter where the mask is not 0; another picture for another seed."""
    noise = np.random.default_rng(seed).normal(90, 20, (*mask.shape, 3)) + 80 * (mask > 0)[..., np.newaxis]
    return noise.clip(0, 255).astype(np.uint8)


def put(path: Path, pixels: NDArray[np.generic], palette: Mapping[int, tuple[int, int, int]] | None = None) -> Path:
    """Write a picture of the kind that its ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
        return path
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette([channel for value in range(256) for channel in palette.get(value, (0, 0, 0))])
    image.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def write_pairs(
    folder: Path, count: int = 4, *, values: tuple[int, ...] = (0, 255), image: str = "images/p{}.png",
    mask: str = "masks/p{}.png",
) -> dict[str, NDArray[np.int64]]:  # fmt: skip
    """Write images and masks of one layout; gives the masks by the images' file names."""
    made = {}
    for number in range(count):
        labels = blocks(values, width=70 + number, seed=number)
        path = put(folder / image.format(number), image_of(labels, number))
        put(folder / mask.format(number), labels.astype(np.uint8))
        made[path.name] = labels
    return made


def together(tiles: TileSet, slide: str, layer: str = "mask") -> NDArray[np.generic]:
    """Put the tiles of a slide together; what they share has to be equal, and so every px of it is there."""
    own = [tile for tile in tiles.tiles if tile.slide == slide]
    width, height = (int(max(getattr(t, a) + getattr(t, b) for t in own)) for a, b in (("x", "width"), ("y", "height")))
    first = tiles.read(own[0], layer)
    whole = np.zeros((height, width, *first.shape[2:]), first.dtype)
    seen = np.zeros((height, width), bool)
    for tile in own:
        place = np.s_[int(tile.y) : int(tile.y + tile.height), int(tile.x) : int(tile.x + tile.width)]
        pixels = tiles.read(tile, layer)
        assert np.array_equal(whole[place][seen[place]], pixels[seen[place]])
        whole[place], seen[place] = pixels, True
    assert seen.all()
    return whole
