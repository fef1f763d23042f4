"""Many simple GeoJSON polygons at once: what nearly all objects of a large file are.

Only one-ring polygons on the default plane are simple. Everything else, and everything that is odd in any way, is
left to `geometry_reader`, which knows the whole dialect and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import RoiShape
from qpkit.core.geometry import are_boxes
from qpkit.qupath.object_values import Roi

_SPECIAL: Final = ("plane", "isEllipse")
_NEAR_PX: Final = 1e6
"""Coordinates below this have 1e-10 px of rounding, so that areas above _CLEAR_PX2 have the right sign."""
_CLEAR_PX2: Final = 1e-3


def read_simple_polygons(records: Sequence[object]) -> tuple[list[Roi | None], list[int]]:
    """Read the simple ones of many geometry objects.

    Args:
        records: Decoded JSON, of any kind.

    Returns:
        (ROIs as `geometry_reader.read_shape` gives them, None for each that is not simple; numbers of those that may be
        invalid, as a quick look has not shown that they are valid).
    """
    found: list[Roi | None] = [None] * len(records)
    rings = [(index, ring) for index, record in enumerate(records) if (ring := _ring_of(record)) is not None]
    if not rings:
        return found, []
    lengths = np.fromiter((len(ring) for _, ring in rings), np.int64, len(rings))
    points = list(chain.from_iterable(ring for _, ring in rings))
    coordinates = _numbers(points)
    if coordinates is None:
        return found, []
    ends = np.cumsum(lengths)
    closed = (coordinates[ends - 1] == coordinates[ends - lengths]).all(axis=1)
    finite = np.logical_and.reduceat(np.isfinite(coordinates).all(axis=1), ends - lengths)
    # One odd ring sends all of them to the strict reader, which says what is wrong with which.
    if not (closed & finite).all():
        return found, []
    offsets = np.concatenate([[0], ends])
    polygons = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, coordinates, (offsets, np.arange(len(rings) + 1))
    )
    boxes = _boxes_among(coordinates, ends, lengths)
    for (index, _), polygon, is_box in zip(rings, polygons, boxes.tolist(), strict=True):
        shape: RoiShape = "rectangle" if is_box else "polygon"
        found[index] = Roi(polygon, shape)
    unsure = np.flatnonzero(~(boxes | _are_stars(coordinates, ends, lengths)))
    return found, [rings[number][0] for number in unsure]


@np.errstate(over="ignore", invalid="ignore")  # huge coordinates are not near
def _are_stars(
    coordinates: NDArray[np.float64], ends: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Say which closed rings go round their middle once without turning back: these cannot cross themselves."""
    starts = ends - lengths
    points = coordinates.view(np.complex128).ravel()
    points = points - np.repeat(np.add.reduceat(points, starts) / lengths, lengths)
    turns = np.empty(len(points))
    turns[:-1] = (points[:-1].conj() * points[1:]).imag
    turns[ends - 1] = turns[starts]
    is_one_way = np.minimum.reduceat(turns, starts) > _CLEAR_PX2
    is_one_way |= np.maximum.reduceat(turns, starts) < -_CLEAR_PX2
    is_low = points.imag < 0
    climbs = is_low[:-1] > is_low[1:]
    climbs[ends[:-1] - 1] = False  # not from one ring to the next
    is_once = np.bincount(np.searchsorted(ends, np.flatnonzero(climbs), side="right"), minlength=len(ends)) == 1
    return np.asarray(is_one_way & is_once) & bool(np.abs(coordinates).max() < _NEAR_PX)


def _ring_of(record: Any) -> list[Any] | None:
    """Give the points of a simple polygon."""
    if not isinstance(record, dict) or record.get("type") != "Polygon" or any(key in record for key in _SPECIAL):
        return None
    rings = record.get("coordinates")
    if not isinstance(rings, list) or len(rings) != 1 or not isinstance(rings[0], list) or len(rings[0]) < 4:
        return None
    return rings[0]


def _numbers(points: list[Any]) -> NDArray[np.float64] | None:
    """Points (n, 2), if all are lists of two numbers."""
    if set(map(type, points)) != {list} or set(map(len, points)) != {2}:
        return None
    if not set(map(type, chain.from_iterable(points))) <= {int, float}:  # by type: a bool is an int
        return None
    try:
        return np.fromiter(chain.from_iterable(points), np.float64, 2 * len(points)).reshape(-1, 2)
    except OverflowError:  # an integer beyond all doubles
        return None


def _boxes_among(
    coordinates: NDArray[np.float64], ends: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.bool_]:
    boxes = np.zeros(len(ends), dtype=bool)
    five = np.flatnonzero(lengths == 5)
    rings = coordinates[(ends[five] - 5)[:, None] + np.arange(5)]
    boxes[five] = are_boxes(rings)
    return boxes
