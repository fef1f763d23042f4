"""Pieces of strips or tiles to whole polygons, simplified without gaps, ready for QuPath."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine

from qpkit.core.geometry import level_to_slide, mend, polygons_of, round_for_qupath
from qpkit.ops.vectors.vectorize import Pieces

AREA_CHANGE: Final = 0.05
"""How much of a polygon's area simplifying may take or add."""


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

    No polygon's area changes by more than `AREA_CHANGE`: those of which simplifying would take or add more keep their
    pixel outline, and their neighbours keep it where they touch them.

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
    cut = np.asarray(shapely.segmentize(list(polygons), 1.0), dtype=object)
    before = shapely.area(cut)
    kept = before <= tolerance**2  # surely: a corner of theirs is as large
    while True:
        made = _simplified(cut, kept, tolerance)
        changed = ~kept & (np.abs(shapely.area(made) - before) > AREA_CHANGE * before)
        if not changed.any():
            return list(made)
        kept |= changed


def _simplified(cut: NDArray[np.object_], kept: NDArray[np.bool_], tolerance: float) -> NDArray[np.object_]:
    """Simplify a coverage whose `kept` polygons stay as they are.

    Where three polygons of a coverage meet it keeps the vertex. So the kept ones go in as their pixels' quarters, which
    meet in every pixel corner.
    """
    made = cut.copy()
    free = cut[~kept]
    made[~kept] = shapely.coverage_simplify(np.concatenate([free, _quarters(cut[kept])]), tolerance)[: len(free)]
    return made


def _quarters(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    """Triangles from the middle of every pixel of polygons with integer coordinates to its four edges."""
    pixels = [_pixels(polygon) for polygon in polygons]
    corners = np.concatenate(pixels) if pixels else np.empty((0, 2))
    square = corners[:, None, :] + np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    middle = np.broadcast_to(corners[:, None, :] + 0.5, square.shape)
    triangles = np.stack([middle, square, np.roll(square, -1, axis=1), middle], axis=2)
    return np.asarray(shapely.polygons(triangles.reshape(-1, 4, 2)), dtype=object)


def _pixels(polygon: shapely.Polygon) -> NDArray[np.float64]:
    """(n, 2) left top corners x, y of a polygon's pixels."""
    x, y, x2, y2 = (int(edge) for edge in polygon.bounds)
    if polygon.area == (x2 - x) * (y2 - y):
        rows, columns = np.divmod(np.arange((x2 - x) * (y2 - y)), x2 - x)
    else:
        mask = rasterize([(polygon, 1)], out_shape=(y2 - y, x2 - x), transform=Affine.translation(x, y), dtype="uint8")
        rows, columns = np.nonzero(mask)
    return np.stack([columns + x, rows + y], axis=1).astype(np.float64)


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
