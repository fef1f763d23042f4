"""Where annotations of different classes cover the same place. Slide frame, px2."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import has_area, mend
from qpkit.ops.vectors.shape_faults import shape_array

MIN_AREA_PX2: Final = 1.0
"""Less is what rounding leaves of a shared border."""

_INSIDE: Final = 0.999
"""Fraction of the smaller shape from which on it counts as nested in the other."""

_ALIKE: Final = 0.99
"""Area of the smaller shape as a fraction of the larger from which on both are one shape with two classes."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two annotations of different classes that share area.

    Args:
        inner: Position of the smaller one.
        outer: Position of the larger one.
        area: Shared, px2.
        fraction: `area` as a fraction of the smaller one, 0 to 1.
        is_nested: The smaller lies in the larger, as a lesion lies in its tissue.
    """

    inner: int
    outer: int
    area: float
    fraction: float
    is_nested: bool


def is_ignored_class(item: Annotation) -> bool:
    """Whether QuPath itself counts the class as no label: "Region*", "Ignore*" (PathClassTools.isIgnoredClass)."""
    return item.path_class is not None and item.path_class.names[-1].endswith("*")


def find_overlaps(objects: Sequence[Annotation]) -> list[Overlap]:
    """Find pairs of annotations of different classes on one plane that share at least 1 px2.

    Unclassified annotations, ignored classes, lines and points are left out; invalid shapes are compared mended.
    """
    numbers = [
        n
        for n, item in enumerate(objects)
        if item.kind == "annotation" and item.path_class and not is_ignored_class(item) and has_area(item.geometry)
    ]
    shapes = [mend(objects[n].geometry)[0] for n in numbers]
    found = overlapping_pairs(
        shapes, layers=[objects[n].plane for n in numbers], groups=[str(objects[n].path_class) for n in numbers]
    )
    mapped = [replace(item, inner=numbers[item.inner], outer=numbers[item.outer]) for item in found]
    return sorted(mapped, key=lambda item: (item.inner, item.outer))


def overlapping_pairs(
    geometries: Sequence[BaseGeometry], *, layers: Sequence[Hashable], groups: Sequence[Hashable]
) -> list[Overlap]:
    """Find pairs of shapes of one layer and of different groups that share at least 1 px2.

    Args:
        geometries: Valid shapes with areas, slide frame.
        layers: Of each; shapes of different layers (planes) never meet.
        groups: Of each; shapes of one group may overlap.

    Returns:
        Ascending by position of the smaller one, then of the larger one.
    """
    shapes = shape_array(list(geometries))
    areas = shapely.area(shapes)

    def comparable(one: int, other: int) -> bool:
        return layers[one] == layers[other] and groups[one] != groups[other]

    tree = shapely.STRtree(shapes)
    found = []
    outer, inner = tree.query(shapes, predicate="covers")
    covered = {(o, i) for o, i in zip(outer.tolist(), inner.tolist(), strict=True) if comparable(o, i)}
    for o, i in sorted(covered):
        # Equal shapes cover each other: one of the two pairs is enough.
        if areas[i] >= MIN_AREA_PX2 and ((i, o) not in covered or o < i):
            nested = bool(areas[i] < _ALIKE * areas[o])
            found.append(Overlap(i, o, float(areas[i]), 1.0, nested))
    one, other = tree.query(shapes, predicate="intersects")
    pairs = [
        (o, i) if areas[o] >= areas[i] else (i, o)
        for o, i in zip(one.tolist(), other.tolist(), strict=True)
        if o < i and comparable(o, i) and (o, i) not in covered and (i, o) not in covered
    ]
    if pairs:
        o, i = np.array(pairs).T
        shared = shapely.area(shapely.intersection(shapes[o], shapes[i]))
        for k in np.flatnonzero(shared >= MIN_AREA_PX2).tolist():
            fraction = float(shared[k] / areas[i[k]])
            nested = fraction >= _INSIDE and bool(areas[i[k]] < _ALIKE * areas[o[k]])
            found.append(Overlap(int(i[k]), int(o[k]), float(shared[k]), fraction, nested))
    return sorted(found, key=lambda item: (item.inner, item.outer))
