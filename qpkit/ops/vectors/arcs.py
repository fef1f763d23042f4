"""The borders between the areas of a label raster, each stored once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

OUTSIDE: Final = -1
"""The label, and the area, of what is not traced: beyond the raster, and values that are skipped."""

RING: Final = -1
"""The end of an arc that has none."""


@dataclass(frozen=True, slots=True)
class Arcs:
    """Borders and areas of a label raster.

    A lattice point is a corner of pixels. A border edge is a pixel side with different labels on its two sides. A
    lattice point with three or four border edges is a junction; an arc is a piece of border from junction to junction,
    or a closed one without any, and has one area on its left and one on its right all the way.

    Args:
        points: (n, 2) int32 x, y of the corners, level px; ends included, none in the middle of a straight line
            (float64 with what stands between them, once smoothed).
        starts: (arcs + 1,) int64: arc i has points[starts[i] : starts[i + 1]]; a closed one does not repeat its first.
        begin, end: (arcs,) int32: the ends, 4 * junction + the side of the junction that the arc is on (0 up, 1 right,
            2 down, 3 left); RING for closed ones.
        left, right: (arcs,) int32: the areas on both sides, walking along it; OUTSIDE for none.
        values: (areas,) int64: the label of each 4-connected area. Areas are in the order of their first pixels.
        areas: (areas,) int64: its pixels.
        sums: (areas,) float64: the sum of the weights in it.
        firsts: (areas,) int64: the place of its first pixel, 2**32 * y + x.
        junctions: How many there are.
    """

    points: NDArray[Any]
    starts: NDArray[np.int64]
    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    values: NDArray[np.int64]
    areas: NDArray[np.int64]
    sums: NDArray[np.float64]
    firsts: NDArray[np.int64]
    junctions: int

    @property
    def is_ring(self) -> NDArray[np.bool_]:
        """(arcs,) bool: closed, without a junction."""
        return np.asarray(self.begin == RING)


def moved(arcs: Arcs, x: int, y: int) -> Arcs:
    """The same so many px to the right and down."""
    return replace(arcs, points=arcs.points + np.array([x, y], np.int32))


def transposed(arcs: Arcs) -> Arcs:
    """The same with rows for columns, which makes left right, and up left."""
    begin, end = (np.where(ends == RING, RING, ends ^ 3).astype(np.int32) for ends in (arcs.begin, arcs.end))
    points = np.ascontiguousarray(arcs.points[:, ::-1])
    return replace(arcs, points=points, begin=begin, end=end, left=arcs.right, right=arcs.left)
