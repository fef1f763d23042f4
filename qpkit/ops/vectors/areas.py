"""How much objects cover: each for itself, and a class together, where overlaps count once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import mend, polygons_of

NO_CLASS: Final = "(none)"
"""What an object without a class is called in reports."""

_NOTHING: Final = shapely.MultiPolygon()

_SAME: Final = 1e-9
"""Relative difference of two sums of areas that is rounding."""


def united(areas: Sequence[BaseGeometry]) -> BaseGeometry:
    """Unite areas, valid ones; the result is empty if there are none."""
    filled = [area for area in areas if not area.is_empty]
    if not filled:
        return _NOTHING
    parts = shapely.get_parts(np.array([shapely.GeometryCollection(filled)], dtype=object))
    return only_areas(shapely.disjoint_subset_union_all(parts)) if len(parts) > 1 else filled[0]


def only_areas(geometry: BaseGeometry) -> BaseGeometry:
    """Leave out the lines and points that touching areas have in common."""
    return (
        geometry if geometry.geom_type in ("Polygon", "MultiPolygon") else shapely.MultiPolygon(polygons_of(geometry))
    )


def filled_area(geometry: BaseGeometry) -> float:
    """The area in px2 that an object covers: where its outline crosses itself, all that it goes round counts once.

    Source: QuPath's ClosedShapeStatistics, which measures a PolygonROI as java.awt.geom.Area makes it.
    """
    return float(mend(geometry)[0].area)


@dataclass(frozen=True, slots=True)
class Cover:
    """What a class covers.

    Args:
        objects: How many objects.
        area: px2 of all of them together.
        total: px2 added up, overlaps in each.
    """

    objects: int
    area: float
    total: float

    @property
    def overlaps(self) -> bool:
        """Whether some of it is covered more than once."""
        return self.total > self.area * (1 + _SAME)


def class_of(item: Annotation) -> str:
    """What an object's class is called in reports."""
    return item.class_name or NO_CLASS


def class_areas(objects: Sequence[Annotation]) -> dict[str, BaseGeometry]:
    """The area of each class of some objects, by its full name; lines and points have none."""
    by_class: dict[str, list[BaseGeometry]] = {}
    for item in objects:
        by_class.setdefault(class_of(item), []).append(only_areas(mend(item.geometry)[0]))
    return {name: united(areas) for name, areas in by_class.items()}


def cover(objects: Sequence[Annotation]) -> Mapping[str, Cover]:
    """Measure the classes of some objects (slide frame), by their full names."""
    areas = class_areas(objects)
    counts = dict.fromkeys(areas, 0)
    totals = dict.fromkeys(areas, 0.0)
    for item in objects:
        counts[class_of(item)] += 1
        totals[class_of(item)] += filled_area(item.geometry)
    # A union of exactly fitting areas may be larger than their sum by a bit.
    return {name: Cover(counts[name], area.area, max(totals[name], area.area)) for name, area in areas.items()}
