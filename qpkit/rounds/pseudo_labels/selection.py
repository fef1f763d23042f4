"""Which predicted pixels become labels: of every class the surest ones, an exact number of them. numpy, no files.

Both ways of choosing are one: a rule says how many pixels of a class are kept, and these are the surest. Where many are
equally sure, those kept are spread evenly over all of them in the order of tiles, rows and columns; so the number is
exact and nothing is random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rule:
    """How many pixels of a class are kept. One of the first two is None.

    Args:
        threshold: Those with at least this probability; above 1 none.
        quantile: Those above this quantile of the class's own candidates, 0..1: 0.8 keeps the surest fifth.
        most: At most so many pixels of a class; 0 for no bound.
    """

    threshold: float | None = None
    quantile: float | None = None
    most: int = 0

    def kept(self, counts: NDArray[np.int64]) -> int:
        """Say how many pixels of a class are kept.

        Args:
            counts: (levels + 1,) int64, candidates of the class by probability, the last one is 1.
        """
        if self.threshold is not None:
            # Not 0.9 of the levels and a rounding error more.
            first = math.ceil(round(self.threshold * (len(counts) - 1), 6))
            number = int(counts[first:].sum())
        else:
            total = int(counts.sum())
            number = total - math.floor(round((self.quantile or 0.0) * total, 6))
        return min(number, self.most) if self.most else number


class Surest:
    """Keeps the surest pixels of each class; tiles have to come in the order in which they were counted.

    Args:
        counts: (classes, levels + 1) int64, all candidates by class and probability.
        kept: How many of each class are kept, at most as many as there are.

    Attributes:
        least: Lowest level that is kept, by class; above the last level where none is.
    """

    def __init__(self, counts: NDArray[np.int64], kept: Sequence[int]) -> None:
        self.least: list[int] = []
        self._of_least: list[tuple[int, int]] = []
        for row, number in zip(counts, kept, strict=True):
            # How many are at least as sure as each level.
            as_sure = np.append(np.cumsum(row[::-1])[::-1], 0)
            level = int(np.flatnonzero(as_sure >= number)[-1]) if number else len(row)
            self.least.append(level)
            self._of_least.append((number - int(as_sure[level + 1]), int(row[level])) if number else (0, 0))
        self._seen = [0] * len(self.least)

    def of(self, classes: NDArray[np.uint8], sure: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """Choose among the pixels of the next tile.

        Args:
            classes: (h, w) class index of each candidate; any other value is none.
            sure: (h, w) probability.

        Returns:
            (h, w) bool.
        """
        chosen = np.zeros(classes.shape, bool)
        for index, (level, (wanted, there)) in enumerate(zip(self.least, self._of_least, strict=True)):
            own = classes == index
            chosen |= own & (sure > level)
            equal = np.flatnonzero((own & (sure == level)).ravel())
            if wanted and len(equal):
                # Number i of the equal ones is kept where i * wanted / there passes a whole number.
                at = (self._seen[index] + np.arange(len(equal) + 1)) * wanted // there
                chosen.reshape(-1)[equal[np.diff(at) > 0]] = True
                self._seen[index] += len(equal)
        return chosen
