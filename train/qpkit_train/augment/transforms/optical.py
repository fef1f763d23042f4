"""Optical distortion: a lens that magnifies its middle or its edge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from qpkit.settings import FRACTION, Range
from qpkit_train.augment.random import Stream, drawn_for
from qpkit_train.augment.transforms import Move

if TYPE_CHECKING:
    from qpkit_train.augment.sampling import SamplingGrid


class Optical(Move, frozen=True, kw_only=True):
    """Barrel or pincushion distortion: radii from the middle grow or shrink with their square.

    Args:
        optical: A corner comes from up to this fraction of its radius further out or in. Below a third, so that
            nothing is folded.
        optical_p: Probability of it.
    """

    optical: Annotated[float, Range(at_least=0, at_most=0.3)] = 0.0
    optical_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 45
    turn: ClassVar = 3
    stream: ClassVar = ("optical", 13)
    shown: ClassVar = (("optical", "distorted by a lens, corners by up to ± {:g} of their radius", "optical_p"),)

    def draw(self, count: int, height: int, width: int, stream: Stream) -> DrawnLens:
        """Draw a lens for each of `count` images of height x width px."""
        factors, moved = drawn_for(
            lambda rng, n: self.optical * rng.uniform(-1, 1, (n,)),
            stream("optical"),
            count,
            self.optical_p,
            is_on=self.optical > 0,
            still=np.zeros(()),
        )
        return DrawnLens(factors, moved)

    def reach(self, half: float, side: float) -> float:
        """Corners move furthest; what is beyond them moves by the same fraction."""
        return half * (1 + self.optical) if self.optical_p else half


@dataclass(frozen=True, slots=True)
class DrawnLens:
    """(n,) fraction by which the radius of a corner grows, and which of the n images are moved."""

    factors: NDArray[np.float64]
    moved: NDArray[np.bool_]

    def lead(self, at: SamplingGrid, chosen: NDArray[np.int64]) -> SamplingGrid:
        """Move the places of the chosen images along their radius."""
        if not self.factors[chosen].any():
            return at
        import torch

        x, y = at.x.shape[1] / 2, at.y.shape[1] / 2
        across, down = at.across - x, at.down - y
        squared = ((across**2 + down**2) / math.hypot(x, y) ** 2).clamp(max=1)
        factor = torch.from_numpy(self.factors[chosen]).float().to(at.across.device).view(-1, 1, 1)
        grown = 1 + factor * squared
        return at.at(x + across * grown, y + down * grown)
