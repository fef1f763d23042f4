"""What is wrong with the shapes of objects: empty, flat, crossing themselves, slivers, outside the image, drawn twice.

Pure: slide-frame objects in, positions in their list out. Nothing is mended here but copies.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import mend, polygons_of, round_for_qupath

SLIVER_AREA_PX2: Final = 1.0
"""An annotation smaller than one level-0 px holds no pixel at any downsample: nobody drew it on purpose."""

SLIVER_THICKNESS_PX: Final = 0.5
"""Mean thickness 2 * area / perimeter. A hand with a mouse cannot draw half a pixel; subtracting shapes leaves it."""

OUTSIDE_PX: Final = 0.5
"""Shapes may reach so far over the image's edge unmentioned: QuPath clips to the edge and then rounds."""

_AREAS: Final = (3, 6)
_LINES: Final = (1, 5)
# Tried in turn: a shape that rounding makes invalid again may stay valid on a coarser grid.
_GRIDS_PX: Final = (0.01, 0.05, 0.25)
_KEPT: Final = 0.99
"""A mended shape has at least this fraction of the area that all lobes of the drawn one cover."""


@dataclass(frozen=True, slots=True)
class ShapeFaults:
    """Positions of objects by fault; no object is in two of empty, flat, invalid.

    Args:
        empty: Without a shape.
        flat: Without area (or length) at 0.01 px.
        invalid: Polygons that cross themselves, with the mended shape; None where mending would lose area.
        nuclei: The same for nuclei of cells.
        slivers: Annotations that are too small or too thin to be meant.
        fragments: Annotations with parts smaller than a pixel, and how many parts.
    """

    empty: tuple[int, ...]
    flat: tuple[int, ...]
    invalid: Mapping[int, BaseGeometry | None]
    nuclei: Mapping[int, BaseGeometry | None]
    slivers: tuple[int, ...]
    fragments: Mapping[int, int]


def find_shape_faults(objects: Sequence[Annotation]) -> ShapeFaults:
    """Look at the shapes of objects of any kind."""
    shapes = shape_array([item.geometry for item in objects])
    kinds = shapely.get_type_id(shapes)
    empty = shapely.is_empty(shapes)
    crossing = {int(n): mended_shape(shapes[n]) for n in _crossing(shapes)}
    flat = {n for n, made in crossing.items() if made is not None and made.is_empty}
    flat |= set(np.flatnonzero(np.isin(kinds, _LINES) & ~empty & (shapely.length(shapes) == 0)).tolist())
    slivers, fragments = _small(objects, shapes, kinds, crossing)
    return ShapeFaults(
        empty=tuple(np.flatnonzero(empty).tolist()),
        flat=tuple(sorted(flat)),
        invalid={n: made for n, made in crossing.items() if n not in flat},
        nuclei=_nuclei(objects),
        slivers=tuple(n for n in slivers if n not in flat),
        fragments=fragments,
    )


def are_slivers(areas: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which of some areas, slide px, are too small or too thin to be meant: (n,) bool."""
    size, around = shapely.area(areas), shapely.length(areas)
    return np.asarray((size < SLIVER_AREA_PX2) | (2 * size < SLIVER_THICKNESS_PX * around))


def shape_array(shapes: Sequence[BaseGeometry | None]) -> NDArray[Any]:
    """Put geometries into an object array, (n,)."""
    array = np.empty(len(shapes), dtype=object)
    array[:] = list(shapes)
    return array


def mended_shape(shape: BaseGeometry) -> BaseGeometry | None:
    """Make a polygon valid, and valid still after QuPath rounded it to 0.01 px and float32.

    Returns:
        Polygon or MultiPolygon, empty if there is no area; None if area would be lost.
    """
    wanted = mend(shape)[0]
    for grid in _GRIDS_PX:
        made = round_for_qupath(mend(shapely.set_precision(wanted, grid))[0])
        if made.is_valid and made.area >= _KEPT * wanted.area:
            parts = polygons_of(made)
            return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts) if parts else shapely.Polygon()
    return shapely.Polygon() if wanted.area < _GRIDS_PX[0] else None


def _crossing(shapes: NDArray[Any]) -> NDArray[np.intp]:
    """Positions of polygons that are not valid; empty ones and None are."""
    areas = np.isin(shapely.get_type_id(shapes), _AREAS)
    return np.flatnonzero(areas & ~shapely.is_valid(shapes))


def _nuclei(objects: Sequence[Annotation]) -> dict[int, BaseGeometry | None]:
    nuclei = shape_array([item.nucleus for item in objects])
    made = {int(n): mended_shape(nuclei[n]) for n in _crossing(nuclei)}
    return {n: None if shape is None or shape.is_empty else shape for n, shape in made.items()}


def _small(
    objects: Sequence[Annotation],
    shapes: NDArray[Any],
    kinds: NDArray[np.int64],
    mended: Mapping[int, BaseGeometry | None],
) -> tuple[list[int], dict[int, int]]:
    """Find slivers, and annotations with parts that are."""
    drawn = np.array([item.kind == "annotation" for item in objects], dtype=bool)
    numbers = np.flatnonzero(drawn & np.isin(kinds, _AREAS) & ~shapely.is_empty(shapes))
    whole = shape_array([mended.get(int(n), shapes[n]) or shapes[n] for n in numbers])
    small = are_slivers(whole)
    parts, owner = shapely.get_parts(whole, return_index=True)
    tiny = Counter(owner[shapely.area(parts) < SLIVER_AREA_PX2].tolist())
    fragments = {int(numbers[n]): count for n, count in sorted(tiny.items()) if not small[n]}
    return numbers[small].tolist(), fragments


def find_outside(
    objects: Sequence[Annotation], *, width: int, height: int
) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    """Find objects that leave the image.

    Args:
        objects: Slide frame.
        width: Of the image, level-0 px.
        height: Of the image, level-0 px.

    Returns:
        Positions of those wholly outside, of those partly outside, and how far the farthest of these reaches out, px.
    """
    if not objects:
        return (), (), 0.0
    bounds = shapely.bounds(shape_array([item.geometry for item in objects]))  # NaN for empty ones: never outside
    low, high, size = bounds[:, :2], bounds[:, 2:], np.array([width, height])
    reach = np.nan_to_num(np.maximum(np.maximum(-low, high - size).max(axis=1), 0.0))
    wholly = ((high < 0) | (low > size)).any(axis=1)
    partly = (reach > OUTSIDE_PX) & ~wholly
    farthest = float(reach[partly].max()) if partly.any() else 0.0
    return tuple(np.flatnonzero(wholly).tolist()), tuple(np.flatnonzero(partly).tolist()), farthest


def find_duplicates(objects: Sequence[Annotation]) -> list[list[int]]:
    """Group objects of one kind, class, plane and shape; each group has two positions or more, in their order.

    TMA cores and objects without a shape are not compared.
    """
    bounds = shapely.bounds(shape_array([item.geometry for item in objects])).tolist() if objects else []
    alike: dict[object, list[int]] = defaultdict(list)
    for number, item in enumerate(objects):
        if item.kind != "tma_core" and not math.isnan(bounds[number][0]):
            alike[item.kind, item.path_class and item.path_class.names, item.plane, *bounds[number]].append(number)
    found: dict[object, list[int]] = defaultdict(list)
    # Bounds first: comparing vertices of all objects would take far longer.
    for key, numbers in alike.items():
        for number in numbers if len(numbers) > 1 else ():
            found[key, shapely.normalize(objects[number].geometry).wkb].append(number)
    return [numbers for numbers in found.values() if len(numbers) > 1]


def says_no_more(copy: Annotation, first: Annotation) -> bool:
    """Whether a duplicate holds nothing that the first one does not: no other name, number, text, nucleus or lock."""
    return (
        copy.name in (None, first.name)
        and copy.color in (None, first.color)
        and copy.nucleus in (None, first.nucleus)
        and first.locked >= copy.locked
        and copy.metadata.items() <= first.metadata.items()
        and all(_same(value, first.measurements.get(key)) for key, value in copy.measurements.items())
    )


def _same(one: float, other: float | None) -> bool:
    return other is not None and (one == other or (math.isnan(one) and math.isnan(other)))


def find_repeated_ids(objects: Sequence[Annotation]) -> list[int]:
    """Positions of objects whose id an earlier one has; objects without an id have none to repeat."""
    seen: set[str] = set()
    repeated = []
    for number, item in enumerate(objects):
        if item.id is not None and item.id in seen:
            repeated.append(number)
        elif item.id is not None:
            seen.add(item.id)
    return repeated
