"""Glass blur: as seen through frosted glass, every pixel from somewhere near."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from qpkit.settings import FRACTION, Range
from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.augment.transforms import Recolor

if TYPE_CHECKING:
    from torch import Tensor


class Glass(Recolor, frozen=True, kw_only=True):
    """Take every pixel of the image, not of the mask, from a random place near it.

    Args:
        glass_px: Pixels come from up to so far in x and in y; the distance is drawn from 0 to this.
        glass_p: Probability of it.
    """

    glass_px: Annotated[float, Range(at_least=0, at_most=8)] = 0.0
    glass_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 94
    stream: ClassVar = ("glass", 10)
    shrinks: ClassVar = ("glass_px",)
    shown: ClassVar = (("glass_px", "as through frosted glass, from up to {:g} px away", "glass_p"),)

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Scatter the pixels of some of (n, 3, h, w) in 0..1."""
        if not self.glass_px:
            return images
        rng = stream("glass")
        chosen = chosen_of(rng, len(images), self.glass_p)
        reach = self.glass_px * rng.uniform(0, 1, len(images))
        seeds = rng.integers(0, 2**62, len(images))[chosen]
        return replaced(images, chosen, lambda part: _scattered(part, like(reach[chosen], part), seeds.tolist()))


def _scattered(images: Tensor, reach: Tensor, seeds: list[int]) -> Tensor:
    import torch

    from qpkit_train.augment.sampling import sample_beside

    # A source for each image: its places do not depend on which others are changed with it.
    sources = [torch.Generator(images.device).manual_seed(seed) for seed in seeds]
    shape = 2, *images.shape[2:]
    drawn = [torch.rand(shape, generator=s, device=images.device, dtype=images.dtype) for s in sources]
    far = (2 * torch.stack(drawn) - 1) * reach.view(-1, 1, 1, 1)
    return sample_beside(images, far[:, 0], far[:, 1]).clamp(0, 1)
