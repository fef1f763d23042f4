"""Objects of a slide or an image, class by class: what a true and a predicted one is, and how they score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.ops.masks.paint_order import Instance
from qpkit.ops.scores.components import Areas, StripComponents
from qpkit.ops.scores.objects import (
    THRESHOLDS,
    ObjectCounts,
    ObjectOverlaps,
    count_objects,
    object_confusion,
    object_overlaps,
)
from qpkit.ops.scores.pairs import PairTally


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectTotals:
    """Counts that can be added up.

    Args:
        every: All objects, whatever their classes are.
        classes: By class name; only objects of one class can be partners.
        confusion: As `object_confusion`, in the order of `classes`.
    """

    every: ObjectCounts
    classes: Mapping[str, ObjectCounts]
    confusion: NDArray[np.int64]

    def __add__(self, other: ObjectTotals) -> ObjectTotals:
        return ObjectTotals(
            every=self.every + other.every,
            classes={name: counts + other.classes[name] for name, counts in self.classes.items()},
            confusion=self.confusion + other.confusion,
        )


def object_totals(
    overlaps: ObjectOverlaps, true_values: NDArray[np.uint8], predicted_values: NDArray[np.uint8], rules: LabelMap
) -> ObjectTotals:
    """Match and count the objects of an image.

    Args:
        overlaps: True and predicted objects.
        true_values, predicted_values: Label value of each.
        rules: Names the values.
    """
    index = np.zeros(256, np.int64)
    index[[item.value for item in rules.classes]] = np.arange(len(rules.classes))
    return ObjectTotals(
        every=count_objects(overlaps),
        classes={
            item.name: count_objects(overlaps, true_values == item.value, predicted_values == item.value)
            for item in rules.classes
        },
        confusion=object_confusion(overlaps, index[true_values], index[predicted_values], len(rules.classes)),
    )


class RasterObjects:
    """Collects the objects of one slide's label raster strip by strip, from the top.

    Predicted objects are the 4-connected areas of one class. So are true ones, unless they are numbered.

    Args:
        rules: What the values mean. What is predicted where the truth is `ignore` does not exist.
        instances: The objects that were drawn with numbers; None where true objects are areas, too.
    """

    def __init__(self, rules: LabelMap, instances: Sequence[Instance] | None) -> None:
        self._rules, self._instances = rules, instances
        skip = {rules.background, rules.ignore}
        self._true, self._predicted = StripComponents(skip=skip), StripComponents(skip=skip)
        self._tally = PairTally()

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8], numbers: NDArray[Any] | None) -> None:
        """Take the next strip: (h, w) label values, and the drawn numbers if true objects have some."""
        unknown = truth == self._rules.ignore
        found = self._predicted.add(np.where(unknown, np.uint8(self._rules.background), predicted))
        true = self._true.add(truth) if numbers is None else np.where(unknown, 0, numbers)
        self._tally.add(true, found)

    def totals(self) -> ObjectTotals:
        """Match and count what was collected."""
        predicted = self._predicted.merged()
        if self._instances is None:
            true = self._true.merged()
            overlaps = object_overlaps(self._tally.pairs(_owner(true), _owner(predicted)))
            true_values = true.values[overlaps.true - 1]
        else:
            overlaps = object_overlaps(self._tally.pairs(None, _owner(predicted)))
            values = np.array([instance.value for instance in self._instances], np.uint8)
            true_values = values[overlaps.true - 1]
        return object_totals(overlaps, true_values, predicted.values[overlaps.predicted - 1], self._rules)


def _owner(areas: Areas) -> NDArray[np.int64]:
    """Areas numbered from 1 on; number 0, which is alone in an area of its own, stays 0."""
    owner = areas.owner.astype(np.int64) + 1
    owner[0] = 0
    return owner


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectScores:
    """ObjectCounts and what follows of them; None where undefined.

    Args:
        total, predicted, matched: Objects, and pairs with an IoU above 0.5.
        matched_above: Pairs by IoU: "0.5", "0.55" ... "0.95".
        precision, recall, f1: Of `matched`.
        mean_ap: Mean over these IoU of matched / (total + predicted - matched).
        sq, pq: Mean IoU of the matched pairs, and f1 times that.
        aji: Aggregated Jaccard index.
    """

    total: int
    predicted: int
    matched: int
    matched_above: Mapping[str, int]
    precision: float | None
    recall: float | None
    f1: float | None
    mean_ap: float | None
    sq: float | None
    pq: float | None
    aji: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """The objects of a scope.

    Args:
        every: All objects, whatever their classes are.
        classes: By class name; an object that is predicted as another class is missed in its own and false there.
        confusion: Objects, rows true and columns predicted, in the order of `classes`, matched whatever their classes
            are; the last column are true objects without a partner, the last row predicted ones.
    """

    every: ObjectScores
    classes: Mapping[str, ObjectScores]
    confusion: list[list[int]]


def objects_of(totals: ObjectTotals) -> Objects:
    """Score counts."""
    return Objects(
        every=_scores(totals.every),
        classes={name: _scores(counts) for name, counts in totals.classes.items()},
        confusion=totals.confusion.tolist(),
    )


def _scores(counts: ObjectCounts) -> ObjectScores:
    above = {f"{percent / 100:g}": n for percent, n in zip(THRESHOLDS, counts.matched, strict=True)}
    return ObjectScores(
        total=counts.total,
        predicted=counts.predicted,
        matched=counts.matched[0],
        matched_above=above,
        precision=counts.precision,
        recall=counts.recall,
        f1=counts.f1,
        mean_ap=counts.mean_ap,
        sq=counts.sq,
        pq=counts.pq,
        aji=counts.aji,
    )
