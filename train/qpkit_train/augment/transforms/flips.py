"""Flips and quarter turns: pixels are exchanged, nothing is interpolated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from qpkit.settings import FRACTION
from qpkit_train.augment.random import chosen_of, replaced
from qpkit_train.augment.transforms import Exchange

if TYPE_CHECKING:
    from torch import Tensor


class Flips(Exchange, frozen=True, kw_only=True):
    """Mirror and turn by multiples of 90 degrees; quarter turns need squares.

    Args:
        hflip: Probability of being mirrored left to right.
        vflip: Probability of being mirrored top to bottom.
        rot90: Turn by a random multiple of 90 degrees.
    """

    hflip: Annotated[float, FRACTION] = 0.5
    vflip: Annotated[float, FRACTION] = 0.5
    rot90: bool = True

    place: ClassVar = 10
    stream: ClassVar = None
    shown: ClassVar = (
        ("hflip", "mirrored left to right", "hflip"),
        ("vflip", "mirrored top to bottom", "vflip"),
        ("rot90", "turned by multiples of 90 degrees", ""),
    )

    def apply(self, images: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Flip and turn (n, 3, h, w) and (n, h, w) of any type."""
        count = len(images)
        for probability, axis in ((self.hflip, -1), (self.vflip, -2)):
            chosen = chosen_of(rng, count, probability)
            images, targets = _flipped(images, chosen, axis), _flipped(targets, chosen, axis)
        # Drawn in any case: `Color` takes the numbers that follow, and must not change with rot90.
        quarters = rng.integers(0, 4, count)
        if self.rot90 and images.shape[-1] == images.shape[-2]:
            for turns in (1, 2, 3):
                chosen = np.flatnonzero(quarters == turns)
                images, targets = _turned(images, chosen, turns), _turned(targets, chosen, turns)
        return images, targets


def _flipped(batch: Tensor, chosen: NDArray[np.int64], axis: int) -> Tensor:
    return replaced(batch, chosen, lambda part: part.flip(axis))


def _turned(batch: Tensor, chosen: NDArray[np.int64], quarters: int) -> Tensor:
    return replaced(batch, chosen, lambda part: part.rot90(quarters, (-2, -1)))
