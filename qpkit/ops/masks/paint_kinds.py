"""What every shape of a painting is drawn with in each kind of mask, as arrays for the scanline fill."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled
from qpkit.core.labels import LabelMap
from qpkit.ops.masks.pixel_counts import Category, PixelCounts, tally_of

UNANNOTATED: Final = 0
"""Number of the category of pixels where nothing was drawn."""

OUTSIDE: Final = 1
"""Number of the category of pixels beside the slide."""


class Kinds:
    """Categories, channels and instance numbers of a painting's n shapes.

    Args:
        categories: Of each shape, in the order of drawing.
        numbers: Instance number of each; 0 is none.
        labels: The label map.

    Attributes:
        category: (n,) uint32, number of each shape's category.
        values: (categories,) uint8, mask value of each category.
        groups: (categories,) int64, for Marks: which categories are drawn from objects with the same value; erasers
            are objects, too.
        is_object: (n,) bool, shapes that are objects (no derived class, no boundary).
        numbers: (n,) uint32, instance numbers.
        is_instance: (n,) bool, shapes of an instance mask: numbered ones, and ignored ones and erasers, which wipe them
            out.
        instance_groups: (instances + 1,) int64, for Marks: every instance by itself.
    """

    def __init__(self, categories: Sequence[Category], numbers: Sequence[int], labels: LabelMap) -> None:
        fill = labels.ignore if labels.unannotated == "ignore" else labels.background
        first = (Category("unannotated", fill), Category("outside", labels.ignore))
        # These two first: UNANNOTATED and OUTSIDE are their numbers.
        self._categories = list(dict.fromkeys((*first, *categories)))
        place = {category: number for number, category in enumerate(self._categories)}
        roles = np.array([category.role for category in categories], dtype=object)
        self._labels = labels
        self.category = np.array([place[category] for category in categories], dtype=np.uint32)
        self.values = np.array([c.value for c in self._categories], dtype=np.uint8)
        # + 1, as 0 means no group and a class may have the value 0.
        grouped = [c.value + 1 if c.role in ("class", "erased") else 0 for c in self._categories]
        self.groups = np.array(grouped, dtype=np.int64)
        self.is_object = (roles != "derived") & (roles != "boundary")
        self.numbers = np.array(numbers, dtype=np.uint32)
        self.is_instance = (self.numbers > 0) | np.isin(roles, ("ignored", "erased"))
        self.instance_groups = np.arange(int(self.numbers.max(initial=0)) + 1)

    @functools.cached_property
    def channels(self) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
        """By class of the map: (n,) uint8 what each shape draws in the class's channel, (n,) bool if it draws at all.

        Its own shapes draw 1; regions, erasers and a boundary that are background 0; ignored ones, erasers and a
        boundary that are ignore the ignore value.
        """
        return [self._channel(item.value) for item in self._labels.classes]

    def _channel(self, value: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        meaning = {self._labels.background: 0, self._labels.ignore: self._labels.ignore, value: 1}
        drawn = np.array([c.value in meaning for c in self._categories], dtype=np.bool_)
        values = np.array([meaning.get(c.value, 0) for c in self._categories], dtype=np.uint8)
        return values[self.category], drawn[self.category]

    def nothing_drawn(self, pixels: int, *, inside: int) -> PixelCounts:
        """The tally of `pixels` px without any shape, `inside` of them on the slide."""
        counts = {self._categories[0]: inside, self._categories[OUTSIDE]: pixels - inside}
        return tally_of({category: count for category, count in counts.items() if count})

    def finish(self, found: NDArray[np.uint32], marks: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], PixelCounts]:
        """Turn an (h, w) image of category numbers and its marks into the mask and the tally of its pixels."""
        mask = np.empty(found.shape, dtype=np.uint8)
        counts, noted = np.zeros(len(self._categories), np.int64), np.zeros(4, np.int64)
        compiled(_count)(found, marks, self.values, mask, counts, noted)
        pixels = {self._categories[k]: int(counts[k]) for k in np.flatnonzero(counts)}
        # The marks are bits: 1, 2, or both.
        tally = tally_of(pixels, overlap=int(noted[1] + noted[3]), ignored_over_class=int(noted[2] + noted[3]))
        return mask, tally


def _count(found, marks, values, mask, counts, noted):  # type: ignore[no-untyped-def]  # compiled for arrays
    """Everything that is counted and looked up for a pixel, in one pass."""
    rows, columns = found.shape
    for row in range(rows):
        for column in range(columns):
            category = found[row, column]
            mask[row, column] = values[category]
            counts[category] += 1
            noted[marks[row, column]] += 1
