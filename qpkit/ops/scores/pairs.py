"""Two rasters of numbers against each other: which numbers meet, and on how many pixels. Counted strip by strip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_HALF = 32
"""A pair of numbers below 2^31 is sorted as one number of 64 bits: np.unique over columns is far slower."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Different pairs of numbers, in ascending order; all (n,) int64.

    Args:
        first, second: The numbers, 0 .. 2^31 - 1.
        px: Pixels that have both.
        start: The first of these pixels, counted row by row.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    px: NDArray[np.int64]
    start: NDArray[np.int64]

    @classmethod
    def none(cls) -> Self:
        """No pair at all."""
        return cls(*np.zeros((4, 0), np.int64))

    @classmethod
    def of(cls, first: NDArray[Any], second: NDArray[Any], *, start: int = 0) -> Self:
        """Count pairs, equal neighbours as one run.

        Args:
            first, second: (n,) whole numbers, 0 .. 2^31 - 1.
            start: Place of the first of them.
        """
        if not len(first):
            return cls.none()
        is_new = np.ones(len(first), np.bool_)
        is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        starts = np.flatnonzero(is_new)
        runs = np.diff(starts, append=len(first))
        return cls._summed(first[starts], second[starts], runs, starts + start)

    @classmethod
    def together(
        cls,
        parts: Sequence[Self],
        first_owner: NDArray[np.integer[Any]] | None = None,
        second_owner: NDArray[np.integer[Any]] | None = None,
    ) -> Self:
        """Add up the pairs of parts; with owners, after every number was replaced by its owner."""
        every = (cls.none(), *parts)
        first, second, px, start = (
            np.concatenate([getattr(part, name) for part in every]) for name in ("first", "second", "px", "start")
        )
        return cls._summed(
            first if first_owner is None else first_owner[first],
            second if second_owner is None else second_owner[second],
            px,
            start,
        )

    @classmethod
    def _summed(
        cls, first: NDArray[Any], second: NDArray[Any], px: NDArray[np.int64], start: NDArray[np.int64]
    ) -> Self:
        keys, place = np.unique((first.astype(np.int64) << _HALF) | second.astype(np.int64), return_inverse=True)
        total = np.bincount(place, weights=px, minlength=len(keys)).astype(np.int64)
        earliest = np.full(len(keys), np.iinfo(np.int64).max)
        np.minimum.at(earliest, place, start)
        return cls(keys >> _HALF, keys & ((1 << _HALF) - 1), total, earliest)


class PairTally:
    """Counts the pairs of numbers of two rasters that come in strips or tiles; memory holds the pairs, no pixels."""

    def __init__(self) -> None:
        self._parts: list[Pairs] = []
        self._seen = 0

    def add(self, first: NDArray[Any], second: NDArray[Any]) -> None:
        """Take the next strip or tile: both (h, w), whole numbers 0 .. 2^31 - 1; (0, 0) is not counted."""
        pairs = Pairs.of(first.ravel(), second.ravel(), start=self._seen)
        self._seen += first.size
        kept = (pairs.first > 0) | (pairs.second > 0)
        self._parts.append(Pairs(pairs.first[kept], pairs.second[kept], pairs.px[kept], pairs.start[kept]))

    def pairs(
        self,
        first_owner: NDArray[np.integer[Any]] | None = None,
        second_owner: NDArray[np.integer[Any]] | None = None,
    ) -> Pairs:
        """All pairs so far; (n, 0) and (0, n) are the pixels that a number shares with none.

        Args:
            first_owner, second_owner: What each number is part of, where strips or tiles gave several to one thing;
                0 has to stay 0.
        """
        return Pairs.together(self._parts, first_owner, second_owner)
