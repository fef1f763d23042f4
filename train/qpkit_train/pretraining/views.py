"""Crops of tiles as an encoder in pre-training sees them: of several sizes, turned, mirrored and recoloured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.recipe.settings import AugmentConfig

LARGE: Final = (0.3, 1.0)
SMALL: Final = (0.05, 0.3)
"""Area of a crop, as a fraction of its tile: so the same tissue is seen at several um/px. Caron et al. 2020."""

_ASPECT: Final = 4 / 3

COLORS: Final = AugmentConfig(
    brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, stain=0.2, blur_px=1.0, blur_p=0.3
)  # fmt: skip
"""Of every crop; hue as for stains, where eosin must not become green."""


def crops(
    pictures: Sequence[NDArray[np.uint8]], side: int, area: tuple[float, float], rng: np.random.Generator
) -> Tensor:
    """Cut one crop out of each picture.

    Args:
        pictures: (h, w, 3) uint8 each.
        side: Of what comes out, px.
        area: Lowest and highest fraction of a picture.
        rng: Draws places, sizes, turns.

    Returns:
        (n, 3, side, side) float32 in 0..1; made smaller by averaging.
    """
    found = []
    for pixels in pictures:
        height, width = pixels.shape[:2]
        wanted = rng.uniform(*area) * height * width
        aspect = np.exp(rng.uniform(-1, 1) * np.log(_ASPECT))
        rows = int(np.clip(round((wanted / aspect) ** 0.5), 8, height))
        columns = int(np.clip(round((wanted * aspect) ** 0.5), 8, width))
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        cut = np.rot90(pixels[top : top + rows, left : left + columns], int(rng.integers(4)))
        cut = cut[::-1] if rng.integers(2) else cut
        image = torch.from_numpy(cut.copy()).movedim(-1, 0)[None].float() / 255
        found.append(F.interpolate(image, (side, side), mode="bilinear", antialias=True, align_corners=False))
    return torch.cat(found).clamp(0, 1)


class Colors:
    """Recolours crops, each by numbers of its own.

    Args:
        seed: Of the whole training.
    """

    def __init__(self, seed: int) -> None:
        self._augment = Augmenter(COLORS, seed=seed)

    def __call__(self, images: Tensor, *, epoch: int, step: int, view: int) -> Tensor:
        """(n, 3, h, w) float32 in 0..1; the same place gives the same changes."""
        return self._augment.recolored(images, epoch=epoch, step=1000 * step + view)
