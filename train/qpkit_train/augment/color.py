"""Colours of a batch: brightness, contrast, saturation, hue, stains, nuclei, gamma. Moves no pixel."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.data.normalization import LUMA
from qpkit_train.recipe.settings import AugmentConfig

_HED_FROM_RGB: Final = (
    (1.87798274, -1.00767869, -0.55611582),
    (-0.06590806, 1.13473037, -0.1355218),
    (-0.60190736, -0.48041419, 1.57358807),
)
"""Stain densities from optical density; rows are red, green, blue. Ruifrok and Johnston 2001, inverted."""

_BLUE: Final = (195.0, 265.0)
_BROWN: Final = (5.0, 50.0)
"""Hues of haematoxylin alone and of DAB, degrees of the colour circle; beside eosin all is at 270 to 350."""

_SOFT: Final = 10.0
"""Degrees over which the change fades in and out at both ends of the hues."""

_LEAST_SATURATION: Final = 0.1
"""Of a nucleus: the change sets in here and is whole at twice as much. Glass and white have less."""


def recolor(images: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """Change stains, then saturation, hue and brightness (one 3 x 3 matrix per image), then contrast about the mean.

    Args:
        images: (n, 3, h, w) float32 in 0..1.
        config: Strengths.
        rng: Ten numbers are drawn for each image.

    Returns:
        The same shape; may leave 0..1.
    """
    c, count = config, len(images)
    draws = rng.uniform(-1, 1, (count, 10))
    if c.stain:
        images = _restain(images, draws[:, 4:7] * c.stain, draws[:, 7:10] * c.stain * 0.05)
    if not (c.brightness or c.contrast or c.saturation or c.hue):
        return images
    matrices = np.stack(
        [(1 + b * c.brightness) * _saturation(1 + s * c.saturation) @ _hue(h * c.hue) for b, s, h in draws[:, :3]]
    )
    images = torch.einsum("nij,njhw->nihw", like(matrices, images), images)
    factor = like(1 + draws[:, 3] * c.contrast, images).view(-1, 1, 1, 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * factor


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
    stains = stains * like(1 + scale, images).view(-1, 3, 1, 1) + like(shift, images).view(-1, 3, 1, 1)
    return torch.exp(-torch.einsum("nshw,sc->nchw", stains, torch.linalg.inv(to_stains)))


def change_gamma(images: Tensor, config: AugmentConfig, stream: Stream) -> Tensor:
    """Raise (n, 3, h, w) in 0..1 to powers; black and white stay."""
    if not config.gamma:
        return images
    rng = stream("gamma")
    chosen = chosen_of(rng, len(images), config.gamma_p)
    powers = (1 + config.gamma) ** rng.uniform(-1, 1, len(images))
    return replaced(images, chosen, lambda part: part ** like(powers[chosen], part).view(-1, 1, 1, 1))


def change_nuclei(images: Tensor, config: AugmentConfig, stream: Stream) -> Tensor:
    """Shift saturation and value where (n, 3, h, w) in 0..1 has the hue of haematoxylin or DAB; hues stay."""
    if not config.nuclei:
        return images
    rng = stream("nuclei")
    chosen = chosen_of(rng, len(images), config.nuclei_p)
    shifts = config.nuclei * rng.uniform(-1, 1, (len(images), 2, 2))
    return replaced(images, chosen, lambda part: _shift_nuclei(part, like(shifts[chosen], part)))


def _shift_nuclei(images: Tensor, shifts: Tensor) -> Tensor:
    """Shift blue and brown, (n, 2 hues, saturation and value)."""
    hue, saturation, value = hue_saturation_value(images)
    result = images
    for kind, (low, high) in enumerate((_BLUE, _BROWN)):
        weight = _within(hue, low, high) * (saturation / _LEAST_SATURATION - 1).clamp(0, 1)
        more_saturation, more_value = (shifts[:, kind, i].view(-1, 1, 1) for i in (0, 1))
        ratio = (saturation + more_saturation).clamp(0, 1) / saturation.clamp(min=_LEAST_SATURATION)
        top = value.unsqueeze(1)
        shifted = (top - (top - images) * ratio.unsqueeze(1)) / top.clamp(min=1e-3)
        shifted = shifted * (value + more_value).clamp(0, 1).unsqueeze(1)
        result = torch.lerp(result, shifted, weight.unsqueeze(1))
    return result.clamp(0, 1)


def hue_saturation_value(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in degrees (0 for grey), saturation and value in 0..1 of (n, 3, h, w) RGB, (n, h, w) each."""
    value, least = images.amax(dim=1), images.amin(dim=1)
    spread = (value - least).clamp(min=1e-6)
    red, green, blue = images.unbind(dim=1)
    hue = torch.where(
        value == red,
        (green - blue) / spread % 6,
        torch.where(value == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    return hue * 60, (value - least) / value.clamp(min=1e-6), value


def _within(hue: Tensor, low: float, high: float) -> Tensor:
    """1 between low and high, falling to 0 over _SOFT degrees outside of them."""
    return (torch.minimum(hue - low, high - hue) / _SOFT + 1).clamp(0, 1)
