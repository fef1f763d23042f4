"""Random changes of batches, on the device. uint8 in, float32 out.

What changes is drawn on the CPU from (seed, epoch, step), so that every device and every resumed run sees the same;
only the grains of noise are drawn on the device. Each change has a stream of its own: switching one on alters no other.
Image and label mask are moved together (`geometry`); colours, blur and noise change in the image only.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from torch import Tensor

from qpkit_train.augment.clahe import equalize
from qpkit_train.augment.color import change_gamma, change_nuclei, recolor
from qpkit_train.augment.geometry import flip_and_turn, warp
from qpkit_train.augment.noise import add_noise, blur
from qpkit_train.augment.random import Rows
from qpkit_train.recipe.settings import AugmentConfig

STREAMS: Final = {"affine": 1, "grid": 2, "elastic": 3, "nuclei": 4, "gamma": 5, "clahe": 6, "blur": 7, "noise": 8}
"""Numbers of the changes with a random stream of their own; never to be given to another change."""


class Augmenter:
    """Draws and applies one batch's changes.

    Args:
        config: Strengths.
        seed: Of the whole training.
    """

    def __init__(self, config: AugmentConfig, *, seed: int) -> None:
        self._config, self._seed = config, seed

    def __call__(
        self,
        images: Tensor,
        targets: Tensor,
        *,
        epoch: int,
        step: int,
        first: int = 0,
        total: int = 0,
        margin: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Change one batch.

        Args:
            images: (n, 3, h + 2 margin, w + 2 margin) uint8, h == w if rot90 is on.
            targets: (n, h + 2 margin, w + 2 margin) uint8.
            epoch, step: Where the training is; the same place gives the same changes.
            first, total: Of a batch that several processes share, the row this share begins with and its size; 0 for
                the whole batch.
            margin: px around the crops that changes may move into them.

        Returns:
            (n, 3, h, w) float32 in 0..1 and (n, h, w) uint8. What came from outside the images is IGNORE_INDEX.
        """
        key = (self._seed, epoch, step, 1)
        total = total or len(images)
        rng, stream = Rows(key, first=first, total=total), partial(_stream, key, first, total)
        images, targets = flip_and_turn(images, targets, self._config, rng)
        pixels = images.float() / 255
        pixels, targets = warp(pixels, targets, self._config, stream, margin=margin)
        pixels = recolor(pixels, self._config, rng).clamp(0, 1)
        for change in (change_nuclei, change_gamma, equalize, blur, add_noise):
            pixels = change(pixels, self._config, stream)
        return pixels, targets


def _stream(key: tuple[int, ...], first: int, total: int, name: str) -> Rows:
    return Rows((*key, STREAMS[name]), first=first, total=total)
