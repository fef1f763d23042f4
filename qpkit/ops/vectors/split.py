"""Polygons with very many vertices cut along a grid, for programs that are slow with them."""

from __future__ import annotations

from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from qpkit.core.geometry import polygons_of

_LEAST_PX: Final = 8
"""A part that is smaller is not cut."""


def split_large(
    polygons: NDArray[np.object_], most: int, *, step: float = 1.0
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Halve polygons, and their halves, until none has more vertices than `most`.

    Args:
        polygons: (n,) valid.
        most: Vertices, those of holes included.
        step: Side of the pixels. Cuts lie between pixels, across the longer side of what is cut.

    Returns:
        (parts, of): valid polygons in the order of the given ones, and which of them each is (of).
    """
    counts = shapely.get_num_coordinates(polygons)
    large = np.flatnonzero(counts > most)
    if not len(large):
        return polygons, np.arange(len(polygons))
    parts: list[shapely.Polygon] = []
    of: list[int] = []
    for number in large.tolist():
        found = _halved(polygons[number], most, step)
        parts += found
        of += [number] * len(found)
    small = np.delete(np.arange(len(polygons)), large)
    together = np.concatenate([polygons[small], np.array([*parts, None], object)[:-1]])
    owners = np.concatenate([small, np.array(of, np.int64)])
    order = np.argsort(owners, kind="stable")
    return together[order], owners[order]


def _halved(polygon: shapely.Polygon, most: int, step: float) -> list[shapely.Polygon]:
    done: list[shapely.Polygon] = []
    waiting = [polygon]
    while waiting:
        part = waiting.pop()
        x, y, right, bottom = part.bounds
        is_wide = right - x >= bottom - y
        low, high = (x, right) if is_wide else (y, bottom)
        middle = round((low + high) / 2 / step) * step
        if shapely.get_num_coordinates(part) <= most or high - low < _LEAST_PX * step:
            done.append(part)
        else:
            waiting += reversed(_cut(part, middle, is_wide))
    return done


def _cut(polygon: shapely.Polygon, middle: float, is_wide: bool) -> list[shapely.Polygon]:
    """The parts on both sides of a line. Only holes that the line meets, or that touch such a one, are cut out anew."""
    x, y, right, bottom = polygon.bounds
    boxes = ((x, y, middle, bottom), (middle, y, right, bottom))
    if not is_wide:
        boxes = ((x, y, right, middle), (x, middle, right, bottom))
    holes = shapely.get_rings(polygon)[1:]
    bounds = shapely.bounds(holes).reshape(-1, 4)
    low, high = (bounds[:, 0], bounds[:, 2]) if is_wide else (bounds[:, 1], bounds[:, 3])
    clusters = _clusters(holes)
    meets = np.isin(clusters, clusters[(low <= middle) & (high >= middle)])
    outer = shapely.Polygon(polygon.exterior)
    met = shapely.union_all(shapely.polygons(holes[meets])) if meets.any() else None
    parts: list[shapely.Polygon] = []
    for box, own in zip(boxes, (holes[~meets & (high < middle)], holes[~meets & (low > middle)]), strict=True):
        half = shapely.intersection(outer, shapely.box(*box))
        parts += _pierced(polygons_of(half if met is None else shapely.difference(half, met)), own)
    return parts


def _clusters(holes: NDArray[np.object_]) -> NDArray[np.int64]:
    """Which holes hang together by points where they touch: a number for each."""
    if not len(holes):
        return np.zeros(0, np.int64)
    xy, of = shapely.get_coordinates(holes, return_index=True)
    _, point = np.unique(xy.view(np.complex128), return_inverse=True)
    size = len(holes) + len(of)
    links = coo_array((np.ones(len(of), np.bool_), (of, point.ravel() + len(holes))), shape=(size, size))
    return np.asarray(connected_components(links, directed=False)[1][: len(holes)], np.int64)


def _pierced(parts: list[shapely.Polygon], holes: NDArray[np.object_]) -> list[shapely.Polygon]:
    """Polygons with the holes that lie in them."""
    if not len(holes):
        return parts
    inside = shapely.point_on_surface(shapely.polygons(holes))
    which, of = shapely.STRtree(inside).query(parts, predicate="contains")
    return [
        shapely.Polygon(part.exterior, [*part.interiors, *holes[of[which == number]]])
        for number, part in enumerate(parts)
    ]
