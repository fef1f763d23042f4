"""Closed curves through points, as ASAP draws its splines, made polygons."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.formats.shared.outlines import Points

_TOLERANCE_PX: Final = 0.1
"""How far an edge of the polygon lies from the curve, in px of level 0."""

_MOST_EDGES: Final = 256
"""Of the polygon between two points; it bounds what points far apart can ask for."""


def closed_spline(points: Points) -> Points:
    """Draw the closed curve through points.

    The curve between two points is a Bezier curve that leaves each along the bisector of the directions from and to
    its neighbours, weighted by the roots of their distances (centripetal Catmull-Rom). The piece before the last point
    and the one that closes the curve run on straight where the others look at the next neighbour.

    Args:
        points: (n, 2), closed or not; points that are repeated count once.

    Returns:
        (m, 2), not closed, the points among them; what there is if these are fewer than three.

    Source: PolyQtAnnotation.cpp of ASAP (getCurrentPath, catmullRomToBezier), which is what annotators saw; the two
    pieces at the end are its own.
    """
    if len(points):
        points = points[(points != np.roll(points, -1, axis=0)).any(axis=1)]
    if len(points) < 3:
        return points
    step = np.roll(points, -1, axis=0) - points  # from each point to the next one, the last one to the first
    length = np.hypot(step[:, 0], step[:, 1])
    direction = step / length[:, None]
    before, after = np.roll(np.arange(len(points)), 1), np.roll(np.arange(len(points)), -1)
    before[-1], after[-2] = len(points) - 1, len(points) - 2
    end = points + step
    start_handle = points + _handle(length, length[before], direction, direction[before])
    end_handle = end - _handle(length, length[after], direction, direction[after])
    pieces = zip(points, start_handle, end_handle, end, strict=True)
    return np.concatenate([_flattened(np.stack(piece)) for piece in pieces])


def _handle(length: NDArray[np.float64], beside: NDArray[np.float64], *directions: Points) -> Points:
    """From a point to the handle of a piece of this length, whose neighbour there has the length `beside`; (n, 2)."""
    weight = np.sqrt(beside) / (np.sqrt(beside) + np.sqrt(length))
    return np.asarray((length * weight / 3)[:, None] * np.sum(directions, axis=0), dtype=np.float64)


def _flattened(bezier: Points) -> Points:
    """Points along a cubic Bezier curve (4, 2), without its end, so close that edges keep the tolerance.

    An edge that spans 1/n of it is at most max |second derivative| / (8 n^2) away.
    """
    bend = 6 * np.abs(np.diff(bezier, n=2, axis=0)).max() * np.sqrt(2)
    edges = int(np.clip(np.ceil(np.sqrt(bend / (8 * _TOLERANCE_PX))), 1, _MOST_EDGES))
    t = np.arange(edges)[:, None] / edges
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    return np.asarray(weights @ bezier, dtype=np.float64)
