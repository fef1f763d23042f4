"""Pieces of strips or tiles to whole polygons, simplified without gaps, ready for QuPath."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import shapely

from qpkit.core.geometry import level_to_slide, mend, polygons_of, round_for_qupath
from qpkit.ops.vectors.vectorize import Pieces


def merge(strips: Iterable[Pieces]) -> dict[int, list[shapely.Polygon]]:
    """Join what strips or tiles cut, class by class.

    The pieces are in integer level pixels, so the union is exact and the result does not depend on the cutting.

    Returns:
        Polygons by value, without collinear vertices, ordered by top, then left (then the next corner).
    """
    pieces: dict[int, list[shapely.Polygon]] = defaultdict(list)
    for strip in strips:
        for value, polygons in strip.items():
            pieces[value] += polygons
    return {value: _ordered(_union(polygons)) for value, polygons in sorted(pieces.items())}


def _union(polygons: Sequence[shapely.Polygon]) -> list[shapely.Polygon]:
    whole = shapely.disjoint_subset_union_all(polygons)
    # Tolerance 0: only the collinear vertices go that are left where strips met.
    return polygons_of(shapely.simplify(whole, 0, preserve_topology=False))


def _ordered(polygons: list[shapely.Polygon]) -> list[shapely.Polygon]:
    return sorted(polygons, key=lambda p: (p.bounds[1], p.bounds[0], p.bounds[3], p.bounds[2], p.area))


def simplify_together(polygons: Sequence[shapely.Polygon], tolerance: float) -> list[shapely.Polygon]:
    """Simplify polygons that share edges so that they still share them: no gap, no overlap.

    Args:
        polygons: Not overlapping; integer level coordinates (as merge gives them).
        tolerance: Level px; corners that cut off less than about tolerance squared of area go (Visvalingam-Whyatt).

    Returns:
        As many polygons, in the same order.

    Source: GEOS coverage simplification needs matching vertices on both sides of an edge; cutting every edge at each
    pixel corner (segmentize) gives them where three classes meet.
    """
    if not polygons or tolerance <= 0:
        return list(polygons)
    cut = shapely.segmentize(list(polygons), 1.0)
    return list(shapely.coverage_simplify(cut, tolerance))


def to_slide(polygon: shapely.Polygon, downsample: float) -> tuple[list[shapely.Polygon], bool]:
    """Scale a polygon to the slide frame and round it to what QuPath keeps, valid after the rounding.

    Returns:
        (parts, was_mended): usually one part; more where rounding pinched it, none where nothing was left.
    """
    rounded = round_for_qupath(level_to_slide(polygon, downsample))
    if rounded.is_valid:
        return polygons_of(rounded), False
    mended, _ = mend(rounded)
    parts = [round_for_qupath(part) for part in polygons_of(mended)]
    return [part for part in parts if part.is_valid and part.area > 0], True
