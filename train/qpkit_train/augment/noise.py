"""What an optic and a sensor do to a batch: blur and noise. Moves no pixel."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.recipe.settings import AugmentConfig


def blur(images: Tensor, config: AugmentConfig, stream: Stream) -> Tensor:
    """Blur some of (n, 3, h, w) in 0..1 by a Gaussian; edges are repeated outwards."""
    if not config.blur_px:
        return images
    rng = stream("blur")
    chosen = chosen_of(rng, len(images), config.blur_p)
    deviations = config.blur_px * rng.uniform(0, 1, len(images))
    kernels = _gaussians(deviations[chosen], math.ceil(3 * config.blur_px))
    return replaced(images, chosen, lambda part: _blurred(part, like(kernels, part)))


def _gaussians(deviations: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """(n, 2 radius + 1) weights that sum to 1."""
    distance = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (distance / np.maximum(deviations, 1e-3)[:, np.newaxis]) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def _blurred(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve rows, then columns, each image with its own kernel."""
    radius = kernels.shape[1] // 2
    for axis in (-1, -2):
        pad = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
        padded = F.pad(images, pad, mode="replicate")
        size = images.shape[axis]
        images = torch.zeros_like(images)
        for place, weight in enumerate(kernels.unbind(dim=1)):
            images.addcmul_(padded.narrow(axis, place, size), weight.view(-1, 1, 1, 1))
    return images.clamp(0, 1)  # a kernel's sum is 1 but for rounding


def add_noise(images: Tensor, config: AugmentConfig, stream: Stream) -> Tensor:
    """Add normal noise to some of (n, 3, h, w), clipped to 0..1; its grains are drawn on the images' device."""
    if not config.noise:
        return images
    rng = stream("noise")
    chosen = chosen_of(rng, len(images), config.noise_p)
    deviations = config.noise * rng.uniform(0, 1, len(images))
    seeds = rng.integers(0, 2**62, len(images))[chosen]

    def noisy(part: Tensor) -> Tensor:
        sources = [torch.Generator(part.device).manual_seed(seed) for seed in seeds.tolist()]
        drawn = [torch.randn(part.shape[1:], generator=s, device=part.device, dtype=part.dtype) for s in sources]
        grains = torch.stack(drawn)
        return (part + grains * like(deviations[chosen], part).view(-1, 1, 1, 1)).clamp(0, 1)

    return replaced(images, chosen, noisy)
