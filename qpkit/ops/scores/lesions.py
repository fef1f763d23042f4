"""Lesions against lesions: connected areas of a class in the truth and in the prediction, matched one to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from qpkit.ops.scores.components import StripComponents
from qpkit.ops.scores.pairs import Pairs

OVERLAP: Final = 0.5
"""IoU from which two areas are the same lesion. Above 0.5 no area can have two partners (Kirillov et al., Panoptic
Segmentation, CVPR 2019)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionCounts:
    """Lesions of one class.

    Args:
        total: There are.
        found: Of these, covered by predicted pixels of the class to at least the stated overlap.
        matched: Pairs of a true and a predicted lesion whose IoU reaches the stated overlap, one to one.
        predicted: Predicted lesions that count: the matched ones, and unmatched ones that are not too small.
        too_small: Unmatched predicted lesions under the stated area; they count neither way.
    """

    total: int = 0
    found: int = 0
    matched: int = 0
    predicted: int = 0
    too_small: int = 0

    def __add__(self, other: LesionCounts) -> LesionCounts:
        return LesionCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def precision(self) -> float | None:
        """Fraction of the predicted lesions that are matched; None without one."""
        return self.matched / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """Fraction of the true lesions that are matched; None without one."""
        return self.matched / self.total if self.total else None

    @property
    def f1(self) -> float | None:
        """2 matched / (true + predicted); None if there are neither."""
        both = self.total + self.predicted
        return 2 * self.matched / both if both else None


class LesionTally:
    """Collects the lesions of one slide strip by strip, from the top.

    Args:
        background, ignore: Values that are no lesions. What is predicted where the truth is `ignore` does not exist.
    """

    def __init__(self, *, background: int, ignore: int) -> None:
        self._background, self._ignore = background, ignore
        self._true = StripComponents(skip={background, ignore})
        self._predicted = StripComponents(skip={background, ignore})
        self._shared: list[Pairs] = []

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Take the next strip; both (h, w) uint8 label values."""
        known = np.where(truth == self._ignore, np.uint8(self._background), predicted)
        true, found = self._true.add(truth), self._predicted.add(known)
        both = (true > 0) & (truth == known)
        self._shared.append(Pairs.of(true[both], found[both]))

    def count(self, values: Sequence[int], *, overlap: float, min_px: float) -> dict[int, LesionCounts]:
        """Match and count the lesions of some values.

        Args:
            values: Classes.
            overlap: Fraction from which a lesion is found, and IoU from which two are matched; above 0, at most 1.
            min_px: Unmatched predicted lesions with fewer pixels do not count.
        """
        true, predicted = self._true.merged(), self._predicted.merged()
        pairs = Pairs.together(self._shared, true.owner, predicted.owner)
        first, second, shared = pairs.first, pairs.second, pairs.px
        iou = shared / (true.px[first] + predicted.px[second] - shared)
        covered = np.bincount(first, weights=shared, minlength=len(true.px))
        is_match, is_small = iou >= overlap, predicted.px < min_px
        found = {}
        for value in values:
            of_truth = (true.values == value) & (true.px > 0)
            of_predicted = (predicted.values == value) & (predicted.px > 0)
            chosen = is_match & (true.values[first] == value)
            matched = _most_pairs(first[chosen], second[chosen])
            # the most that large areas alone can have: so many of any largest matching can be theirs
            large = chosen & ~is_small[second]
            matched_large = _most_pairs(first[large], second[large])
            too_small = int((of_predicted & is_small).sum()) - (matched - matched_large)
            found[value] = LesionCounts(
                total=int(of_truth.sum()),
                found=int((covered[of_truth] >= overlap * true.px[of_truth]).sum()),
                matched=matched,
                predicted=int(of_predicted.sum()) - too_small,
                too_small=too_small,
            )
        return found


def _most_pairs(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """How many pairs at most can be chosen so that nobody is in two."""
    if not len(first):
        return 0
    rows, columns = np.unique(first, return_inverse=True)[1], np.unique(second, return_inverse=True)[1]
    graph = csr_array((np.ones(len(rows), np.bool_), (rows, columns)))
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())
