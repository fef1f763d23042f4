"""Places inside annotations of some classes, as examples of what these look like."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely

from qpkit.core.provenance import drawn_by_people
from qpkit.workflows.inputs.slides import SlideInput

_TRIES: Final = 200
"""Points thrown into the bounding box for each one that is wanted, at most."""


@dataclass(frozen=True, slots=True)
class ClassPlace:
    """A point inside an annotation.

    Args:
        slide: Name.
        x, y: Slide px.
        number: Place of its class among those that were asked for.
    """

    slide: str
    x: float
    y: float
    number: int


def class_places(inputs: Sequence[SlideInput], classes: Sequence[str], *, each: int, seed: int) -> list[ClassPlace]:
    """Draw points evenly over the area of each class; untouched predictions are none.

    Args:
        inputs: Slides with their objects.
        classes: Names of QuPath classes.
        each: Points of a class, over all slides together.
        seed: Of the points.

    Returns:
        Class by class; fewer than asked for where the areas are thin, none of a class that is nowhere.
    """
    found: list[ClassPlace] = []
    for number, name in enumerate(classes):
        areas = [(item.source.name, one.geometry) for item in inputs for one in drawn_by_people(item.objects())
                 if str(one.path_class) == name and one.geometry.area > 0]  # fmt: skip
        total = sum(area.area for _, area in areas)
        rng = np.random.default_rng((seed, number, zlib.crc32(name.encode())))
        counts: list[int] = rng.multinomial(each, [area.area / total for _, area in areas]).tolist() if areas else []
        for (slide, area), count in zip(areas, counts, strict=False):
            low, high = np.array(area.bounds[:2]), np.array(area.bounds[2:])
            points = low + rng.random((count * _TRIES, 2)) * (high - low)
            inside = points[shapely.contains_xy(area, points)][:count]
            found += [ClassPlace(slide, float(x), float(y), number) for x, y in inside]
    return found
