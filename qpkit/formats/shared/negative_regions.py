"""Holes as ImageScope and HALO hold them: regions of their own, marked NegativeROA, that are cut out of others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import RoiShape
from qpkit.core.geometry import mend, polygons_of

CROSSING: Final = "negative regions that cross an outline cut out of it"
NEGATIVE_LINES: Final = "negative lines and points read as others"
"""Note of readers."""

TEXTS: Final = "texts, attributes and comments of negative regions left out"
"""Note of readers: a hole has no place for them."""

ALONE: Final = "negative regions that lie in no other region left out"


@dataclass(frozen=True, slots=True)
class NegativeRegion:
    """A region that is not part of what it lies in.

    Args:
        polygon: Slide frame.
        after: How many positive regions stand before it in its layer.
        owner: Position of the positive region that it names, or None.
    """

    polygon: shapely.Polygon
    after: int
    owner: int | None = None


def with_holes(
    found: Sequence[tuple[BaseGeometry, RoiShape]], negatives: Sequence[NegativeRegion], notes: Counter[str]
) -> list[tuple[BaseGeometry, RoiShape]]:
    """Cut the negative regions of a layer out of its areas (see `cut_out`); lines and points stay as they are.

    Returns:
        As many shapes, in their order; one of which nothing is left is empty.
    """
    result = list(found)
    if not negatives:
        return result
    areas = [(index, geometry) for index, (geometry, _) in enumerate(found) if isinstance(geometry, shapely.Polygon)]
    cut, more = cut_out([geometry for _, geometry in areas], negatives)
    notes.update(more)
    for (index, before), after in zip(areas, cut, strict=True):
        if not after.equals_exact(before, 0):
            result[index] = (after, "geometry")
    return result


def cut_out(
    regions: Sequence[shapely.Polygon], negatives: Sequence[NegativeRegion]
) -> tuple[list[shapely.Polygon | shapely.MultiPolygon], Counter[str]]:
    """Make holes of the negative regions of one layer.

    A negative region belongs to the one that it names; else to the last one before it that covers it, else to the
    smallest one behind it that does. One that crosses outlines is cut out of all it overlaps.

    Returns:
        The regions in their order (one may be empty or fall into parts), and notes.
    """
    notes: Counter[str] = Counter()
    holes: dict[int, list[shapely.Polygon]] = defaultdict(list)
    cuts: dict[int, list[shapely.Polygon]] = defaultdict(list)
    tree = shapely.STRtree(regions)
    for negative in negatives:
        owner = negative.owner if negative.owner is not None else _owner(negative, regions, tree)
        if owner is not None and regions[owner].covers(negative.polygon):
            holes[owner].append(negative.polygon)
            continue
        crossed = [owner] if owner is not None else tree.query(negative.polygon, predicate="intersects").tolist()
        notes[CROSSING if crossed else ALONE] += 1
        for index in crossed:
            cuts[index].append(negative.polygon)
    result = [_with_holes(region, holes[i], cuts[i], notes) for i, region in enumerate(regions)]
    return result, notes


def _owner(negative: NegativeRegion, regions: Sequence[shapely.Polygon], tree: shapely.STRtree) -> int | None:
    around = tree.query(negative.polygon, predicate="covered_by").tolist()
    before = [index for index in around if index < negative.after]
    if before:
        return int(max(before))
    return min(around, key=lambda index: regions[index].area, default=None)


def _with_holes(
    region: shapely.Polygon, holes: list[shapely.Polygon], cuts: list[shapely.Polygon], notes: Counter[str]
) -> shapely.Polygon | shapely.MultiPolygon:
    made = shapely.Polygon(region.exterior, [hole.exterior for hole in holes])
    if not cuts and (made.is_valid or not region.is_valid):
        return made
    if not cuts:
        notes[CROSSING] += len(holes)
    left = mend(region)[0].difference(shapely.union_all([mend(part)[0] for part in [*holes, *cuts]]))
    parts = polygons_of(left)
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
