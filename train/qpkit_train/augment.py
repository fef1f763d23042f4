"""Random changes of batches, on the device. uint8 in, float32 out.

All numbers are drawn on the CPU from (seed, epoch, step), so that every device and every resumed run sees the same.
Image and label mask are moved together; colours change in the image only.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qpkit.ops.compare import IGNORE_INDEX
from qpkit_train.model_card import STRIDE
from qpkit_train.normalization import LUMA
from qpkit_train.settings import AugmentConfig

_HED_FROM_RGB: Final = (
    (1.87798274, -1.00767869, -0.55611582),
    (-0.06590806, 1.13473037, -0.1355218),
    (-0.60190736, -0.48041419, 1.57358807),
)
"""Stain densities from optical density; rows are red, green, blue. Ruifrok and Johnston 2001, inverted."""


class Augmenter:
    """Draws and applies one batch's changes.

    Args:
        config: Strengths.
        seed: Of the whole training.
    """

    def __init__(self, config: AugmentConfig, *, seed: int) -> None:
        self._config, self._seed = config, seed

    def __call__(self, images: Tensor, targets: Tensor, *, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Change one batch.

        Args:
            images: (n, 3, h, w) uint8, h == w if rot90 is on.
            targets: (n, h, w) uint8.
            epoch, step: Where the training is; the same place gives the same changes.

        Returns:
            (n, 3, h, w) float32 in 0..1 and (n, h, w) uint8.
        """
        rng = np.random.default_rng((self._seed, epoch, step, 1))
        images, targets = self._move(images, targets, rng)
        return self._recolor(images.float() / 255, rng).clamp(0, 1), targets

    def _move(self, images: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        count = len(images)
        for probability, axis in ((self._config.hflip, -1), (self._config.vflip, -2)):
            chosen = np.flatnonzero(rng.random(count) < probability)
            images, targets = _flipped(images, chosen, axis), _flipped(targets, chosen, axis)
        quarters = rng.integers(0, 4, count)
        if self._config.rot90 and images.shape[-1] == images.shape[-2]:
            for turns in (1, 2, 3):
                chosen = np.flatnonzero(quarters == turns)
                images, targets = _turned(images, chosen, turns), _turned(targets, chosen, turns)
        return images, targets

    def _recolor(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Saturation, hue and brightness are one 3 x 3 matrix per image; contrast stretches about its mean."""
        c, count = self._config, len(images)
        draws = rng.uniform(-1, 1, (count, 10))
        if c.stain:
            images = _restain(images, draws[:, 4:7] * c.stain, draws[:, 7:10] * c.stain * 0.05)
        if not (c.brightness or c.contrast or c.saturation or c.hue):
            return images
        matrices = np.stack(
            [(1 + b * c.brightness) * _saturation(1 + s * c.saturation) @ _hue(h * c.hue) for b, s, h in draws[:, :3]]
        )
        images = torch.einsum("nij,njhw->nihw", _like(matrices, images), images)
        factor = _like(1 + draws[:, 3] * c.contrast, images).view(-1, 1, 1, 1)
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        return mean + (images - mean) * factor


def pad_to_stride(images: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Pad right and bottom to multiples of STRIDE: images (normalised) with 0, targets with IGNORE_INDEX."""
    height, width = images.shape[-2:]
    pad = (0, -width % STRIDE, 0, -height % STRIDE)
    if not any(pad):
        return images, targets
    return F.pad(images, pad), None if targets is None else F.pad(targets, pad, value=IGNORE_INDEX)


def _flipped(batch: Tensor, chosen: NDArray[np.int64], axis: int) -> Tensor:
    return _replaced(batch, chosen, batch[torch.from_numpy(chosen)].flip(axis))


def _turned(batch: Tensor, chosen: NDArray[np.int64], quarters: int) -> Tensor:
    return _replaced(batch, chosen, torch.rot90(batch[torch.from_numpy(chosen)], quarters, (-2, -1)))


def _replaced(batch: Tensor, chosen: NDArray[np.int64], part: Tensor) -> Tensor:
    if not len(chosen):
        return batch
    changed = batch.clone()
    changed[torch.from_numpy(chosen)] = part
    return changed


def _saturation(factor: float) -> NDArray[np.float64]:
    return factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))


def _hue(turns: float) -> NDArray[np.float64]:
    """Rotate about the grey axis (Rodrigues' formula): grey stays grey, the colour circle turns."""
    angle = 2 * math.pi * turns
    axis = np.full(3, 1 / math.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    return np.asarray(rotation, dtype=np.float64)


def _restain(images: Tensor, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> Tensor:
    """Scale and shift the densities of haematoxylin, eosin and DAB, each (n, 3)."""
    to_stains = torch.tensor(_HED_FROM_RGB, device=images.device, dtype=images.dtype)
    density = -torch.log(images.clamp(min=1e-3))
    stains = torch.einsum("nchw,cs->nshw", density, to_stains)
    stains = stains * _like(1 + scale, images).view(-1, 3, 1, 1) + _like(shift, images).view(-1, 3, 1, 1)
    return torch.exp(-torch.einsum("nshw,sc->nchw", stains, torch.linalg.inv(to_stains)))


def _like(values: NDArray[np.float64], images: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=images.dtype, device=images.device)
