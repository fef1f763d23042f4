"""Two or more readers on one slide or one region, as counts that can be added up. Memory holds strips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.ops.scores.agreement import FleissCounts
from qpkit.ops.scores.confusion import IGNORE_INDEX, class_indices, confusion_of, empty_confusion
from qpkit.workflows.evaluate.objects import ObjectTotals, RasterObjects

Pair = tuple[int, int]
"""Numbers of two readers, the smaller first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceCounts:
    """What is counted in one place.

    Args:
        confusions: By pair: (classes, classes) int64 px that both have judged, rows of the first.
        objects: By pair: areas of the first against areas of the second; None of a region.
        fleiss: Px that all have judged; None for two readers.
    """

    confusions: Mapping[Pair, NDArray[np.int64]]
    objects: Mapping[Pair, ObjectTotals] | None
    fleiss: FleissCounts | None

    def __add__(self, other: PlaceCounts) -> PlaceCounts:
        objects = None
        if self.objects is not None and other.objects is not None:
            objects = {pair: totals + other.objects[pair] for pair, totals in self.objects.items()}
        return PlaceCounts(
            confusions={pair: counts + other.confusions[pair] for pair, counts in self.confusions.items()},
            objects=objects,
            fleiss=None if self.fleiss is None or other.fleiss is None else self.fleiss + other.fleiss,
        )


class PlaceTally:
    """Collects the strips of one place, from the top.

    Args:
        count: Of the readers.
        labels: What the values mean.
        with_objects: Whether areas are compared, too.
    """

    def __init__(self, count: int, labels: LabelMap, *, with_objects: bool) -> None:
        self._labels, self._count = labels, count
        self._pairs = list(combinations(range(count), 2))
        self._confusions = {pair: empty_confusion(len(labels.trained_values)) for pair in self._pairs}
        self._objects = {pair: RasterObjects(labels, None) for pair in self._pairs} if with_objects else None
        self._fleiss: FleissCounts | None = None

    def add(self, drawn: Sequence[NDArray[np.uint8]]) -> None:
        """Take the next strip: (h, w) label values of each reader."""
        values, ignore = self._labels.trained_values, self._labels.ignore
        indices = [class_indices(each, values) for each in drawn]
        for (a, b), confusion in self._confusions.items():
            # Only where both have judged.
            target = np.where(indices[b] == IGNORE_INDEX, np.uint8(IGNORE_INDEX), indices[a])
            confusion += confusion_of(target, indices[b], len(values))
            if self._objects is not None:
                unknown = (drawn[a] == ignore) | (drawn[b] == ignore)
                first, second = (np.where(unknown, np.uint8(ignore), drawn[k]) for k in (a, b))
                self._objects[a, b].add(first, second, None)
        if self._count > 2:
            counts = FleissCounts.of(np.stack(indices), len(values))
            self._fleiss = counts if self._fleiss is None else self._fleiss + counts

    def counts(self) -> PlaceCounts:
        """What was counted."""
        objects = None
        if self._objects is not None:
            objects = {pair: tally.totals() for pair, tally in self._objects.items()}
        return PlaceCounts(confusions=self._confusions, objects=objects, fleiss=self._fleiss)
