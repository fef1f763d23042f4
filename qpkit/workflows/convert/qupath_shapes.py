"""Shapes as QuPath can hold them: what it has no ROI for is split, what .qpdata rounds is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import shapely

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import is_ellipse, is_rectangle
from qpkit.formats.shared.outlines import simple_parts

ROUNDED_FLOAT: Final = "objects whose outlines are rounded to 32 bits"


def count_float_losses(objects: Sequence[Annotation]) -> Counter[str]:
    """Count the objects whose vertices .qpdata holds as 32-bit numbers (outlines, lines of more points, points)."""
    return +Counter({ROUNDED_FLOAT: sum(map(_loses_bits, objects))})


def _loses_bits(item: Annotation) -> bool:
    exact = item.shape in ("line", "geometry")
    exact |= item.shape == "rectangle" and is_rectangle(item.geometry)
    exact |= item.shape == "ellipse" and is_ellipse(item.geometry)
    if exact:
        return False
    points = shapely.get_coordinates(item.geometry)
    return not np.array_equal(points, points.astype(np.float32))


def split(objects: Sequence[Annotation]) -> list[Annotation]:
    """Split objects of mixed shapes, which QuPath has no ROI for, into their parts; `parent` counts in the result."""
    made: list[Annotation] = []
    place: list[int] = []
    for item in objects:
        place.append(len(made))
        if item.geometry.geom_type == "GeometryCollection" and not item.geometry.is_empty:
            made += [replace(item, geometry=part, shape=None, id=None) for part in simple_parts(item.geometry)]
        else:
            made.append(item)
    return [replace(item, parent=None if item.parent is None else place[item.parent]) for item in made]
