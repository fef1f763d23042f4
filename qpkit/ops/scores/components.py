"""Connected areas of a raster that is read strip by strip: what a strip cuts is one area again in the end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label


@dataclass(frozen=True, slots=True)
class Areas:
    """Connected areas of a whole raster.

    Args:
        owner: For each number that `StripComponents.add` gave, the area it is part of; number 0 is alone in one.
        values: By area.
        px: By area; int64; 0 for that of number 0.
    """

    owner: NDArray[np.int32]
    values: NDArray[np.uint8]
    px: NDArray[np.int64]


class StripComponents:
    """Numbers the 4-connected areas of equal value of strips that follow each other from the top.

    Memory holds one row of pixels and one number per area of a strip, never the raster.

    Args:
        skip: Values that are no areas (background, ignore).
    """

    def __init__(self, *, skip: Collection[int]) -> None:
        # skimage's label knows one background only, so all values that are no areas become one.
        self._nothing = min(skip)
        self._plain = np.arange(256, dtype=np.uint8)
        self._plain[list(skip)] = self._nothing
        self._count = 0
        self._values: list[NDArray[np.uint8]] = [np.zeros(1, np.uint8)]
        self._px: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._seams: list[NDArray[np.int32]] = []
        self._above: tuple[NDArray[np.uint8], NDArray[np.int32]] | None = None

    def add(self, strip: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Number the areas of the next strip.

        Args:
            strip: (h, w) uint8, as wide as those before.

        Returns:
            (h, w) int32 numbers for now, 0 where there is no area; `merged` says which of them are one area.
        """
        plain = self._plain[strip]
        numbers = np.asarray(label(plain, background=self._nothing, connectivity=1), dtype=np.int32)
        px = np.bincount(numbers.ravel())
        values = np.zeros(len(px), np.uint8)
        values[numbers.ravel()] = plain.ravel()
        numbers[numbers > 0] += np.int32(self._count)
        if self._above is not None:
            row, above = self._above
            joined = (row == plain[0]) & (above > 0)
            self._seams.append(np.unique(np.stack([above[joined], numbers[0][joined]]), axis=1))
        self._above = plain[-1].copy(), numbers[-1].copy()
        self._values.append(values[1:])
        self._px.append(px[1:])
        self._count += len(px) - 1
        return numbers

    def merged(self) -> Areas:
        """Put together what strips have cut."""
        first, second = np.concatenate([*self._seams, np.zeros((2, 0), np.int32)], axis=1)
        size = self._count + 1
        graph = coo_array((np.ones(len(first), np.bool_), (first, second)), shape=(size, size))
        areas, owner = connected_components(graph, directed=False)
        values = np.zeros(areas, np.uint8)
        values[owner] = np.concatenate(self._values)
        px = np.zeros(areas, np.int64)
        np.add.at(px, owner, np.concatenate(self._px))  # += would count an owner once, however often it occurs
        return Areas(owner, values, px)
