"""How far readers agree beyond chance. Counts of pixels that can be added up, and what follows of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpkit.ops.scores.confusion import IGNORE_INDEX


def cohens_kappa(confusion: NDArray[np.int64]) -> float | None:
    """Agreement of two readers beyond what their classes would give by chance; 1 is all, 0 is chance.

    Args:
        confusion: (classes, classes) pixels, rows of the one reader, columns of the other.

    Returns:
        None without a pixel, and where both say one class alone (chance is all there is).

    Source: Cohen 1960, A coefficient of agreement for nominal scales.
    """
    total = int(confusion.sum())
    if not total:
        return None
    observed = np.trace(confusion) / total
    chance = float((confusion.sum(axis=0) / total) @ (confusion.sum(axis=1) / total))
    return None if chance >= 1 else float((observed - chance) / (1 - chance))


@dataclass(frozen=True, slots=True, kw_only=True)
class FleissCounts:
    """Pixels that all readers have judged.

    Args:
        readers: How many.
        px: Pixels.
        pairs: Ordered pairs of readers who agree, added up over the pixels.
        classes: (classes,) int64: votes for each.
    """

    readers: int
    px: int
    pairs: int
    classes: NDArray[np.int64]

    @classmethod
    def of(cls, indices: NDArray[np.uint8], classes: int) -> FleissCounts:
        """Count votes: (readers, ...) class indices; where one is IGNORE_INDEX nothing is counted."""
        votes = indices.reshape(len(indices), -1)
        votes = votes[:, (votes != IGNORE_INDEX).all(axis=0)]
        by_class = np.stack([np.count_nonzero(votes == index, axis=0) for index in range(classes)]).astype(np.int64)
        return cls(
            readers=len(indices),
            px=votes.shape[1],
            pairs=int((by_class * (by_class - 1)).sum()),
            classes=by_class.sum(axis=1),
        )

    def __add__(self, other: FleissCounts) -> FleissCounts:
        return FleissCounts(
            readers=self.readers,
            px=self.px + other.px,
            pairs=self.pairs + other.pairs,
            classes=self.classes + other.classes,
        )

    @property
    def kappa(self) -> float | None:
        """Agreement of all readers beyond chance; None without a pixel, and where all say one class alone.

        Source: Fleiss 1971, Measuring nominal scale agreement among many raters.
        """
        if not self.px:
            return None
        observed = self.pairs / (self.px * self.readers * (self.readers - 1))
        fractions = self.classes / self.classes.sum()
        chance = float(fractions @ fractions)
        return None if chance >= 1 else (observed - chance) / (1 - chance)
