"""A slide small enough for a page, and what lies over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import polygons_of
from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Tile
from qpkit.errors import FormatError, QpkitError
from qpkit.report.figures.outlines import draw_outlines
from qpkit.report.figures.tiles import tinted
from qpkit.slides import SlideSource, open_source

_INK = (20, 20, 20)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A slide as a small picture.

    Args:
        pixels: (h, w, 3) uint8; white where the slide cannot be read.
        downsample: Slide px per px.
        missing: Why it cannot be read, or "".
    """

    pixels: NDArray[np.uint8]
    downsample: float
    missing: str = ""

    @property
    def tile(self) -> Tile:
        """All of it as one tile."""
        rows, columns = self.pixels.shape[:2]
        return Tile(col=0, row=0, x=0, y=0, width=columns, height=rows, downsample=self.downsample)


def thumbnail_of(find: Callable[[], SlideSource], size: tuple[int, int] | None, *, side: int) -> Thumbnail:
    """Read a slide as a picture, or make a white one.

    Args:
        find: Gives the slide; what it raises is why there is none.
        size: Width and height that the slide has to have, px of level 0; None where they are not known.
        side: Px of the picture's longer side.
    """
    try:
        source = find()
        with open_source(source) as slide:
            there = slide.info.width, slide.info.height
            if size not in (None, there):
                wanted = "{} x {}".format(*size or there)
                raise FormatError(f"{source.path}: is {there[0]} x {there[1]} px here, not {wanted} as predicted")
            pixels = slide.thumbnail(side)
            return Thumbnail(pixels, there[0] / pixels.shape[1])
    except QpkitError as err:
        width, height = size or (1, 1)
        downsample = max(1.0, max(width, height) / side)
        shape = max(1, round(height / downsample)), max(1, round(width / downsample))
        return Thumbnail(np.full((*shape, 3), 255, np.uint8), width / shape[1], str(err))


def with_classes(
    ground: Thumbnail, mask: NDArray[np.uint8], labels: LabelMap, regions: Sequence[Annotation], *, show_ignore: bool
) -> NDArray[np.uint8]:
    """Tint the classes of a mask over a slide, with the outlines of regions.

    Args:
        ground: The slide.
        mask: (h, w) uint8, of the same size.
        labels: What its values mean.
        regions: Slide frame.
        show_ignore: Whether what is ignored is pale.

    Returns:
        (h, w, 3) uint8.
    """
    picture = tinted(ground.pixels, mask, labels, show_ignore=show_ignore)
    shapes: list[shapely.Polygon] = [part for region in regions for part in polygons_of(region.geometry)]
    return draw_outlines(picture, [(shapes, _INK)], corner=(0, 0), downsample=ground.downsample)
