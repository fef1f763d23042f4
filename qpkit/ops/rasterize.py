"""Annotations to label masks, the same at every tiling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import DEFAULT_PLANE, Annotation, Plane
from qpkit.core.geometry import has_area
from qpkit.core.labels import LabelMap, Unannotated
from qpkit.core.tiles import Tile
from qpkit.errors import GeometryError, LabelError
from qpkit.ops.pixel_rule import PixelRule, level_shape, samples_corner
from qpkit.ops.scanline import fill_shapes, pack


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintAudit:
    """What became of the annotations that were to be drawn; every one is counted once, in one of the counts.

    Args:
        drawn: Objects drawn, by QuPath class.
        unlisted: Objects of classes that the label map does not name, by class; "(none)" has no class.
        without_area: Lines, points and empty shapes: they have no pixels.
        outside: Of the drawn ones, how many do not touch the slide at all.
        other_plane: Objects on another z, t or channel.
        mended: Of the drawn ones, how many were not valid and were mended (make_valid, both lobes of a bow tie).
    """

    drawn: Mapping[str, int]
    unlisted: Mapping[str, int]
    without_area: int
    other_plane: int
    mended: int
    outside: int


class Painting:
    """Annotations of one slide, made ready for drawing tiles at one downsample.

    Args:
        annotations: Slide frame, any order; painted by the label map's order, within a class by this order.
        labels: Which class is drawn with which value.
        downsample: Slide px per mask px.
        plane: Objects on other planes are left out (channel -1 is on every channel).
        slide_size: (width, height) of the slide in level-0 px; pixels outside are `ignore`. None: no edge.
        pixel_rule: Which pixels a shape has; see `qpkit.ops.pixel_rule`.

    Raises:
        LabelError: An object's class is not in a label map with unlisted = "error".
        GeometryError: A coordinate is not finite.

    Attributes:
        audit: What was drawn and what was not.
    """

    def __init__(
        self,
        annotations: Sequence[Annotation],
        labels: LabelMap,
        *,
        downsample: float,
        plane: Plane = DEFAULT_PLANE,
        slide_size: tuple[int, int] | None = None,
        pixel_rule: PixelRule = "centre",
    ) -> None:
        self.labels = labels
        self.downsample = downsample
        self._slide_size = slide_size
        layers = _layers(labels)
        drawn: Counter[str] = Counter()
        unlisted: Counter[str] = Counter()
        without_area = other_plane = mended = outside = 0
        shapes: list[tuple[int, int, int, BaseGeometry]] = []
        for order, item in enumerate(annotations):
            layer = layers.get(item.class_name) or _unlisted_layer(item, labels)
            if not on_plane(item.plane, plane):
                other_plane += 1
            elif layer is None:
                unlisted[item.class_name or "(none)"] += 1
            elif not has_area(item.geometry) or (shape := _level_shape(item, downsample, pixel_rule))[0].is_empty:
                without_area += 1
            else:
                geometry, was_mended = shape
                mended += was_mended
                outside += not self._touches_slide(geometry)
                drawn[item.class_name or "(none)"] += 1
                shapes.append((layer[0], order, layer[1], geometry))
        shapes.sort(key=lambda s: s[:2])
        geometries = [geometry for *_, geometry in shapes]
        self._tree = shapely.STRtree(geometries)
        self._shapes = pack(geometries, [value for _, _, value, _ in shapes])
        self._corner = samples_corner(pixel_rule, downsample)
        self.audit = PaintAudit(
            drawn=drawn,
            unlisted=unlisted,
            without_area=without_area,
            other_plane=other_plane,
            mended=mended,
            outside=outside,
        )

    def draw(self, tile: Tile, *, unannotated: Unannotated | None = None) -> NDArray[np.uint8]:
        """Draw the label mask of one tile, halo included.

        A pixel belongs to an object by the pixel rule; later classes of the label map cover earlier ones.

        Args:
            tile: Same downsample as the painting.
            unannotated: Overrides the label map's rule for pixels outside every region.

        Returns:
            (h, w) uint8 with h, w = tile.array_shape; values as in the label map.
        """
        rule = unannotated or self.labels.unannotated
        fill = self.labels.ignore if rule == "ignore" else self.labels.background
        rows, columns = tile.array_shape
        mask = np.full((rows, columns), fill, dtype=np.uint8)
        frame = shapely.box(tile.array_x, tile.array_y, tile.array_x + columns, tile.array_y + rows)
        touched = np.sort(self._tree.query(frame))
        if len(touched):
            fill_shapes(mask, self._shapes, touched, x=tile.array_x, y=tile.array_y, corner=self._corner)
        self._ignore_outside(mask, tile)
        return mask

    def _touches_slide(self, geometry: BaseGeometry) -> bool:
        if self._slide_size is None:
            return True
        width, height = self._slide_size
        return bool(geometry.intersects(shapely.box(0, 0, width / self.downsample, height / self.downsample)))

    def _ignore_outside(self, mask: NDArray[np.uint8], tile: Tile) -> None:
        if self._slide_size is None:
            return
        width, height = (-int(-(size / self.downsample - 1e-6) // 1) for size in self._slide_size)
        left, top = max(0, -tile.array_x), max(0, -tile.array_y)
        right, bottom = max(0, width - tile.array_x), max(0, height - tile.array_y)
        mask[:top] = mask[bottom:] = self.labels.ignore
        mask[:, :left] = mask[:, right:] = self.labels.ignore


def rasterize(annotations: Sequence[Annotation], tile: Tile, labels: LabelMap) -> NDArray[np.uint8]:
    """Draw annotations into the label mask of one tile (for many tiles of a slide, keep a Painting).

    Args:
        annotations: Slide frame; other planes than `tile.plane` are left out.
        tile: Where to draw; the halo is drawn too.
        labels: Classes in painting order.

    Returns:
        (h, w) uint8 with h, w = tile.array_shape.

    Raises:
        LabelError, GeometryError: As for Painting.
    """
    return Painting(annotations, labels, downsample=tile.downsample, plane=tile.plane).draw(tile)


def on_plane(plane: Plane, wanted: Plane) -> bool:
    """Say whether an object's plane is shown where `wanted` is: same z and t, and channel -1 is on all channels."""
    return plane.z == wanted.z and plane.t == wanted.t and (plane.c in (-1, wanted.c) or wanted.c == -1)


def _layers(labels: LabelMap) -> dict[str | None, tuple[int, int]]:
    """(layer, value) by QuPath class: regions lowest, then the classes in order, ignored on top."""
    layers: dict[str | None, tuple[int, int]] = dict.fromkeys(labels.regions, (0, labels.background))
    for depth, item in enumerate(labels.classes, start=1):
        layers |= dict.fromkeys(item.sources, (depth, item.value))
    return layers | {name: (_top(labels), labels.ignore) for name in labels.ignored}


def _top(labels: LabelMap) -> int:
    return len(labels.classes) + 1


def _unlisted_layer(item: Annotation, labels: LabelMap) -> tuple[int, int] | None:
    if labels.unlisted == "error":
        raise LabelError(
            f"class {item.class_name or '(none)'!r} is not in the label map; name it there, or set "
            'unlisted = "skip" or "ignore"'
        )
    return (_top(labels), labels.ignore) if labels.unlisted == "ignore" else None


def _level_shape(item: Annotation, downsample: float, rule: PixelRule) -> tuple[BaseGeometry, bool]:
    if not np.isfinite(shapely.get_coordinates(item.geometry)).all():
        raise GeometryError(f"object {item.id or item.name or '?'} ({item.class_name}): a coordinate is not finite")
    return level_shape(item.geometry, item.shape, downsample=downsample, rule=rule)


def count_values(mask: NDArray[np.uint8], values: Iterable[int]) -> dict[int, int]:
    """Count the pixels of each value that occurs in a mask.

    Raises:
        LabelError: The mask holds a value that is not among `values`.
    """
    counts = np.bincount(mask.ravel(), minlength=256)
    found = {int(v): int(counts[v]) for v in np.flatnonzero(counts)}
    strange = set(found) - set(values)
    if strange:
        raise LabelError(f"a mask holds values {sorted(strange)} that the label map does not have")
    return found
