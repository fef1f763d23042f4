"""What overlapping tiles make of each pixel: a weighted mean of all that saw it, tile by tile.

Probabilities and weights are whole numbers, so the sums are the same in whatever order tiles come. Memory holds the
cores of tiles whose neighbours are still to come: two rows of tiles, where they come row by row. It is the memory of
the device on which the probabilities lie.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from qpkit.core.tiles import Tile
from qpkit_train.inference.pixels.uncertainty import entropy_bytes, rounded_bytes
from qpkit_train.models.card import LEVELS, Answer

Blend = Literal["crop", "linear", "gaussian"]
"""How overlapping tiles are put together; crop takes each pixel from the tile in whose core it lies."""

_FULL: Final = 64
"""Weight along one axis where nothing is taken off.

Those of all tiles that see a pixel add up to less than twice as much, so sums of both axes, times LEVELS, fit int32.
"""

_SIGMAS: Final = 4.0
"""Standard deviations of the Gaussian from the middle of a tile to its edge, as nnU-Net has it (a side is 8)."""


def axis_weights(blend: Blend, *, core: int, halo: int) -> NDArray[np.int32]:
    """Weights along one axis of a tile with its halo.

    Linear weights rise over twice the halo, from the outer edge as far inside the core, so that those of two
    neighbours add up to the same everywhere. Gaussian ones fall from the middle.

    Returns:
        (core + 2 halo,) int32 in 1..64, the same from either end.
    """
    place = np.arange(core + 2 * halo) + 0.5
    from_edge = np.minimum(place, place[::-1])
    if blend == "gaussian":
        half = core / 2 + halo
        weights = np.exp(-0.5 * (_SIGMAS * (half - from_edge) / half) ** 2)
    else:
        weights = np.minimum(1.0, from_edge / max(2 * halo, 1))
    whole: NDArray[np.int32] = np.maximum(1, np.rint(weights * _FULL)).astype(np.int32)
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
        probabilities, uncertainty: Whether the answers have them.
        core, halo: px of a tile; the halo is at most as wide as the core.
    """

    def __init__(
        self,
        tiles: Iterable[Tile],
        blend: Blend,
        *,
        classes: int,
        core: int,
        halo: int,
        probabilities: bool = True,
        uncertainty: bool = False,
    ) -> None:
        self._tiles = {(tile.col, tile.row): tile for tile in tiles}
        self._core, self._halo, self._classes = core, halo, classes
        self._wanted, self._uncertainty = probabilities, uncertainty
        weights = axis_weights(blend, core=core, halo=halo)
        self._weights: Any = np.multiply.outer(weights, weights)
        self._sums: dict[tuple[int, int], Any] = {}
        self._missing = {place: sum(1 for _ in self._around(place)) for place in self._tiles}

    def add(
        self, tiles: Sequence[Tile], levels: Any, *, broken: Container[tuple[int, int]] = ()
    ) -> Iterator[tuple[Tile, Answer]]:
        """Take (n, classes, h, w) uint16 or int32 probabilities with their halo; give what is finished, as an `Answer`.

        Tiles at the places `broken` add nothing to their neighbours, nor to themselves.
        """
        if isinstance(self._weights, np.ndarray):
            self._weights = array_namespace(levels).asarray(self._weights, device=device(levels))
        for number, tile in enumerate(tiles):
            weighted = levels[number] * self._weights
            for place in self._around((tile.col, tile.row)):
                self._add_to(place, tile, weighted, counts=(tile.col, tile.row) not in broken)
                self._missing[place] -= 1
                if not self._missing[place]:
                    yield self._tiles[place], self._answered(self._sums.pop(place))

    def _around(self, place: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Tiles whose cores a tile sees, and itself."""
        return (other for other in neighbourhood(*place) if other in self._tiles)

    def _add_to(self, place: tuple[int, int], tile: Tile, weighted: Any, *, counts: bool) -> None:
        if place not in self._sums:
            xp, shape = array_namespace(weighted), (len(weighted) + 1, self._core, self._core)
            self._sums[place] = xp.zeros(shape, dtype=xp.int32, device=device(weighted))
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

    def _answered(self, sums: Any) -> Answer:
        """Turn (channels + 1, h, w) weighted sums, the weights last, into the answer for one tile."""
        xp = array_namespace(sums)
        probabilities, weights = sums[: self._classes], xp.clip(xp.astype(sums[-1], xp.int64), min=1)
        step, unsure = weights * (LEVELS // 255), None
        if self._uncertainty:
            spread = rounded_bytes(sums[self._classes : -1], step)
            unsure = xp.concat([entropy_bytes(probabilities[None]), spread])[None]
        indices = xp.astype(xp.argmax(probabilities, axis=0), xp.uint8)
        return Answer(indices[None], rounded_bytes(probabilities, step)[None] if self._wanted else None, unsure)
