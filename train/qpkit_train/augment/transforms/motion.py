"""Motion blur: the slide moved while it was photographed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from qpkit.settings import FRACTION, Range
from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.augment.transforms import Recolor

if TYPE_CHECKING:
    from torch import Tensor


class Motion(Recolor, frozen=True, kw_only=True):
    """Blur along a straight line in any direction; edges are mirrored.

    Args:
        motion_px: Lengths of a motion blur from 0 to this.
        motion_p: Probability of it.
    """

    motion_px: Annotated[float, Range(at_least=0, at_most=32)] = 0.0
    motion_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 92
    stream: ClassVar = ("motion", 9)
    shrinks: ClassVar = ("motion_px",)
    shown: ClassVar = (("motion_px", "motion blur of up to {:g} px", "motion_p"),)

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Blur some of (n, 3, h, w) in 0..1."""
        if not self.motion_px:
            return images
        rng = stream("motion")
        chosen = chosen_of(rng, len(images), self.motion_p)
        drawn = rng.uniform(0, 1, (len(images), 2))[chosen]
        steps = math.ceil(self.motion_px) + 1
        return replaced(images, chosen, lambda part: _blurred(part, like(drawn, part), self.motion_px, steps))


def _blurred(images: Tensor, drawn: Tensor, longest: float, steps: int) -> Tensor:
    """The mean of so many places along a line through each pixel; (n, 2) draws are its length and direction, 0..1."""
    import torch

    from qpkit_train.augment.sampling import sample_beside

    length, angle = drawn[:, 0] * longest, drawn[:, 1] * math.pi
    across, down = length * angle.cos(), length * angle.sin()
    total = torch.zeros_like(images)
    for part in torch.linspace(-0.5, 0.5, steps).tolist():
        total += sample_beside(images, across * part, down * part)
    return (total / steps).clamp(0, 1)
