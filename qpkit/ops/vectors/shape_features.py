"""Measurements of shapes, called as QuPath calls them (ShapeFeatures, v0.5): what a cell table wants to know."""

from __future__ import annotations

from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.compiled import compiled

_AT_ONCE: Final = 1 << 14


def shape_features(polygons: NDArray[np.object_], um_per_px: float | None) -> dict[str, NDArray[np.float64]]:
    """Measure polygons.

    Args:
        polygons: (n,) of a slide, px; of one or several parts.
        um_per_px: Of the slide; None gives px.

    Returns:
        By name (n,): area, length (perimeter, holes included), circularity (4 pi area / length squared, of the outer
        ring), solidity (area without holes / that of the convex hull), largest and smallest diameter (of the hull:
        farthest corners, and narrowest distance of two parallel lines around it).
    """
    scale, unit = (1.0, "px") if um_per_px is None else (um_per_px, "µm")
    measured = np.empty((6, len(polygons)))
    for start in range(0, len(polygons), _AT_ONCE):
        measured[:, start : start + _AT_ONCE] = _measured(polygons[start : start + _AT_ONCE])
    area, length, circularity, solidity, widest, narrowest = measured
    return {
        f"Area {unit}^2": area * scale**2,
        f"Length {unit}": length * scale,
        "Circularity": circularity,
        "Solidity": solidity,
        f"Max diameter {unit}": widest * scale,
        f"Min diameter {unit}": narrowest * scale,
    }


def _measured(polygons: NDArray[np.object_]) -> tuple[NDArray[np.float64], ...]:
    parts, part_of = shapely.get_parts(polygons, return_index=True)
    outer = shapely.polygons(shapely.get_exterior_ring(parts))
    hulls = shapely.convex_hull(polygons)
    area, around = (np.bincount(part_of, weights=some) for some in (shapely.area(outer), shapely.length(outer)))
    points, of = shapely.get_coordinates(hulls, return_index=True)
    starts = np.searchsorted(of, np.arange(len(polygons) + 1))
    widest, narrowest = np.empty(len(polygons)), np.empty(len(polygons))
    compiled(_diameters)(points, starts, widest, narrowest)
    circularity, solidity = 4 * np.pi * area / around**2, area / shapely.area(hulls)
    return shapely.area(polygons), shapely.length(polygons), circularity, solidity, widest, narrowest


def _diameters(points, starts, widest, narrowest):
    for number in range(len(widest)):
        low, high = starts[number], starts[number + 1] - 1  # a hull repeats its first corner
        most, least = 0.0, np.inf
        for i in range(low, high):
            dx, dy = points[i + 1, 0] - points[i, 0], points[i + 1, 1] - points[i, 1]
            length = np.sqrt(dx * dx + dy * dy)
            across = 0.0
            for j in range(low, high):
                x, y = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
                most = max(most, x * x + y * y)
                if length > 0:
                    across = max(across, abs(dx * y - dy * x) / length)
            if length > 0:
                least = min(least, across)
        widest[number], narrowest[number] = np.sqrt(most), least
