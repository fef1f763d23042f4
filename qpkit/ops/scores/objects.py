"""Objects against objects, such as nuclei: detection scores, PQ and AJI from the pixels that numbers share."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.ops.scores.pairs import Pairs

THRESHOLDS: Final = tuple(range(50, 100, 5))
"""IoU in percent above which a pair is one object. From 50 on no object can have two partners (Kirillov et al.,
Panoptic Segmentation, CVPR 2019), so nothing has to be assigned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectCounts:
    """Objects of one class, or of all. Counts of several images can be added up.

    Args:
        total: There are.
        predicted: Predicted objects.
        matched: Pairs whose IoU is above 0.50, 0.55 ... 0.95.
        iou_sum: Of the pairs above 0.50.
        aji_shared, aji_union: Pixels above and below the fraction line of the aggregated Jaccard index.
    """

    total: int = 0
    predicted: int = 0
    matched: tuple[int, ...] = (0,) * len(THRESHOLDS)
    iou_sum: float = 0.0
    aji_shared: int = 0
    aji_union: int = 0

    def __add__(self, other: ObjectCounts) -> ObjectCounts:
        plain = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "matched"}
        both = zip(self.matched, other.matched, strict=True)
        return ObjectCounts(matched=tuple(a + b for a, b in both), **plain)

    @property
    def precision(self) -> float | None:
        """Fraction of the predicted objects that are matched; None without one."""
        return self.matched[0] / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """Fraction of the true objects that are matched; None without one."""
        return self.matched[0] / self.total if self.total else None

    @property
    def f1(self) -> float | None:
        """2 matched / (true + predicted), the detection quality DQ; None if there are neither."""
        both = self.total + self.predicted
        return 2 * self.matched[0] / both if both else None

    @property
    def sq(self) -> float | None:
        """Segmentation quality: mean IoU of the matched pairs; None without one."""
        return self.iou_sum / self.matched[0] if self.matched[0] else None

    @property
    def pq(self) -> float | None:
        """Panoptic quality: DQ times SQ; 0 where objects are there and none is matched, None if there are none."""
        both = self.total + self.predicted
        return 2 * self.iou_sum / both if both else None

    @property
    def aji(self) -> float | None:
        """Aggregated Jaccard index; None if there are neither true nor predicted objects."""
        return self.aji_shared / self.aji_union if self.aji_union else None

    @property
    def mean_ap(self) -> float | None:
        """Mean over the thresholds of matched / (true + predicted - matched); None if there are neither."""
        both = self.total + self.predicted
        return sum(n / (both - n) for n in self.matched) / len(self.matched) if both else None


@dataclass(frozen=True, slots=True)
class ObjectOverlaps:
    """The objects of an image and which of them overlap.

    Args:
        true, predicted: Numbers of the objects that have pixels, ascending; int64.
        true_px, predicted_px: Their pixels.
        first, second: Pairs that overlap, as places in `true` and `predicted`.
        shared: Pixels of each pair.
        start: The first of them, row by row.
    """

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    true_px: NDArray[np.int64]
    predicted_px: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    shared: NDArray[np.int64]
    start: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """(pairs,) intersection over union."""
        return np.asarray(self.shared / self.union, np.float64)

    @property
    def union(self) -> NDArray[np.int64]:
        """(pairs,) pixels of either."""
        return np.asarray(self.true_px[self.first] + self.predicted_px[self.second] - self.shared)

    def above(self, percent: int) -> NDArray[np.bool_]:
        """Which pairs have an IoU above a threshold; in whole numbers, so that 0.5 is 0.5."""
        return np.asarray(100 * self.shared > percent * self.union)


def object_overlaps(pairs: Pairs) -> ObjectOverlaps:
    """Sort pairs of a true and a predicted number, with 0 where there is no object, into objects and overlaps."""
    both = (pairs.first > 0) & (pairs.second > 0)
    true, true_px = _areas(pairs.first, pairs.px)
    predicted, predicted_px = _areas(pairs.second, pairs.px)
    first, second = np.searchsorted(true, pairs.first[both]), np.searchsorted(predicted, pairs.second[both])
    return ObjectOverlaps(true, predicted, true_px, predicted_px, first, second, pairs.px[both], pairs.start[both])


def count_objects(
    overlaps: ObjectOverlaps,
    of_true: NDArray[np.bool_] | None = None,
    of_predicted: NDArray[np.bool_] | None = None,
) -> ObjectCounts:
    """Match and count objects.

    A pair whose IoU is above the threshold is one object; at the threshold it is not. For the aggregated Jaccard index
    every true object takes the predicted one with the highest IoU; of equal ones the one that shares more pixels, then
    the one that it meets first, row by row.

    Args:
        overlaps: Of one image.
        of_true, of_predicted: Which of the objects, e.g. those of one class; None for all. Others do not exist.

    Source: Kirillov et al., CVPR 2019 (PQ); Kumar et al., IEEE TMI 2017, algorithm 1 (AJI), in which a predicted object
    may be taken by several true ones.
    """
    true = np.ones(len(overlaps.true), np.bool_) if of_true is None else of_true
    predicted = np.ones(len(overlaps.predicted), np.bool_) if of_predicted is None else of_predicted
    chosen = true[overlaps.first] & predicted[overlaps.second]
    shared, union = _aggregated(overlaps, true, predicted, chosen)
    is_match = chosen & overlaps.above(THRESHOLDS[0])
    return ObjectCounts(
        total=int(true.sum()),
        predicted=int(predicted.sum()),
        matched=tuple(int((chosen & overlaps.above(percent)).sum()) for percent in THRESHOLDS),
        iou_sum=math.fsum(overlaps.iou[is_match].tolist()),  # exact, so that the order of the numbers does not matter
        aji_shared=shared,
        aji_union=union,
    )


def object_confusion(
    overlaps: ObjectOverlaps, true_class: NDArray[np.int64], predicted_class: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Count the objects by (class, class of the partner), matched whatever their classes are.

    Args:
        overlaps: Of one image.
        true_class, predicted_class: Class index of each object.
        classes: Number of them.

    Returns:
        (classes + 1, classes + 1) int64, rows true and columns predicted; the last column are true objects without a
        partner, the last row predicted ones.
    """
    is_match = overlaps.above(THRESHOLDS[0])
    first, second = overlaps.first[is_match], overlaps.second[is_match]
    lonely_true = np.delete(true_class, first)
    lonely_predicted = np.delete(predicted_class, second)
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(counts, (true_class[first], predicted_class[second]), 1)
    np.add.at(counts[:, classes], lonely_true, 1)
    np.add.at(counts[classes], lonely_predicted, 1)
    return counts


def _areas(numbers: NDArray[np.int64], px: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers above 0 that are there, and the pixels of each."""
    found, place = np.unique(numbers[numbers > 0], return_inverse=True)
    return found, np.bincount(place, weights=px[numbers > 0], minlength=len(found)).astype(np.int64)


def _aggregated(
    overlaps: ObjectOverlaps, true: NDArray[np.bool_], predicted: NDArray[np.bool_], chosen: NDArray[np.bool_]
) -> tuple[int, int]:
    """Pixels above and below the fraction line of the AJI, over the chosen pairs."""
    first, second = overlaps.first[chosen], overlaps.second[chosen]
    shared, union = overlaps.shared[chosen], overlaps.union[chosen]
    order = np.lexsort((overlaps.start[chosen], -shared, -overlaps.iou[chosen], first))
    best = order[np.unique(first[order], return_index=True)[1]]
    alone, unused = true.copy(), predicted.copy()
    alone[first[best]] = False
    unused[second[best]] = False
    rest = overlaps.true_px[alone].sum() + overlaps.predicted_px[unused].sum()
    return int(shared[best].sum()), int(union[best].sum() + rest)
