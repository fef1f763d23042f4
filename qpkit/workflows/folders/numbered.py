"""Masks in which each number is one object: the numbers, and the classes of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import FormatError
from qpkit.formats.shared.label_pixels import LabelPixels
from qpkit.ops.masks.paint_order import Instance
from qpkit.workflows.folders.mask_facts import MaskFacts
from qpkit.workflows.inputs.instance_images import NumberClasses, number_classes

_MOST: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberMeaning:
    """How numbers of objects become label values.

    Args:
        labels: A value for each class that a number has.
        stated: As the user said it.
        classes: The classes of each image's numbers, by the key of its pair.
    """

    labels: LabelMap
    stated: str
    classes: Mapping[str, NumberClasses]

    def decode(self, read: LabelPixels, where: object, key: str) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
        """Give label values and numbers of a mask, both (h, w).

        Raises:
            FormatError: It has colours.
            LabelError: A number has no class.
        """
        if read.pixels.ndim == 3 or read.pixels.max(initial=0) > _MOST:
            raise FormatError(f"{where}: numbers of objects are one whole number a pixel, 0 to 2^31 - 1")
        return self.classes[key].values(read.pixels, self._value_of), read.pixels.astype(np.uint32)

    def to_builtins(self) -> dict[str, str]:
        """Plain values for export.json."""
        return {"instances": self.stated}

    @property
    def _value_of(self) -> dict[str, int]:
        return {item.name: item.value for item in self.labels.classes}

    def instances(self, found: Mapping[int, int], key: str) -> list[Instance]:
        """The objects of a mask, by number."""
        numbers = np.array(sorted(number for number in found if number), np.int64)
        values = self.classes[key].values(numbers, self._value_of)
        names = {item.value: item.name for item in self.labels.classes}
        return [
            Instance(number, "", names[value], names[value], value)
            for number, value in zip(numbers.tolist(), values.tolist(), strict=True)
        ]


def number_meaning(masks: Mapping[str, MaskFacts], stated: str) -> NumberMeaning:
    """Give each class of the numbers a value, by name.

    Args:
        masks: By the key of their pairs.
        stated: As --instances says.

    Raises:
        LabelError: A table is missing, or has no class for a number.
        FormatError: A mask has colours.
    """
    if Path(stated).exists():  # a table, or a folder of them, that has to be found from elsewhere, too
        stated = str(Path(stated).resolve())
    classes_of = number_classes(stated)
    classes = {key: classes_of(key) for key in masks}
    meaning = NumberMeaning(labels=_labels(list(classes.values())), stated=stated, classes=classes)
    for key, facts in masks.items():
        if facts.is_rgb or max(facts.found) > _MOST:
            raise FormatError(f"{facts.path}: numbers of objects are one whole number a pixel, 0 to 2^31 - 1")
        meaning.instances(facts.found, key)  # made for its errors
    return meaning


def _labels(classes: Sequence[NumberClasses]) -> LabelMap:
    names = sorted({name for item in classes for name in item.classes})
    made = tuple(LabelClass(name, value, (name,)) for value, name in enumerate(names, start=1))
    return LabelMap(classes=made, instances=True)
