"""Whether the borders of tiles show: how far probabilities jump across them, against how far they jump elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile, TileGrid

_EVERY: Final = 16
"""Inside a tile, each so many-th pair of columns and rows is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamMeasure:
    """Mean absolute difference of the probabilities of neighbouring pixels, 0..1.

    Args:
        at_borders: On either side of a border between two tiles.
        elsewhere: Inside tiles.
    """

    at_borders: float
    elsewhere: float

    @property
    def ratio(self) -> float | None:
        """1 where borders do not show; None where nothing changes elsewhere."""
        return round(self.at_borders / self.elsewhere, 3) if self.elsewhere else None


class Seams:
    """Adds up jumps of the tiles that it is shown, in integers: their order does not matter.

    It keeps an edge of each tile until the neighbour comes.

    Args:
        grid: Of the slide; what lies beyond its edges is not measured.
    """

    def __init__(self, grid: TileGrid) -> None:
        self._grid = grid
        self._edges: dict[tuple[int, int, str], NDArray[np.uint8]] = {}
        self._jumps = {"borders": [0, 0], "elsewhere": [0, 0]}

    def add(self, tile: Tile, probabilities: NDArray[np.uint8]) -> None:
        """Measure (classes, h, w) uint8 probabilities of a tile, and its borders to those that came before."""
        inside = probabilities[:, : self._grid.level_height - tile.y, : self._grid.level_width - tile.x]
        for turned in (inside, inside.swapaxes(1, 2)):
            self._note("elsewhere", turned[:, :, 1::_EVERY], turned[:, :, :-1:_EVERY])
        whole = probabilities.shape[1:] == inside.shape[1:]
        self._meet((tile.col, tile.row, "left"), (tile.col - 1, tile.row, "right"), inside[:, :, 0])
        self._meet((tile.col, tile.row, "top"), (tile.col, tile.row - 1, "bottom"), inside[:, 0])
        if whole or inside.shape[2] == tile.width:
            self._meet((tile.col, tile.row, "right"), (tile.col + 1, tile.row, "left"), inside[:, :, -1])
        if whole or inside.shape[1] == tile.height:
            self._meet((tile.col, tile.row, "bottom"), (tile.col, tile.row + 1, "top"), inside[:, -1])

    def measured(self) -> SeamMeasure | None:
        """The means so far; None without a border."""
        (border, of_borders), (other, of_others) = self._jumps["borders"], self._jumps["elsewhere"]
        if not of_borders or not of_others:
            return None
        return SeamMeasure(at_borders=round(border / of_borders / 255, 6), elsewhere=round(other / of_others / 255, 6))

    def _meet(self, own: tuple[int, int, str], other: tuple[int, int, str], edge: NDArray[np.uint8]) -> None:
        there = self._edges.pop(other, None)
        if there is None:
            self._edges[own] = edge.copy()
        else:
            self._note("borders", edge, there)

    def _note(self, where: str, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
        shared = tuple(slice(min(sizes)) for sizes in zip(one.shape, other.shape, strict=True))
        jump = np.abs(one[shared].astype(np.int16) - other[shared])
        self._jumps[where][0] += int(jump.sum())
        self._jumps[where][1] += jump.size
