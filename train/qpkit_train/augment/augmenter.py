"""Augmentation of mini-batches, on the device. uint8 in, float32 out.

What changes is drawn on the CPU from (seed, epoch, step), so that every device and every resumed run sees the same;
only the grains of noise are drawn on the device. Each transform has a stream of its own: switching one on alters no
other. What there is stands in `transforms`, one file each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qpkit_train.augment.random import Rows
from qpkit_train.augment.sampling import warp
from qpkit_train.augment.style_network import StyleSource
from qpkit_train.augment.transforms import Exchange, Recolor, of_kind, stream_numbers
from qpkit_train.recipe.settings import AugmentConfig

_NUMBERS = dict(stream_numbers())


class Augmenter:
    """Draws and applies the augmentation of one mini-batch.

    Args:
        config: Strengths.
        seed: Of the whole training.
        stream: Number of its random streams; another one draws other changes for the same place.
        factors: How many times their surroundings the images of a sample show, 1 first; all are changed as one.
        source: Of the stainings that images get; needed for `augment.style` alone.
    """

    def __init__(
        self,
        config: AugmentConfig,
        *,
        seed: int,
        stream: int = 1,
        factors: Sequence[int] = (1,),
        source: StyleSource | None = None,
    ) -> None:
        self._config, self._seed, self._stream, self._factors = config, seed, stream, tuple(factors)
        self._exchanges = of_kind(Exchange, config)
        self._recolors = [recolor.seeing(source) for recolor in of_kind(Recolor, config)]

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
            images: (n, 3 k, h + 2 margin, w + 2 margin) uint8, h == w if rot90 is on.
            targets: (n, h + 2 margin, w + 2 margin) uint8.
            epoch, step: Where the training is; the same place gives the same changes.
            first, total: Of a batch that several processes share, the row this part begins with and its size; 0 for
                the whole batch.
            margin: px around the crops that changes may move into them.

        Returns:
            (n, 3 k, h, w) float32 in 0..1 and (n, h, w) uint8. What came from outside the images is IGNORE_INDEX.
        """
        stream = self._streams(epoch, step, len(images), first=first, total=total)
        pixels, targets = self._moved(images, targets, stream, margin)
        return self._recolored(pixels, stream), targets

    def moved(
        self, images: Tensor, targets: Tensor, *, epoch: int, step: int, margin: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Move a whole batch without recolouring it; as a call otherwise."""
        return self._moved(images, targets, self._streams(epoch, step, len(images)), margin)

    def recolored(self, pixels: Tensor, *, epoch: int, step: int) -> Tensor:
        """Recolour a whole batch, (n, 3, h, w) float32 in 0..1, without moving it."""
        return self._recolored(pixels, self._streams(epoch, step, len(pixels)))

    def _streams(self, epoch: int, step: int, count: int, *, first: int = 0, total: int = 0) -> _Streams:
        return _Streams((self._seed, epoch, step, self._stream), first=first, total=total or count)

    def _moved(self, images: Tensor, targets: Tensor, stream: _Streams, margin: int) -> tuple[Tensor, Tensor]:
        for exchange in self._exchanges:
            images, targets = exchange.apply(images, targets, stream("batch"))
        return warp(images.float() / 255, targets, self._config, stream, margin=margin, factors=self._factors)

    def _recolored(self, pixels: Tensor, stream: _Streams) -> Tensor:
        if len(self._factors) == 1:
            for recolor in self._recolors:
                pixels = recolor.apply(pixels, stream)
            return pixels
        parts: Sequence[Tensor] = pixels.chunk(len(self._factors), dim=1)
        for recolor in self._recolors:
            parts = recolor.apply_to_all(parts, self._factors, stream)
        return torch.cat(list(parts), dim=1)


class _Streams:
    """Random numbers of one batch: those of the whole batch, which go on, and those of each transform, begun anew.

    Args:
        key: Of the batch.
        first, total: As in Augmenter.
    """

    def __init__(self, key: tuple[int, ...], *, first: int, total: int) -> None:
        self._key, self._first, self._total = key, first, total
        self._batch = Rows(key, first=first, total=total)

    def __call__(self, name: str) -> np.random.Generator:
        if name == "batch":
            return self._batch
        return Rows((*self._key, _NUMBERS[name]), first=self._first, total=self._total)
