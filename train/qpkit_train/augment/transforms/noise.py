"""Noise: as of a sensor, its grains drawn on the images' device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from qpkit.settings import FRACTION
from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.augment.transforms import Recolor

if TYPE_CHECKING:
    from torch import Tensor


class Noise(Recolor, frozen=True, kw_only=True):
    """Normal noise, clipped to 0..1.

    Args:
        noise: Standard deviations of normal noise from 0 to this; 1 is the whole range of a channel.
        noise_p: Probability of it.
    """

    noise: Annotated[float, FRACTION] = 0.0
    noise_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 100
    stream: ClassVar = ("noise", 8)
    shrinks: ClassVar = ("noise",)
    shown: ClassVar = (("noise", "normal noise of up to {:g}", "noise_p"),)

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Add noise to some of (n, 3, h, w)."""
        if not self.noise:
            return images
        rng = stream("noise")
        chosen = chosen_of(rng, len(images), self.noise_p)
        deviations = self.noise * rng.uniform(0, 1, len(images))
        seeds = rng.integers(0, 2**62, len(images))[chosen]
        return replaced(images, chosen, lambda part: _noisy(part, like(deviations[chosen], part), seeds.tolist()))


def _noisy(part: Tensor, deviations: Tensor, seeds: list[int]) -> Tensor:
    import torch

    # A source for each image: its grains do not depend on which others are changed with it.
    sources = [torch.Generator(part.device).manual_seed(seed) for seed in seeds]
    drawn = [torch.randn(part.shape[1:], generator=s, device=part.device, dtype=part.dtype) for s in sources]
    return (part + torch.stack(drawn) * deviations.view(-1, 1, 1, 1)).clamp(0, 1)
