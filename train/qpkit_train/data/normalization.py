"""How pixels are shifted and scaled before a network sees them: the same in training, in predictions and in ONNX.

run.json keeps the numbers, whatever name they go by in the recipe.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit.compiled import compiled
from qpkit.dataset import TileRecord
from qpkit.errors import LabelError
from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.data.batches import TileReader
from qpkit_train.luma import LUMA
from qpkit_train.recipe.settings import DataConfig

Rgb = tuple[float, float, float]

_NAMED: Final[dict[str, tuple[Rgb, Rgb]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "signed": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation by name, for RGB in 0..1. ImageNet's are those of torchvision's published weights."""

_MOST_TILES: Final = 2000
"""That "dataset" looks at, an even choice: enough for the fourth digit."""

_LEAST_DEVIATION: Final = 1 / 255
"""A data set of a single colour is not blown up."""


class Normalization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How RGB in 0..1 is shifted and scaled.

    Args:
        mean, deviation: Taken off and divided by, by channel.
        greyscale: Luma is put into all three channels first.
    """

    mean: Rgb
    deviation: Rgb
    greyscale: bool = False


def normalize(images: Tensor, how: Normalization) -> Tensor:
    """Shift and scale (n, 3 k, h, w) float32 RGB in 0..1: all k images of a sample alike.

    One or two channels more, those of clicks, stay as they are.
    """
    if beside := int(images.shape[1]) % 3:
        return torch.cat([normalize(images[:, :-beside], how), images[:, -beside:]], dim=1)
    if (count := int(images.shape[1]) // 3) > 1:
        return torch.cat([normalize(image, how) for image in images.chunk(count, dim=1)], dim=1)
    if how.greyscale:
        red, green, blue = images.unbind(dim=1)
        grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        images = grey.unsqueeze(1).expand(-1, 3, -1, -1)
    if images.is_cuda and not torch.compiler.is_compiling():
        mean, deviation = _on_gpu(how, images.device, images.dtype)
    else:
        mean, deviation = (images.new_tensor(values).view(1, 3, 1, 1) for values in (how.mean, how.deviation))
    return (images - mean) / deviation


@functools.cache
def _on_gpu(how: Normalization, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and deviation, copied once: a copy from memory that is not pinned waits for all that the GPU has to do."""
    with torch.inference_mode(False):
        mean, deviation = (
            torch.tensor(values, dtype=dtype, device=device).view(1, 3, 1, 1) for values in (how.mean, how.deviation)
        )
    return mean, deviation


def normalized_bytes(pixels: NDArray[np.uint8], how: Normalization) -> Tensor:
    """Shift and scale on the CPU, to the bit as `normalize` does, in a fifth of the time: by a table of 256 numbers.

    Args:
        pixels: (n, h, w, 3 k) RGB, or with channels of clicks behind.
        how: What the network was trained with.

    Returns:
        (n, 3 k, h, w) float32, channels last in memory.
    """
    if how.greyscale or pixels.shape[-1] % 3:
        return normalize(torch.from_numpy(pixels).movedim(-1, 1).float() / 255, how)
    levels = torch.arange(256, dtype=torch.float32).view(256, 1, 1, 1).expand(256, 3, 1, 1) / 255
    table = normalize(levels, how).view(256, 3).numpy()
    found = torch.empty(pixels.shape, dtype=torch.float32)
    compiled(_look_up)(pixels.reshape(-1, 3), table, found.numpy().reshape(-1, 3))
    return found.movedim(-1, 1)


def _look_up(pixels: Any, table: Any, found: Any) -> None:
    for i in range(len(pixels)):
        for channel in range(3):
            found[i, channel] = table[pixels[i, channel], channel]


def named_normalization(name: str, *, greyscale: bool = False) -> Normalization:
    """The numbers of "imagenet", "unit" or "signed"."""
    mean, deviation = _NAMED[name]
    return Normalization(mean=mean, deviation=deviation, greyscale=greyscale)


def choose_normalization(data: DataConfig, reader: TileReader, tiles: Sequence[TileRecord]) -> Normalization:
    """Resolve what a recipe says; "dataset" measures the labelled pixels of the tiles (2,000 of them at most).

    Sums are exact, so the order of reading and the machine do not matter. With greyscale it is luma that is measured.

    Args:
        data: Of the recipe.
        reader: Of the tiles.
        tiles: Of the training split.

    Raises:
        LabelError: No tile has a labelled pixel.
        FormatError: A tile cannot be read.
    """
    if data.normalization != "dataset":
        return named_normalization(data.normalization, greyscale=data.greyscale)
    stride = -(-len(tiles) // _MOST_TILES)
    count, sums, products = 0, np.zeros(3), np.zeros((3, 3))
    for tile in tiles[::stride]:
        pixels = _labelled(reader, tile)
        count, sums, products = count + len(pixels), sums + pixels.sum(axis=0), products + pixels.T @ pixels
    if not count:
        raise LabelError("data.normalization = dataset: no training tile has a labelled pixel to measure")
    mean, spread = sums / count / 255, (products / count - np.outer(sums, sums) / count**2) / 255**2
    if data.greyscale:
        luma = np.array(LUMA)
        mean, spread = np.full(3, luma @ mean), np.full((3, 3), luma @ spread @ luma)
    deviation = np.sqrt(np.maximum(np.diag(spread), _LEAST_DEVIATION**2))
    return Normalization(mean=_rounded(mean), deviation=_rounded(deviation), greyscale=data.greyscale)


def _labelled(reader: TileReader, tile: TileRecord) -> NDArray[np.float64]:
    """(pixels, 3) grey levels 0..255 as float64, in which sums of that size are exact."""
    image, target = reader.read(tile)
    return np.asarray(image[..., :3][target != IGNORE_INDEX], dtype=np.float64)


def _rounded(values: NDArray[np.float64]) -> Rgb:
    red, green, blue = (round(float(value), 6) for value in values)
    return red, green, blue
