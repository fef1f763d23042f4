"""What became of shapes when people edited them: the same one, cut apart, put together, or gone.

Pure geometry: shapes of before and of now, and which of them are known to be the same. The thresholds stand in
docs/review.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.geometry import mend

SAME_IOU: Final = 0.5
"""From this IoU on two shapes are the same one where no id says so."""

MOST: Final = 0.5
"""A part lies in what it was cut from with at least this fraction of itself; so does what went into a merged one."""

LEAST_PART: Final = 0.1
"""A part covers at least this fraction of what it was cut from."""

MOST_OVERLAP: Final = 1.2
"""Parts of one shape lie beside each other: their areas add up to at most this many times what they cover together."""

_STEPS: Final = 1000
"""Into how many pieces an outline is cut at least for the distance."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one shape.

    Args:
        kind: "same" (one shape of now), "split" (several), "merged" (one that it shares with others), or "gone".
        now: Positions of the shapes of now.
    """

    kind: Literal["same", "split", "merged", "gone"]
    now: tuple[int, ...] = ()


def shape_fates(
    then: Sequence[BaseGeometry], now: Sequence[BaseGeometry], known: Sequence[int | None]
) -> tuple[Fate, ...]:
    """Say what became of each shape.

    Args:
        then, now: Shapes of before and of now, in one frame.
        known: Of each shape of before the position of the one of now that has its id, or None; no position twice.

    Returns:
        A fate for each of `then`. A shape of now is in several fates only if it merges them.
    """
    overlaps = _Overlaps(then, now)
    owner = {position: row for row, position in enumerate(known) if position is not None}
    fates: dict[int, Fate] = {}
    taken: set[int] = set()
    for row in range(len(then)):
        parts = overlaps.parts(row, [j for j in overlaps.of_then(row) if owner.get(j, row) == row and j not in taken])
        if len(parts) > 1 and (known[row] is None or known[row] in parts):
            fates[row] = Fate("split", tuple(parts))
            taken |= set(parts)
    for position in range(len(now)):
        if position in taken:
            continue
        open_rows = [i for i in overlaps.of_now(position) if i not in fates and known[i] in (None, position)]
        members = overlaps.members(position, open_rows)
        if len(members) > 1:
            fates |= dict.fromkeys(members, Fate("merged", (position,)))
            taken.add(position)
    for position, row in owner.items():
        if row not in fates and position not in taken:
            fates[row] = Fate("same", (position,))
            taken.add(position)
    for in_common, row, position in overlaps.by_iou():
        if in_common < SAME_IOU:
            break
        if row not in fates and position not in taken:
            fates[row] = Fate("same", (position,))
            taken.add(position)
    return tuple(fates.get(row, Fate("gone")) for row in range(len(then)))


class _Overlaps:
    """Which shapes of before and of now share how much area."""

    def __init__(self, then: Sequence[BaseGeometry], now: Sequence[BaseGeometry]) -> None:
        self._then, self._now = areas_of(then), areas_of(now)
        self._areas = shapely.area(self._then), shapely.area(self._now)
        rows, positions = shapely.STRtree(self._now).query(self._then, predicate="intersects")
        shared = shapely.area(shapely.intersection(self._then[rows], self._now[positions]))
        pairs = zip(rows.tolist(), positions.tolist(), shared.tolist(), strict=True)
        self._shared = {(i, j): area for i, j, area in sorted(pairs) if area > 0}
        self._of_then: dict[int, list[int]] = {}
        self._of_now: dict[int, list[int]] = {}
        for i, j in self._shared:
            self._of_then.setdefault(i, []).append(j)
            self._of_now.setdefault(j, []).append(i)

    def of_then(self, row: int) -> list[int]:
        return self._of_then.get(row, [])

    def of_now(self, position: int) -> list[int]:
        return self._of_now.get(position, [])

    def parts(self, row: int, candidates: Sequence[int]) -> list[int]:
        """Those that together are what the shape was, each lying in it, beside each other; none if they are not."""
        whole = self._areas[0][row]
        inside = {j: self._shared[row, j] for j in candidates}
        parts = [j for j, a in inside.items() if a >= MOST * self._areas[1][j] and a >= LEAST_PART * whole]
        if len(parts) < 2:
            return []
        covered = shapely.area(shapely.intersection(shapely.union_all(self._now[parts]), self._then[row]))
        is_cut = sum(inside[j] for j in parts) <= MOST_OVERLAP * covered and covered >= MOST * whole
        return parts if is_cut else []

    def members(self, position: int, candidates: Sequence[int]) -> list[int]:
        """Those that lie in one shape of now and make most of it; none if they do not."""
        shared = {i: self._shared[i, position] for i in candidates}
        members = [i for i, a in shared.items() if a >= MOST * self._areas[0][i]]
        return members if sum(shared[i] for i in members) >= MOST * self._areas[1][position] else []

    def by_iou(self) -> list[tuple[float, int, int]]:
        """(IoU, shape of before, of now), the highest first; ties in the order of the shapes."""
        found = [(area / (self._areas[0][i] + self._areas[1][j] - area), i, j) for (i, j), area in self._shared.items()]
        return sorted(found, key=lambda pair: (-pair[0], pair[1], pair[2]))


def areas_of(shapes: Sequence[BaseGeometry]) -> NDArray[Any]:
    """The shapes as valid areas, to cut and compare: (n,) object."""
    made = np.empty(len(shapes), object)
    made[:] = [shape if shape.is_valid else mend(shape)[0] for shape in shapes]
    return made


def iou(then: BaseGeometry, now: BaseGeometry) -> float:
    """Area in common by area of both together; 0 of nothing."""
    a, b = areas_of([then, now])
    shared = float(shapely.area(shapely.intersection(a, b)))
    both = float(shapely.area(a) + shapely.area(b)) - shared
    return shared / both if both else 0.0


def hausdorff(then: BaseGeometry, now: BaseGeometry) -> float:
    """How far the outlines lie apart at most, in the shapes' px.

    Measured at all vertices and at points between them, 1 px or a thousandth of the outline apart: an error of at most
    half of that.
    """
    outlines = [shapely.boundary(shape) for shape in areas_of([then, now])]
    if any(outline.is_empty for outline in outlines):
        return float("nan")
    return max(_farthest(outlines[0], outlines[1]), _farthest(outlines[1], outlines[0]))


def _farthest(outline: BaseGeometry, other: BaseGeometry) -> float:
    """Of the points of one outline the largest distance to the other."""
    points = shapely.get_coordinates(shapely.segmentize(outline, max(1.0, outline.length / _STEPS)))
    shapely.prepare(other)
    return float(shapely.distance(shapely.points(points), other).max())
