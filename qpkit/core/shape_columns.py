"""Many shapes as columns of numbers: a polygon of 50 corners takes shapely 1,500 bytes, and here 420."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.wkb import normalized, polygons_as_wkb, sums

AT_ONCE: Final = 5_000
"""Shapes that are packed together, and that are best asked for together."""


@dataclass(frozen=True, slots=True)
class ShapeColumns:
    """Polygons and multipolygons, exactly as they were; shapely makes them again when they are asked for."""

    _packed: list[_Packed] = field(default_factory=list)

    @classmethod
    def taken_from(cls, shapes: NDArray[np.object_]) -> ShapeColumns:
        """Pack shapes, (n,), and let go of each that is packed: `shapes` holds None afterwards."""
        columns = cls()
        for first in range(0, len(shapes), AT_ONCE):
            columns._packed.append(_Packed.of(shapes[first : first + AT_ONCE]))
            shapes[first : first + AT_ONCE] = None
        return columns

    def take(self, numbers: NDArray[np.int64]) -> NDArray[np.object_]:
        """The shapes with these numbers (n,), in that order; neighbours are fastest."""
        made = np.empty(len(numbers), object)
        places, rests = np.divmod(numbers, AT_ONCE)
        for place in np.unique(places).tolist():
            chosen = places == place
            made[chosen] = self._packed[place].shapes()[rests[chosen]]
        return made

    def wkb(self, numbers: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Well-known binary of the shapes with these numbers (n,), in that order, some at a time.

        Returns:
            Bytes of some shapes, and where each begins in them and the last ends, (shapes + 1,).
        """
        places, rests = np.divmod(numbers, AT_ONCE)
        turns = np.flatnonzero(np.diff(places)) + 1
        for some, own in zip(np.split(places, turns), np.split(rests, turns), strict=True):
            if len(some):
                yield self._packed[some[0]].wkb(own)

    def normal_wkb(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """The same of all shapes in the form that is the same for the same shape, see `qpkit.core.wkb.normalized`."""
        return (packed.normal_wkb() for packed in self._packed)


@dataclass(frozen=True, slots=True)
class _Packed:
    """Some of the shapes: corners of all rings, and where rings, parts and shapes begin."""

    corners: NDArray[np.floating[Any]]
    offsets: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    is_single: NDArray[np.bool_]

    @classmethod
    def of(cls, shapes: NDArray[np.object_]) -> _Packed:
        corners = shapely.get_coordinates(shapes)
        small = corners.astype(np.float32)
        is_single = shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON
        # What QuPath keeps of a corner is a float32 anyway.
        return cls(small if (small == corners).all() else corners, _offsets(shapes), is_single)

    def wkb(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        content, starts = polygons_as_wkb(self.corners.astype(np.float64), *self.offsets, self.is_single)
        if np.array_equal(numbers, np.arange(len(self.is_single))):
            return content, starts
        pieces = [content[starts[number] : starts[number + 1]] for number in numbers.tolist()]
        return np.concatenate(pieces), np.concatenate([[0], np.cumsum([*map(len, pieces)])])

    def normal_wkb(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return polygons_as_wkb(*normalized(self.corners, *self.offsets), self.offsets[2], self.is_single)

    def shapes(self) -> NDArray[np.object_]:
        are_single = bool(self.is_single.all())
        kind = shapely.GeometryType.POLYGON if are_single else shapely.GeometryType.MULTIPOLYGON
        offsets = self.offsets[:2] if are_single else self.offsets
        made: NDArray[np.object_] = shapely.from_ragged_array(kind, self.corners.astype(np.float64), offsets)
        if not are_single:
            made[self.is_single] = shapely.get_geometry(made[self.is_single], 0)
        return made


def _offsets(shapes: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """As `shapely.to_ragged_array` has them of multipolygons; it asks for every ring, also where there is but one."""
    if (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON).all():
        parts, starts = shapes, np.arange(len(shapes) + 1)
    else:
        parts, owners = shapely.get_parts(shapes, return_index=True)
        starts = sums(np.bincount(owners, minlength=len(shapes)))
    rings = shapely.get_num_interior_rings(parts) + 1
    lengths = np.repeat(shapely.get_num_coordinates(parts), rings)
    lengths[np.repeat(rings > 1, rings)] = shapely.get_num_coordinates(shapely.get_rings(parts[rings > 1]))
    return sums(lengths), sums(rings), starts
