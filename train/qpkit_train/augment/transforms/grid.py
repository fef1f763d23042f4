"""Grid distortion: cells become wider and narrower, image and mask alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.settings import FRACTION, Range
from qpkit_train.augment.random import Stream, drawn_for
from qpkit_train.augment.transforms import Move

if TYPE_CHECKING:
    from qpkit_train.augment.sampling import SamplingGrid

_CELLS: Final = 5


class Grid(Move, frozen=True, kw_only=True):
    """Grid distortion.

    Args:
        grid: Each of 5 x 5 cells of a grid becomes wider and higher by factors from 1 +- grid.
        grid_p: Probability of it.
    """

    grid: Annotated[float, Range(at_least=0, at_most=0.9)] = 0.0
    grid_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 30
    turn: ClassVar = 1
    stream: ClassVar = ("grid", 2)
    shown: ClassVar = (("grid", "cells of 5 x 5 wider and narrower by up to {:g}", "grid_p"),)

    def draw(self, count: int, height: int, width: int, stream: Stream) -> DrawnGrid:
        """Draw the widths and heights of the cells of `count` images of height x width px."""
        lines, moved = drawn_for(
            lambda rng, n: 1 + self.grid * rng.uniform(-1, 1, (n, 2, _CELLS)),
            stream("grid"),
            count,
            self.grid_p,
            is_on=self.grid > 0,
            still=np.ones((2, _CELLS)),
        )
        return DrawnGrid(_knots(lines[:, 0], width), _knots(lines[:, 1], height), moved)

    def reach(self, half: float, side: float) -> float:
        """The grid stays within the crop."""
        return half


@dataclass(frozen=True, slots=True)
class DrawnGrid:
    """(n, cells + 1) where the grid's lines come from in x and in y, px, and which of the n images are moved."""

    knots_x: NDArray[np.float64]
    knots_y: NDArray[np.float64]
    moved: NDArray[np.bool_]

    def lead(self, at: SamplingGrid, chosen: NDArray[np.int64]) -> SamplingGrid:
        """Move whole columns and rows of the chosen images; the places given have to be those of standing still."""
        x, y = _on_axis(self.knots_x[chosen], at.x), _on_axis(self.knots_y[chosen], at.y)
        return at.on_axes(x, y, at.across.device)


def _knots(factors: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """(n, cells + 1) sums of the cells' widths, 0 to `length`."""
    ends = np.cumsum(factors, axis=1)
    return np.concatenate([np.zeros((len(factors), 1)), ends / ends[:, -1:] * length], axis=1)


def _on_axis(knots: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the grid's distortion leads (n, length) places; beside the tile nothing moves."""
    even = np.linspace(0, knots[0, -1], knots.shape[1])
    found = np.stack([np.interp(own, even, row) for own, row in zip(places, knots, strict=True)])
    return np.where((places < 0) | (places > knots[:, -1:]), places, found)
