"""Numbered objects against numbered objects, as counts: pixels of classes, and objects."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.ops.scores.confusion import class_indices, confusion_of, empty_confusion
from qpkit.ops.scores.objects import ObjectOverlaps, object_overlaps
from qpkit.ops.scores.pairs import PairTally


class NumberedCounts:
    """Counts strips or tiles of one image.

    Args:
        rules: What label values mean. Where the truth is `ignore`, no predicted object exists.

    Attributes:
        confusion: As in `SlideCounts`.
        outside: (256,) int64, pixels by predicted value where the truth is `ignore`.
    """

    def __init__(self, rules: LabelMap) -> None:
        self._values, self._ignore = rules.trained_values, rules.ignore
        self._tally = PairTally()
        self.confusion = empty_confusion(len(self._values))
        self.outside = np.zeros(256, np.int64)

    def add(
        self,
        truth: NDArray[np.uint8],
        true_numbers: NDArray[Any],
        predicted: NDArray[np.uint8],
        predicted_numbers: NDArray[Any],
    ) -> None:
        """Take the next strip or tile: label values and numbers of objects, all (h, w)."""
        unknown = truth == self._ignore
        target, answer = class_indices(truth, self._values), class_indices(predicted, self._values)
        self.confusion += confusion_of(target, answer, len(self._values))
        self.outside += np.bincount(predicted[unknown], minlength=256)
        self._tally.add(np.where(unknown, 0, true_numbers), np.where(unknown, 0, predicted_numbers))

    def overlaps(self) -> ObjectOverlaps:
        """The objects so far."""
        return object_overlaps(self._tally.pairs())
