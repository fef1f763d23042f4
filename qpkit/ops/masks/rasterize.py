"""Annotations to label masks, the same at every tiling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import DEFAULT_PLANE, Annotation, Plane
from qpkit.core.labels import LabelMap, Unannotated
from qpkit.core.tiles import Tile, level_size
from qpkit.errors import LabelError
from qpkit.ops.histogram import histogram
from qpkit.ops.masks.paint_kinds import OUTSIDE, Kinds
from qpkit.ops.masks.paint_order import PaintPlan
from qpkit.ops.masks.pixel_counts import PixelCounts
from qpkit.ops.masks.pixel_rule import PixelRule, samples_corner
from qpkit.ops.masks.scanline import Marks, fill_shapes, pack


class Painting:
    """Annotations of one slide, made ready for drawing tiles at one downsample.

    Args:
        annotations: Slide frame, any order; painted by the label map's order, within a class by this order.
        labels: Which class is drawn with which value.
        downsample: Slide px per mask px.
        plane: Objects on other planes are left out (channel -1 is on every channel).
        slide_size: (width, height) of the slide in level-0 px; pixels outside are `ignore`. None: no edge.
        pixel_rule: Which pixels a shape has; see `qpkit.ops.masks.pixel_rule`.
        mpp: um per level-0 px; only needed where the label map states um.
        unknown: Predictions that are no truth: their area is `ignore` where no class is drawn.
        over_regions: Whether that holds inside regions, too, where all that is not drawn is background else.

    Raises:
        LabelError: An object's class is not in a label map with unlisted = "error", objects overlap in one with
            overlap = "error", or um per px are needed and not known.
        GeometryError: A coordinate is not finite.

    Attributes:
        audit: What was drawn and what was not.
        instances: Every object with a number of its own, by number.
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
        mpp: float | None = None,
        unknown: Sequence[Annotation] = (),
        over_regions: bool = False,
    ) -> None:
        self.labels = labels
        self.downsample = downsample
        self._slide_size = slide_size
        plan = PaintPlan(
            labels, downsample=downsample, plane=plane, slide_size=slide_size, pixel_rule=pixel_rule, mpp=mpp
        )
        order = plan.order(annotations, unknown, over_regions=over_regions)
        self._tree = shapely.STRtree(order.geometries)
        self._shapes = pack(order.geometries, [category.value for category in order.categories], order.nonzero)
        self._corner = samples_corner(pixel_rule, downsample)
        self._kinds = Kinds(order.categories, order.numbers, labels)
        self.audit = order.audit
        self.instances = tuple(order.instances)

    def draw(self, tile: Tile, *, unannotated: Unannotated | None = None) -> NDArray[np.uint8]:
        """Draw the label mask of one tile, halo included.

        A pixel belongs to an object by the pixel rule; which of several objects it shows, by the label map's overlap
        rule.

        Args:
            tile: Same downsample as the painting.
            unannotated: Overrides the label map's rule for pixels outside every region.

        Returns:
            (h, w) uint8 with h, w = tile.array_shape; values as in the label map.
        """
        rule = unannotated or self.labels.unannotated
        fill = self.labels.ignore if rule == "ignore" else self.labels.background
        mask = np.full(tile.array_shape, fill, dtype=np.uint8)
        self._fill(mask, tile, self._touched(tile))
        self._ignore_outside(mask, tile, self.labels.ignore)
        return mask

    def paint(self, tile: Tile) -> tuple[NDArray[np.uint8], PixelCounts]:
        """Draw the label mask of one tile and count which rule decided how many of its pixels.

        Returns:
            The mask, equal to `draw`'s, and the tally of its pixels, halo included.
        """
        kinds = self._kinds
        touched = self._touched(tile)
        if not len(touched):
            mask = np.full(tile.array_shape, kinds.values[0], dtype=np.uint8)
            self._ignore_outside(mask, tile, self.labels.ignore)
            return mask, kinds.nothing_drawn(mask.size, inside=self._pixels_inside(tile))
        found = np.zeros(tile.array_shape, dtype=np.uint32)
        marks = Marks(np.zeros(tile.array_shape, dtype=np.uint8), kinds.groups)
        drawn = touched[kinds.is_object[touched]]
        self._fill(found, tile, drawn, values=kinds.category, marks=marks)
        if len(drawn) < len(touched):
            # Once more with derived classes and boundaries, which overlap by intent and must leave no marks.
            found[:] = 0
            self._fill(found, tile, touched, values=kinds.category)
        self._ignore_outside(found, tile, OUTSIDE)
        self._ignore_outside(marks.pixels, tile, 0)
        return kinds.finish(found, marks.pixels)

    def draw_channels(self, tile: Tile) -> NDArray[np.uint8]:
        """Draw one channel for each class of the label map, in its order; overlapping objects all have their pixels.

        Returns:
            (channels, h, w) uint8: 1 inside, 0 outside, and the ignore value where nothing is known: outside every
            region (if unannotated areas are unknown), under ignored objects, beside the slide.
        """
        labels, kinds = self.labels, self._kinds
        fill = labels.ignore if labels.unannotated == "ignore" else 0
        masks = np.full((len(labels.classes), *tile.array_shape), fill, dtype=np.uint8)
        touched = self._touched(tile)
        for mask, (values, is_drawn) in zip(masks, kinds.channels, strict=True):
            self._fill(mask, tile, touched[is_drawn[touched]], values=values)
            self._ignore_outside(mask, tile, labels.ignore)
        return masks

    def draw_mask(self, tile: Tile) -> NDArray[np.uint8]:
        """Draw the kind of mask that the label map asks for: `draw`'s or `draw_channels`'."""
        return self.draw(tile) if self.labels.masks == "single" else self.draw_channels(tile)

    def draw_instances(self, tile: Tile) -> tuple[NDArray[np.uint32], int]:
        """Draw every object with its own number, by the label map's overlap rule.

        Returns:
            (h, w) uint32, 0 where there is no object, under ignored ones and beside the slide; and how many pixels
            several objects wanted.
        """
        kinds = self._kinds
        mask = np.zeros(tile.array_shape, dtype=np.uint32)
        marks = Marks(np.zeros(tile.array_shape, dtype=np.uint8), kinds.instance_groups)
        touched = self._touched(tile)
        self._fill(mask, tile, touched[kinds.is_instance[touched]], values=kinds.numbers, marks=marks)
        self._ignore_outside(mask, tile, 0)
        self._ignore_outside(marks.pixels, tile, 0)
        return mask, int(np.count_nonzero(marks.pixels & 1))

    def _touched(self, tile: Tile) -> NDArray[np.int64]:
        """Shapes whose bounds reach a tile, in the order of drawing."""
        rows, columns = tile.array_shape
        frame = shapely.box(tile.array_x, tile.array_y, tile.array_x + columns, tile.array_y + rows)
        # The tree answers in an order of its own; numbers are in the order of drawing.
        return np.sort(self._tree.query(frame)).astype(np.int64)

    def _fill(
        self,
        mask: NDArray[Any],
        tile: Tile,
        numbers: NDArray[np.int64],
        *,
        values: NDArray[Any] | None = None,
        marks: Marks | None = None,
    ) -> None:
        if len(numbers):
            place = {"x": tile.array_x, "y": tile.array_y}
            fill_shapes(mask, self._shapes, numbers, **place, corner=self._corner, values=values, marks=marks)

    def _pixels_inside(self, tile: Tile) -> int:
        """How many pixels of a tile lie on the slide."""
        rows, columns = tile.array_shape
        if self._slide_size is None:
            return rows * columns
        left, top, right, bottom = self._inside(tile, self._slide_size)
        return max(0, min(right, columns) - left) * max(0, min(bottom, rows) - top)

    def _inside(self, tile: Tile, slide_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Where the slide begins and ends in a tile's array: left, top, right, bottom; none is negative."""
        width, height = level_size(slide_size, self.downsample)
        left, top = max(0, -tile.array_x), max(0, -tile.array_y)
        return left, top, max(0, width - tile.array_x), max(0, height - tile.array_y)

    def _ignore_outside(self, mask: NDArray[Any], tile: Tile, value: int) -> None:
        if self._slide_size is None:
            return
        left, top, right, bottom = self._inside(tile, self._slide_size)
        mask[:top] = mask[bottom:] = value
        mask[:, :left] = mask[:, right:] = value


def rasterize(
    annotations: Sequence[Annotation], tile: Tile, labels: LabelMap, *, mpp: float | None = None
) -> NDArray[np.uint8]:
    """Draw annotations into the label mask of one tile (for many tiles of a slide, keep a Painting).

    Args:
        annotations: Slide frame; other planes than `tile.plane` are left out.
        tile: Where to draw; the halo is drawn too.
        labels: Classes in painting order.
        mpp: um per level-0 px, where the label map states um.

    Returns:
        (h, w) uint8 with h, w = tile.array_shape.

    Raises:
        LabelError, GeometryError: As for Painting.
    """
    return Painting(annotations, labels, downsample=tile.downsample, plane=tile.plane, mpp=mpp).draw(tile)


def count_values(mask: NDArray[np.uint8], values: Iterable[int]) -> dict[int, int]:
    """Count the pixels of each value that occurs in a mask.

    Raises:
        LabelError: The mask holds a value that is not among `values`.
    """
    counts = histogram(mask)
    found = {int(v): int(counts[v]) for v in np.flatnonzero(counts)}
    strange = set(found) - set(values)
    if strange:
        raise LabelError(f"a mask holds values {sorted(strange)} that the label map does not have")
    return found


def count_channels(channels: NDArray[np.uint8], labels: LabelMap) -> dict[int, int]:
    """Count the pixels of a multi-label mask by value: a pixel counts for every class that it shows.

    Args:
        channels: (channels, h, w) uint8, as `Painting.draw_channels` draws them.
        labels: Its label map.

    Returns:
        Pixels of each value that occurs; background where no channel shows or ignores anything, ignore where all do.
    """
    shown = channels == 1
    counts = {item.value: int(shown[k].sum()) for k, item in enumerate(labels.classes)}
    counts[labels.background] = int((channels == 0).all(axis=0).sum())
    counts[labels.ignore] = int((channels == labels.ignore).all(axis=0).sum())
    return {value: count for value, count in sorted(counts.items()) if count}


def one_value_each(channels: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.uint8]:
    """Give every pixel of a multi-label mask one value: its last class, ignore where no channel knows, or background.

    Args:
        channels: (channels, h, w) uint8, as `Painting.draw_channels` draws them.
        labels: Its label map.

    Returns:
        (h, w) uint8, values as in the label map.
    """
    unknown = (channels == labels.ignore).all(axis=0)
    mask = np.where(unknown, labels.ignore, labels.background).astype(np.uint8)
    for channel, item in zip(channels, labels.classes, strict=True):
        mask[channel == 1] = item.value
    return mask
