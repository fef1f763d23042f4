"""Label rasters to polygons: strip by strip, in integer level pixels, holes kept, neighbours sharing their borders."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.ops.vectors.absorb import absorb
from qpkit.ops.vectors.arcs import Arcs
from qpkit.ops.vectors.for_qupath import to_slide, valid_parts
from qpkit.ops.vectors.rings import rings_of
from qpkit.ops.vectors.simplify import simplify
from qpkit.ops.vectors.smooth import smooth
from qpkit.ops.vectors.split import split_large
from qpkit.ops.vectors.sweep import trace


@dataclass(frozen=True, slots=True)
class Outlines:
    """The areas of a raster as polygons, ordered by value, then by their first pixels (row by row).

    Args:
        polygons: (n,) shapely polygons, valid.
        values: (n,) int64: their labels.
        means: (n,) float64: the mean of the weights in each; NaN without weights.
        areas: (n,) int64: level px, as they were before simplifying.
        firsts: (n,) int64: the place of the first pixel, as in `Arcs`.
        too_small: Areas that became their surroundings, or of which rounding left nothing.
        mended: Polygons that rounding made invalid, and that were mended; they may be several now.
    """

    polygons: NDArray[np.object_]
    values: NDArray[np.int64]
    means: NDArray[np.float64]
    areas: NDArray[np.int64]
    firsts: NDArray[np.int64]
    too_small: int = 0
    mended: int = 0

    @classmethod
    def together(cls, parts: Sequence[Outlines]) -> Outlines:
        """Those of several parts of a raster (see `trace_parts`), in the order of the whole."""
        names = ("polygons", "values", "means", "areas", "firsts")
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        too_small, mended = sum(part.too_small for part in parts), sum(part.mended for part in parts)
        made = cls(**columns, too_small=too_small, mended=mended)
        return made.chosen(np.lexsort((made.firsts, made.values)))

    def by_value(self) -> dict[int, list[shapely.Polygon]]:
        """The polygons of each label."""
        values, starts = np.unique(self.values, return_index=True)
        parts = np.split(self.polygons, starts[1:])
        return {int(value): list(part) for value, part in zip(values, parts, strict=False)}

    def chosen(self, which: NDArray[np.int64]) -> Outlines:
        """Some of them, in that order."""
        return replace(
            self,
            polygons=self.polygons[which],
            values=self.values[which],
            means=self.means[which],
            areas=self.areas[which],
            firsts=self.firsts[which],
        )

    def split(self, most: int, step: float) -> Outlines:
        """Cut those of more vertices than `most` along a grid (see `split_large`)."""
        parts, of = split_large(self.polygons, most, step=step)
        return replace(self.chosen(of), polygons=parts)

    def joined(self) -> Outlines:
        """One for each value: several areas with it are one polygon of several parts."""
        _, first, of = np.unique(self.values, return_index=True, return_inverse=True)
        made, counts = self.chosen(first), np.bincount(of)
        areas = np.bincount(of, weights=self.areas, minlength=len(first))
        sums = np.bincount(of, weights=self.areas * self.means, minlength=len(first))
        for number in np.flatnonzero(counts > 1).tolist():
            made.polygons[number] = shapely.MultiPolygon(self.polygons[of == number].tolist())
        return replace(made, means=sums / areas, areas=areas.astype(np.int64))


def outlines_of(
    arcs: Arcs,
    *,
    tolerance: float = 0.0,
    reach: float = 0.0,
    least_px: float = 0.0,
    ground: int | None = None,
    holes_px: float = 0.0,
    has_weights: bool = False,
    downsample: float | None = None,
) -> Outlines:
    """Build the polygons of every area.

    Args:
        arcs: As `trace` gives them.
        downsample: Slide px per level px: polygons in the slide frame as QuPath keeps them, rounded and valid after it;
            None leaves them in level px.
        tolerance: Level px; how far outlines may move in simplifying (`simplify`); 0 keeps every pixel corner.
        reach: Level px; how far corners are rounded along their edges (`smooth`), after simplifying by half of it.
        least_px: Areas of fewer pixels become their surroundings (`absorb`).
        ground: A label that was traced and is not wanted (background).
        holes_px: Its areas of fewer pixels are holes: they become their surroundings, too.
        has_weights: Whether `trace` was given weights.
    """
    means = arcs.sums / arcs.areas if has_weights else np.full(len(arcs.values), np.nan)
    found = np.count_nonzero(arcs.values != ground)
    least = np.where(arcs.values == ground, holes_px, least_px)
    if (arcs.areas < least).any():
        arcs, left = absorb(arcs, least)
        means = means[left]
    wanted = np.flatnonzero(arcs.values != ground)
    kept = simplify(arcs, max(tolerance, reach / 2)) if tolerance or reach else None
    place = (lambda xy: xy) if downsample is None else functools.partial(to_slide, downsample=downsample)
    rings = rings_of(arcs)
    if kept is not None and reach:
        rings = replace(rings, arcs=smooth(arcs, kept, reach))
        kept = np.ones(len(rings.arcs.points), np.bool_)
    polygons = rings.polygons(wanted, kept, place)
    mended = 0
    # Lines along pixels, and whole numbers, are valid after rounding as they were before.
    if downsample is not None and (reach or (kept is not None and not float(downsample).is_integer())):
        polygons, of, mended = valid_parts(polygons)
        wanted = wanted[of]
    values = arcs.values[wanted]
    order = np.argsort(values, kind="stable")
    is_there = np.zeros(len(arcs.values), np.bool_)
    is_there[wanted] = True
    too_small = int(found - np.count_nonzero(is_there))
    of = wanted[order]
    return Outlines(polygons[order], values[order], means[of], arcs.areas[of], arcs.firsts[of], too_small, mended)


def vectorize(labels: NDArray[Any], *, skip: Collection[int]) -> dict[int, list[shapely.Polygon]]:
    """Trace the 4-connected areas of a (h, w) label raster.

    Returns:
        Valid polygons by label, whose vertices are pixel corners; drawing them again gives the raster back.
    """
    return outlines_of(trace([(0, labels, None)], skip=skip)).by_value()
