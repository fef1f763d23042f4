"""What overlapping tiles make of each pixel: a weighted mean of all that saw it, tile by tile.

Probabilities and weights are whole numbers, so the sums are the same in whatever order tiles come. Memory holds the
cores of tiles whose neighbours are still to come: two rows of tiles, where they come row by row.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile
from qpkit_train.inference.pixels.uncertainty import entropy_bytes
from qpkit_train.models.card import LEVELS, Answer

Blend = Literal["crop", "linear", "gaussian"]
"""How overlapping tiles are put together; crop takes each pixel from the tile in whose core it lies."""

_FULL: Final = 64
"""Weight along one axis where nothing is taken off; sums of 9 tiles, times LEVELS, fit 32 bits."""

_SIGMAS: Final = 4.0
"""Standard deviations of the Gaussian from the middle of a tile to its edge, as nnU-Net has it (a side is 8)."""


def axis_weights(blend: Blend, *, core: int, halo: int) -> NDArray[np.uint32]:
    """Weights along one axis of a tile with its halo.

    Linear weights rise over twice the halo, from the outer edge as far inside the core, so that those of two
    neighbours add up to the same everywhere. Gaussian ones fall from the middle.

    Returns:
        (core + 2 halo,) uint32 in 1..64, the same from either end.
    """
    place = np.arange(core + 2 * halo) + 0.5
    from_edge = np.minimum(place, place[::-1])
    if blend == "gaussian":
        half = core / 2 + halo
        weights = np.exp(-0.5 * (_SIGMAS * (half - from_edge) / half) ** 2)
    else:
        weights = np.minimum(1.0, from_edge / max(2 * halo, 1))
    whole: NDArray[np.uint32] = np.maximum(1, np.rint(weights * _FULL)).astype(np.uint32)
    return whole


def neighbourhood(col: int, row: int) -> Iterator[tuple[int, int]]:
    """The place of a tile and the eight around it: whom it adds to, and who adds to it."""
    return ((col + right, row + down) for down in (-1, 0, 1) for right in (-1, 0, 1))


class Blender:
    """Collects tiles with their halo and gives cores that no other tile adds to.

    Args:
        tiles: All that will come, each once; a core of a tile that is not among them gets nothing.
        blend: linear or gaussian.
        classes: Channels of probabilities; further ones are a spread (`Together.levels_and_spread`).
        uncertainty: Whether the answers have it.
        core, halo: px of a tile; the halo is at most as wide as the core.
    """

    def __init__(
        self, tiles: Iterable[Tile], blend: Blend, *, classes: int, core: int, halo: int, uncertainty: bool = False
    ) -> None:
        self._tiles = {(tile.col, tile.row): tile for tile in tiles}
        self._core, self._halo, self._classes, self._uncertainty = core, halo, classes, uncertainty
        weights = axis_weights(blend, core=core, halo=halo)
        self._weights: NDArray[np.uint32] = np.multiply.outer(weights, weights)
        self._sums: dict[tuple[int, int], NDArray[np.uint32]] = {}
        self._missing = {place: sum(1 for _ in self._around(place)) for place in self._tiles}

    def add(
        self, tiles: Sequence[Tile], levels: NDArray[np.uint16], *, broken: Container[tuple[int, int]] = ()
    ) -> Iterator[tuple[Tile, Answer]]:
        """Take (n, classes, h, w) probabilities with their halo; give what is finished, as `Model.answer` does.

        Tiles at the places `broken` add nothing to their neighbours, nor to themselves.
        """
        for tile, level in zip(tiles, levels, strict=True):
            weighted = level * self._weights
            for place in self._around((tile.col, tile.row)):
                self._add_to(place, tile, weighted, counts=(tile.col, tile.row) not in broken)
                self._missing[place] -= 1
                if not self._missing[place]:
                    yield self._tiles[place], self._answered(self._sums.pop(place))

    def _around(self, place: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Tiles whose cores a tile sees, and itself."""
        return (other for other in neighbourhood(*place) if other in self._tiles)

    def _add_to(self, place: tuple[int, int], tile: Tile, weighted: NDArray[np.uint32], *, counts: bool) -> None:
        if place not in self._sums:
            self._sums[place] = np.zeros((len(weighted) + 1, self._core, self._core), np.uint32)
        if not counts:
            return
        sums = self._sums[place]
        to_y, of_y = self._shared(place[1] - tile.row)
        to_x, of_x = self._shared(place[0] - tile.col)
        sums[:-1, to_y, to_x] += weighted[:, of_y, of_x]
        sums[-1, to_y, to_x] += self._weights[of_y, of_x]

    def _shared(self, step: int) -> tuple[slice, slice]:
        """Of the core of a tile `step` tiles further, and of the tile with its halo: the px that they share."""
        first = step * self._core + self._halo
        begin, end = max(first, 0), min(first + self._core, self._core + 2 * self._halo)
        return slice(begin - first, end - first), slice(begin, end)

    def _answered(self, sums: NDArray[np.uint32]) -> Answer:
        """Turn (channels + 1, h, w) weighted sums, the weights last, into the answer for one tile."""
        probabilities, weights = sums[: self._classes], np.maximum(sums[-1], 1).astype(np.uint64)
        whole = weights * (LEVELS // 255)
        rounded = ((sums[:-1] + whole // 2) // whole).astype(np.uint8)
        unsure = None
        if self._uncertainty:
            entropy = entropy_bytes(probabilities[np.newaxis])
            unsure = np.concatenate([entropy, rounded[self._classes :]])[np.newaxis]
        indices = probabilities.argmax(axis=0).astype(np.uint8)
        return Answer(indices[np.newaxis], rounded[np.newaxis, : self._classes], unsure)
