"""Tiles of which one object is asked about: its pixels are 1, all others that are known 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.dataset import TileRecord, TileSet
from qpkit.dataset.stores.layers import INSTANCES
from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.clicks.simulated import areas_of
from qpkit_train.data.batches import TileReader
from qpkit_train.recipe.settings import Recipe

OBJECT_LABELS: Final = LabelMap(classes=(LabelClass("object", 1, ("object",)),))
"""What a promptable network's two channels mean; the class of an object is that of the points on it."""

_LEAST_PX: Final = 16
"""Objects with fewer px, cut off by a tile's edge, are asked about only where there are no others."""


class OneObjectReader(TileReader):
    """Reads tiles, and asks about one object of each: one of the layer of instances, or a connected area of a class.

    Tiles that show none, and objects that a crop does not show, are wholly unknown. Arguments as TileReader.
    """

    is_asking = True

    @property
    def _background(self) -> int:
        labels = self._tile_set.labels
        return labels.trained_values.index(labels.background)

    def asked(
        self, tile: TileRecord, target: NDArray[np.uint8], wanted: Sequence[int], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Sequence[int]]:
        """Choose an object, every one with the same probability, of the wanted classes if there are any.

        Args:
            tile: Which one.
            target: (h, w) uint8 class indices of the whole tile.
            wanted: Class indices; empty for any class.
            rng: Drawn from once.

        Returns:
            (h, w) uint8: 1 the object, 0 what is known and not of it, IGNORE_INDEX; and what a crop has to hold.
        """
        numbers = self.numbers(tile, target)
        of_class = np.isin(target, list(wanted)) if len(wanted) else numbers > 0
        sizes = np.bincount(numbers[of_class], minlength=1)
        sizes[0] = 0
        if not sizes.any():
            sizes = np.bincount(numbers.ravel(), minlength=1)
            sizes[0] = 0
        large = np.flatnonzero(sizes >= _LEAST_PX)
        chosen = large if len(large) else np.flatnonzero(sizes)
        if not len(chosen):
            return np.full_like(target, IGNORE_INDEX), wanted
        number = chosen[rng.integers(len(chosen))]
        asked = np.where(target == IGNORE_INDEX, IGNORE_INDEX, numbers == number).astype(np.uint8)
        return asked, (1,)

    def numbers(self, tile: TileRecord, target: NDArray[np.uint8]) -> NDArray[np.int64]:
        """(h, w) int64 numbers of the objects of a tile, 0 elsewhere."""
        shows_class = (target != self._background) & (target != IGNORE_INDEX)
        if INSTANCES in self._tile_set.layers:
            drawn = self._tile_set.read(tile, INSTANCES).astype(np.int64)
            found = np.unique(np.where(shows_class, drawn, 0), return_inverse=True)
            # 0 is the first value wherever there is background; else numbers would begin at an object.
            numbers: NDArray[np.int64] = found[1].reshape(target.shape) + int(found[0][0] != 0)
            return numbers
        numbers, total = np.zeros(target.shape, np.int64), 0
        for value in np.unique(target[shows_class]):
            areas, count = areas_of(target == value)
            numbers = np.where(areas > 0, areas + total, numbers)
            total += count
        return numbers


def tile_reader(tile_set: TileSet, recipe: Recipe, table: NDArray[np.uint8], *, cache_mb: int = 0) -> TileReader:
    """The reader of a recipe: of tiles with their classes, or of tiles with one object that is clicked on.

    Args:
        tile_set: Where the files are.
        recipe: Says which, and what a sample shows.
        table: Class index by mask value.
        cache_mb: As TileReader.
    """
    kind = OneObjectReader if recipe.model.click_px else TileReader
    return kind(tile_set, cache_mb=cache_mb, table=table, factors=recipe.model.factors)
