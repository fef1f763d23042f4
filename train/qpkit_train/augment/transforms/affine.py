"""Turn, magnify, slant and shift: one affine map of image and mask."""

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


class Affine(Move, frozen=True, kw_only=True):
    """Turn, magnify, slant and shift, all four together or not at all.

    Args:
        rotate: Turn by up to so many degrees either way.
        scale: Magnify or shrink by up to 1 + scale.
        shear: Slant by up to so many degrees.
        shift: Move by up to this fraction of the side in x and in y.
        affine_p: Probability of these four together.
    """

    rotate: Annotated[float, Range(at_least=0, at_most=180)] = 0.0
    scale: Annotated[float, FRACTION] = 0.0
    shear: Annotated[float, Range(at_least=0, at_most=45)] = 0.0
    shift: Annotated[float, Range(at_least=0, at_most=0.5)] = 0.0
    affine_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 20
    turn: ClassVar = 4
    stream: ClassVar = ("affine", 1)
    shown: ClassVar = (
        ("rotate", "turned by up to ± {:g} degrees", "affine_p"),
        ("scale", "magnified or shrunk by up to 1 + {:g}", "affine_p"),
        ("shear", "slanted by up to ± {:g} degrees", "affine_p"),
        ("shift", "moved by up to ± {:g} of the side", "affine_p"),
    )

    def draw(self, count: int, height: int, width: int, stream: Stream) -> DrawnAffine:
        """Draw a matrix for each of `count` images of height x width px."""
        is_on = any((self.rotate, self.scale, self.shear, self.shift))
        matrices, moved = drawn_for(
            lambda rng, n: self._matrices(rng, n, height, width),
            stream("affine"),
            count,
            self.affine_p,
            is_on=is_on,
            still=np.eye(2, 3),
        )
        return DrawnAffine(matrices, moved)

    def reach(self, half: float, side: float) -> float:
        """How far a corner gets that is `half` px from the middle along both axes."""
        if not self.affine_p:
            return half
        across, down = half * (1 + math.tan(math.radians(self.shear))), half
        turned = max(_turned_by(across, down, self.rotate), _turned_by(down, across, self.rotate))
        return turned * (1 + self.scale) + self.shift * side

    def _matrices(self, rng: np.random.Generator, count: int, height: int, width: int) -> NDArray[np.float64]:
        turn, zoom, slant, *shift = rng.uniform(-1, 1, (count, 5)).T
        angle, slope = np.radians(turn * self.rotate), np.tan(np.radians(slant * self.shear))
        # The inverse: the matrix leads from the output to the source.
        factor = (1 + self.scale) ** -zoom
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        slanted = np.array([[np.ones(count), slope], [np.zeros(count), np.ones(count)]])
        matrix = np.einsum("ijn,jkn,n->nik", turned, slanted, factor)
        middle, side = np.array([width, height]) / 2, np.array([width, height])
        moved = middle - matrix @ middle + np.stack(shift, axis=1) * self.shift * side
        return np.concatenate([matrix, moved[:, :, np.newaxis]], axis=2)


@dataclass(frozen=True, slots=True)
class DrawnAffine:
    """(n, 2, 3) source place from (x, y, 1), and which of the n images are moved."""

    matrices: NDArray[np.float64]
    moved: NDArray[np.bool_]

    def lead(self, at: SamplingGrid, chosen: NDArray[np.int64]) -> SamplingGrid:
        """Map the places of the chosen images."""
        import torch

        a = torch.from_numpy(self.matrices[chosen]).float().to(at.across.device).unsqueeze(-1).unsqueeze(-1)
        across, down = at.across, at.down
        return at.at(
            a[:, 0, 0] * across + a[:, 0, 1] * down + a[:, 0, 2],
            a[:, 1, 0] * across + a[:, 1, 1] * down + a[:, 1, 2],
        )


def _turned_by(along: float, beside: float, degrees: float) -> float:
    """How far along an axis a corner gets that is so far along and beside it, turned by up to an angle."""
    angle = min(math.radians(degrees), math.atan2(beside, along))
    return math.cos(angle) * along + math.sin(angle) * beside
