"""Brightness, contrast, saturation, hue and stains of whole images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.settings import FRACTION, Range
from qpkit_train.augment.random import Stream, like
from qpkit_train.augment.transforms import Recolor
from qpkit_train.luma import LUMA

if TYPE_CHECKING:
    from torch import Tensor

_HED_FROM_RGB: Final = (
    (1.87798274, -1.00767869, -0.55611582),
    (-0.06590806, 1.13473037, -0.1355218),
    (-0.60190736, -0.48041419, 1.57358807),
)
"""Stain densities from optical density; rows are red, green, blue. Ruifrok and Johnston 2001, inverted."""


class Color(Recolor, frozen=True, kw_only=True):
    """Change stains, then saturation, hue and brightness (one 3 x 3 matrix per image), then contrast about the mean.

    Args:
        brightness: Factors are drawn from 1 +- strength.
        contrast: Factors about the image's mean are drawn from 1 +- strength.
        saturation: Factors are drawn from 1 +- strength.
        hue: Turns of the colour circle, drawn from +- strength.
        stain: Haematoxylin, eosin and DAB densities are scaled by 1 +- strength.
    """

    brightness: Annotated[float, FRACTION] = 0.15
    contrast: Annotated[float, FRACTION] = 0.15
    saturation: Annotated[float, FRACTION] = 0.15
    hue: Annotated[float, Range(at_least=0, at_most=0.5)] = 0.02
    stain: Annotated[float, FRACTION] = 0.0

    place: ClassVar = 50
    stream: ClassVar = None
    shown: ClassVar = (
        ("brightness", "brightness times 1 ± {:g}", ""),
        ("contrast", "contrast times 1 ± {:g}", ""),
        ("saturation", "saturation times 1 ± {:g}", ""),
        ("hue", "colour circle turned by up to ± {:g}", ""),
        ("stain", "haematoxylin, eosin and DAB times 1 ± {:g}", ""),
    )

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Change (n, 3, h, w) float32 in 0..1; ten numbers are drawn for each image."""
        return self.apply_to_all([images], (1,), stream)[0]

    def apply_to_all(self, parts: Sequence[Tensor], factors: Sequence[int], stream: Stream) -> list[Tensor]:
        """Change the images of samples by the same numbers; their contrast about the mean of the tile's own image."""
        draws = stream("batch").uniform(-1, 1, (len(parts[0]), 10))
        recolored, mean = [], None
        for part in parts:
            mixed = self._mixed(part, draws)
            if self._changes:
                mean = mixed.mean(dim=(1, 2, 3), keepdim=True) if mean is None else mean
                factor = like(1 + draws[:, 3] * self.contrast, mixed).view(-1, 1, 1, 1)
                mixed = mean + (mixed - mean) * factor
            recolored.append(mixed.clamp(0, 1))
        return recolored

    @property
    def _changes(self) -> bool:
        """Whether it does more than restaining."""
        return bool(self.brightness or self.contrast or self.saturation or self.hue)

    def _mixed(self, images: Tensor, draws: NDArray[np.float64]) -> Tensor:
        """Restain and mix channels."""
        import torch

        if self.stain:
            images = _restain(images, draws[:, 4:7] * self.stain, draws[:, 7:10] * self.stain * 0.05)
        if not self._changes:
            return images
        matrices = np.stack(
            [
                (1 + b * self.brightness) * _saturation(1 + s * self.saturation) @ _hue(h * self.hue)
                for b, s, h in draws[:, :3]
            ]
        )
        return torch.einsum("nij,njhw->nihw", like(matrices, images), images)


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
    import torch

    to_stains = torch.tensor(_HED_FROM_RGB, device=images.device, dtype=images.dtype)
    density = -torch.log(images.clamp(min=1e-3))
    stains = torch.einsum("nchw,cs->nshw", density, to_stains)
    stains = stains * like(1 + scale, images).view(-1, 3, 1, 1) + like(shift, images).view(-1, 3, 1, 1)
    return torch.exp(-torch.einsum("nshw,sc->nchw", stains, torch.linalg.inv(to_stains)))
