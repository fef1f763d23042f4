"""Emboss: light from one side, which shows edges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from qpkit.settings import FRACTION, Range
from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.augment.transforms import Recolor

if TYPE_CHECKING:
    from torch import Tensor


class Emboss(Recolor, frozen=True, kw_only=True):
    """Add the slope of each channel in a random direction: what rises becomes lighter, what falls darker.

    Args:
        emboss: Slopes, in the range of a channel per px, are added times 0 to this.
        emboss_p: Probability of it.
    """

    emboss: Annotated[float, Range(at_least=0, at_most=4)] = 0.0
    emboss_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 96
    stream: ClassVar = ("emboss", 11)
    shown: ClassVar = (("emboss", "slopes added up to {:g} times", "emboss_p"),)

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Emboss some of (n, 3, h, w) in 0..1."""
        if not self.emboss:
            return images
        rng = stream("emboss")
        chosen = chosen_of(rng, len(images), self.emboss_p)
        drawn = rng.uniform(0, 1, (len(images), 2))[chosen]
        return replaced(images, chosen, lambda part: _embossed(part, like(drawn, part), self.emboss))


def _embossed(images: Tensor, drawn: Tensor, most: float) -> Tensor:
    """(n, 2) draws are strength and direction, 0..1."""
    import torch.nn.functional as F

    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    strength, angle = (part.view(-1, 1, 1, 1) for part in (drawn[:, 0] * most, drawn[:, 1] * 2 * math.pi))
    return (images + strength * (angle.cos() * across + angle.sin() * down)).clamp(0, 1)
