"""Elastic bends of image and mask, smooth and without folds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from qpkit.settings import FRACTION, Range
from qpkit_train.augment.random import Stream, drawn_for
from qpkit_train.augment.transforms import Move

if TYPE_CHECKING:
    from qpkit_train.augment.sampling import SamplingGrid


class Elastic(Move, frozen=True, kw_only=True):
    """Smooth bends: cubic B-splines through random control points.

    Args:
        elastic_px: Bends that move no pixel by more than this in x or in y, at most elastic_cell_px / 4.
        elastic_cell_px: Distance of the points between which it bends.
        elastic_p: Probability of it.
    """

    elastic_px: Annotated[float, Range(at_least=0, at_most=256)] = 0.0
    elastic_cell_px: Annotated[float, Range(at_least=4, at_most=1024)] = 64.0
    elastic_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 40
    turn: ClassVar = 2
    stream: ClassVar = ("elastic", 3)
    shown: ClassVar = (("elastic_px", "bent by up to ± {:g} px", "elastic_p"),)

    def faults(self) -> Iterator[str]:
        """Name a bend that would fold tissue over itself."""
        if self.elastic_px > self.elastic_cell_px / 4:
            yield (
                f"augment.elastic_px = {self.elastic_px} has to be at most {self.elastic_cell_px / 4:g}, a quarter "
                "of augment.elastic_cell_px: tissue would be folded over itself"
            )

    def draw(self, count: int, height: int, width: int, stream: Stream) -> DrawnBends:
        """Draw control points for `count` images of height x width px."""
        shape = (2, *(math.ceil(side / self.elastic_cell_px) + 3 for side in (height, width)))
        bends, moved = drawn_for(
            lambda rng, n: self.elastic_px * rng.uniform(-1, 1, (n, *shape)),
            stream("elastic"),
            count,
            self.elastic_p,
            is_on=self.elastic_px > 0,
            still=np.zeros(shape),
        )
        return DrawnBends(bends, self.elastic_cell_px, moved)

    def reach(self, half: float, side: float) -> float:
        """A bend moves no pixel further than its strength."""
        return half + (self.elastic_px if self.elastic_p else 0)


@dataclass(frozen=True, slots=True)
class DrawnBends:
    """Bends of n images.

    Args:
        bends: (n, 2, rows, columns) control points of x and y in px; the first is a cell outside.
        cell_px: Distance of the control points.
        moved: (n,) which images are moved.
    """

    bends: NDArray[np.float64]
    cell_px: float
    moved: NDArray[np.bool_]

    def lead(self, at: SamplingGrid, chosen: NDArray[np.int64]) -> SamplingGrid:
        """Bend the places of the chosen images."""
        bends = self.bends[chosen]
        if not bends.any():
            return at
        import torch

        device = at.across.device
        weights_x, weights_y = (
            torch.from_numpy(_basis(v, self.cell_px, points)).float().to(device)
            for v, points in ((at.x, bends.shape[-1]), (at.y, bends.shape[-2]))
        )
        pulled = torch.einsum("nyr,nark,nxk->nayx", weights_y, torch.from_numpy(bends).float().to(device), weights_x)
        return at.at(at.across + pulled[:, 0], at.down + pulled[:, 1])


def _basis(places: NDArray[np.float64], cell_px: float, points: int) -> NDArray[np.float64]:
    """(n, length, points) weights of control points at (i - 1) * cell_px: cubic B-spline, each row sums to 1."""
    distance = np.abs(places[..., np.newaxis] / cell_px + 1 - np.arange(points))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far)
