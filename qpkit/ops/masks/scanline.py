"""Fill polygons by the scanline method, pixel for pixel as GDAL does, or as QuPath does. Compiled by numba.

All shapes of a slide are packed once into arrays of edges; a tile is then drawn in one call without Python objects.

Source of the pixel-centre rule: GDAL's GDALdllImageFilledPolygon (alg/llrasterize.cpp), which rasterio calls: a row is
cut at its centre, an edge counts from its upper end (in) to its lower end (out), cuts are rounded by floor(x + 0.5),
and a horizontal edge exactly on a centre line that runs to the right fills that row between its ends. GDAL turns every
ring the same way round first, so that of a shape's two edges on centre lines the upper one is in and the lower one out.

GDAL fills where an odd number of a shape's edges was crossed. QuPath fills a PolygonROI wherever the outline goes round
at all, as java.awt.geom.Path2D does without being told otherwise (the non-zero rule): an outline that overruns its
start has no hole there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.compiled import compiled


@dataclass(frozen=True, slots=True)
class PackedShapes:
    """Polygons as edges.

    Args:
        edges: (m, 4) float64, x, y of the start and x, y of the end, level px, all rings in one direction.
        first: (n + 1,) int64, where the edges of each shape begin.
        values: (n,) uint8, what each shape is drawn with.
        nonzero: (n,) bool, shapes filled by the non-zero rule; the others by the even-odd rule.
    """

    edges: NDArray[np.float64]
    first: NDArray[np.int64]
    values: NDArray[np.uint8]
    nonzero: NDArray[np.bool_]


def pack(
    geometries: Sequence[BaseGeometry], values: Sequence[int], nonzero: Sequence[bool] | None = None
) -> PackedShapes:
    """Take shapes apart into edges; only the areas in them count.

    Args:
        geometries: Level frame, any kind; polygons may be invalid (which of their edges on centre lines are in is not
            defined then).
        values: 0..255 for each.
        nonzero: For each, whether it is filled by the non-zero rule, which only makes a difference to a ring that
            crosses itself; it may have no holes. None: all by the even-odd rule.
    """
    rings, ring_shape = _rings(geometries)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    same = np.flatnonzero(ring[1:] == ring[:-1])
    edges = np.concatenate([points[same], points[same + 1]], axis=1) if len(points) else np.empty((0, 4))
    owner = ring_shape[ring[same]]
    first = np.searchsorted(owner, np.arange(len(geometries) + 1))
    by_winding = np.zeros(len(geometries), np.bool_) if nonzero is None else np.asarray(nonzero, np.bool_)
    return PackedShapes(np.ascontiguousarray(edges), first.astype(np.int64), np.asarray(values, np.uint8), by_winding)


def _rings(geometries: Sequence[BaseGeometry]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """All rings of all polygons in the shapes, and the number of the shape that each is of."""
    parts, owner = np.asarray(geometries, object), np.arange(len(geometries))
    for _ in range(3):  # polygons in multipolygons in collections
        parts, index = shapely.get_parts(parts, return_index=True)
        owner = owner[index]
    polygons = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    rings, index = shapely.get_rings(parts[polygons], return_index=True)
    return _turned(rings), owner[polygons][index].astype(np.int64)


def _turned(rings: NDArray[np.object_]) -> NDArray[np.object_]:
    """All rings, holes too, in GDAL's direction: which way a ring was drawn must not move its edges."""
    turned = rings.copy()
    against = ~shapely.is_ccw(rings)
    turned[against] = shapely.reverse(rings[against])
    return turned


@dataclass(frozen=True, slots=True)
class Marks:
    """Notes about pixels that were drawn over.

    Args:
        pixels: (h, w) uint8, changed in place: bit 1 where one group was drawn over another, bit 2 where something
            without a group was drawn over a group.
        group: By mask value, int64: which values belong together; 0 is no group.
    """

    pixels: NDArray[np.uint8]
    group: NDArray[np.int64]


_NO_MARKS = np.zeros((0, 0), np.uint8)
_NO_GROUPS = np.zeros(0, np.int64)


def fill_shapes(
    mask: NDArray[np.uint8] | NDArray[np.uint32],
    shapes: PackedShapes,
    numbers: NDArray[np.integer[Any]],
    *,
    x: int,
    y: int,
    corner: bool = False,
    values: NDArray[np.uint8] | NDArray[np.uint32] | None = None,
    marks: Marks | None = None,
) -> None:
    """Draw shapes into a mask, one after the other.

    Args:
        mask: (h, w) uint8 or uint32, contiguous; changed in place.
        shapes: In the level frame.
        numbers: Which of them, in the order of drawing.
        x, y: Level px of the mask's left top corner.
        corner: A pixel belongs to a shape if its left top corner lies inside (left and top edge in, right and bottom
            edge out), as QuPath draws at "thin" downsamples; else if its centre does, as GDAL draws.
        values: (n,) of the mask's dtype, drawn instead of the shapes' own values.
        marks: Where to note which pixels were drawn over.
    """
    chosen = shapes.values if values is None else values
    noted, group = (_NO_MARKS, _NO_GROUPS) if marks is None else (marks.pixels, marks.group)
    picked = numbers.astype(np.int64)
    edges = (shapes.edges, shapes.first, shapes.nonzero)
    compiled(_fill)(mask, noted, group, *edges, chosen, picked, float(x), float(y), corner)


def _fill(  # type: ignore[no-untyped-def]  # compiled for arrays
    mask, marks, group, edges, first, nonzero, values, numbers, x, y, corner
):
    """See `fill_shapes`. Cuts of all rows are counted, put into one array row by row, sorted and filled in pairs.

    A cut is twice its column, plus one where the edge runs down.
    """
    rows, columns = mask.shape
    sample = 0.0 if corner else 0.5
    is_marking = marks.size > 0

    def paint(row, left, right, value):  # type: ignore[no-untyped-def]  # inlined by numba
        if is_marking:
            for column in range(left, right):
                below = group[mask[row, column]]
                if below != 0 and below != group[value]:
                    marks[row, column] |= 1 if group[value] != 0 else 2
                mask[row, column] = value
        else:
            mask[row, left:right] = value

    counts = np.zeros(rows + 1, np.int64)
    cuts = np.empty(64, np.int64)
    for number in numbers:
        value = values[number]
        start, stop = first[number], first[number + 1]
        counts[:] = 0
        low, high = rows, 0
        for e in range(start, stop):
            y0, y1 = edges[e, 1] - y, edges[e, 3] - y
            if y0 > y1:
                y0, y1 = y1, y0
            top = max(int(np.ceil(y0 - sample)), 0)
            bottom = min(int(np.ceil(y1 - sample)), rows)
            if top < bottom:
                counts[top] += 1
                counts[bottom] -= 1
                low, high = min(low, top), max(high, bottom)
        total = here = 0
        for row in range(low, high):  # differences -> where each row's cuts begin
            here += counts[row]
            counts[row] = total
            total += here
        if total > len(cuts):
            cuts = np.empty(2 * total, np.int64)
        place = counts.copy()
        for e in range(start, stop):
            x0, y0, x1, y1 = edges[e, 0] - x, edges[e, 1] - y, edges[e, 2] - x, edges[e, 3] - y
            if y0 == y1:
                if not corner and x0 < x1 and np.floor(y0) + 0.5 == y0 and 0 <= y0 < rows:
                    row = int(y0)
                    left, right = max(int(np.floor(x0 + 0.5)), 0), min(int(np.floor(x1 + 0.5)), columns)
                    paint(row, left, max(left, right), value)  # type: ignore[no-untyped-call]
                continue
            runs_down = 1
            if y0 > y1:
                x0, y0, x1, y1 = x1, y1, x0, y0
                runs_down = 0
            top = max(int(np.ceil(y0 - sample)), 0)
            bottom = min(int(np.ceil(y1 - sample)), rows)
            for row in range(top, bottom):
                # In GDAL's order of operations: where a cut meets a centre, the last bit decides.
                cut = (row + sample - y0) * (x1 - x0) / (y1 - y0) + x0
                cut = np.ceil(cut) if corner else np.floor(cut + 0.5)
                k = place[row]
                place[row] += 1
                coded = 2 * int(min(max(cut, 0.0), float(columns))) + runs_down
                while k > counts[row] and cuts[k - 1] > coded:
                    cuts[k] = cuts[k - 1]
                    k -= 1
                cuts[k] = coded
        for row in range(low, high):
            turns = 0
            for k in range(counts[row], place[row] - 1):
                turns += 2 * (cuts[k] & 1) - 1 if nonzero[number] else (1 if turns == 0 else -1)
                if turns != 0:
                    paint(row, cuts[k] >> 1, cuts[k + 1] >> 1, value)  # type: ignore[no-untyped-call]
