"""Gamma: brightness along a power, black and white stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from qpkit.settings import FRACTION, Range
from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.augment.transforms import Recolor

if TYPE_CHECKING:
    from torch import Tensor


class Gamma(Recolor, frozen=True, kw_only=True):
    """Raise images to powers.

    Args:
        gamma: Exponents from 1 / (1 + gamma) to 1 + gamma.
        gamma_p: Probability of it.
    """

    gamma: Annotated[float, Range(at_least=0, at_most=3)] = 0.0
    gamma_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 70
    stream: ClassVar = ("gamma", 5)
    shown: ClassVar = (("gamma", "exponents up to 1 + {:g}", "gamma_p"),)

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Raise some of (n, 3, h, w) in 0..1 to powers."""
        if not self.gamma:
            return images
        rng = stream("gamma")
        chosen = chosen_of(rng, len(images), self.gamma_p)
        powers = (1 + self.gamma) ** rng.uniform(-1, 1, len(images))
        return replaced(images, chosen, lambda part: part ** like(powers[chosen], part).view(-1, 1, 1, 1))
