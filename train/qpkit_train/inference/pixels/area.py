"""The part of a slide that is predicted, where that is not all of it. Knows no model and no rasters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import SlideInfo, Tile, TileGrid
from qpkit.ops.masks.rasterize import Painting

_NAME: Final = "within"
_LABELS: Final = LabelMap(classes=(LabelClass(_NAME, 1, (_NAME,)),))


class Area:
    """Says which pixels are predicted: those whose centre lies in one of the annotations.

    Args:
        annotations: Slide frame; their classes do not matter.
        grid: Of the slide.
        info: Of the slide.

    Raises:
        GeometryError: A coordinate is not finite.
    """

    def __init__(self, annotations: Sequence[Annotation], grid: TileGrid, info: SlideInfo) -> None:
        alike = [replace(item, path_class=PathClass((_NAME,)), kind="annotation") for item in annotations]
        size = info.width, info.height
        self._painting = Painting(alike, _LABELS, downsample=grid.downsample, plane=grid.plane, slide_size=size)

    def mask(self, tile: Tile) -> NDArray[np.bool_]:
        """(tile.height, tile.width) bool: what of a tile's core is predicted; nothing beside the slide."""
        return np.asarray(self._painting.draw(replace(tile, halo=0)) == 1, dtype=np.bool_)
