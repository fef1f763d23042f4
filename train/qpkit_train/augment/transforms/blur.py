"""Blur: a Gaussian, as of an optic out of focus."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from qpkit.settings import FRACTION, Range
from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.augment.transforms import Recolor

if TYPE_CHECKING:
    from torch import Tensor


class Blur(Recolor, frozen=True, kw_only=True):
    """Gaussian blur; edges are repeated outwards.

    Args:
        blur_px: Standard deviations of a Gaussian blur from 0 to this.
        blur_p: Probability of it.
    """

    blur_px: Annotated[float, Range(at_least=0, at_most=8)] = 0.0
    blur_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 90
    stream: ClassVar = ("blur", 7)
    shrinks: ClassVar = ("blur_px",)
    shown: ClassVar = (("blur_px", "Gaussian blur of up to {:g} px", "blur_p"),)

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Blur some of (n, 3, h, w) in 0..1."""
        if not self.blur_px:
            return images
        rng = stream("blur")
        chosen = chosen_of(rng, len(images), self.blur_p)
        deviations = self.blur_px * rng.uniform(0, 1, len(images))
        kernels = _gaussians(deviations[chosen], math.ceil(3 * self.blur_px))
        return replaced(images, chosen, lambda part: _blurred(part, like(kernels, part)))


def _gaussians(deviations: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """(n, 2 radius + 1) weights that sum to 1."""
    distance = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (distance / np.maximum(deviations, 1e-3)[:, np.newaxis]) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def _blurred(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve rows, then columns, each image with its own kernel."""
    import torch
    import torch.nn.functional as F

    radius = kernels.shape[1] // 2
    for axis in (-1, -2):
        pad = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
        padded = F.pad(images, pad, mode="replicate")
        size = images.shape[axis]
        images = torch.zeros_like(images)
        for place, weight in enumerate(kernels.unbind(dim=1)):
            images.addcmul_(padded.narrow(axis, place, size), weight.view(-1, 1, 1, 1))
    return images.clamp(0, 1)  # a kernel's sum is 1 but for rounding
