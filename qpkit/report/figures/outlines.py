"""Outlines of shapes over pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw

LEAST_HOLE_PX: Final = 4
"""Smaller holes would only hide the picture below their lines."""

Rgb = tuple[int, int, int]


def draw_outlines(
    image: NDArray[np.uint8],
    layers: Sequence[tuple[Sequence[shapely.Polygon], Rgb]],
    *,
    corner: tuple[float, float],
    downsample: float,
    width: int = 2,
) -> NDArray[np.uint8]:
    """Draw the outlines of polygons, later layers on top.

    Args:
        image: (h, w, 3) uint8.
        layers: Polygons in slide px, and the colour of their lines.
        corner: x, y of the image's upper left corner, slide px.
        downsample: Slide px per px of the image.
        width: Of the lines, px.

    Returns:
        (h, w, 3) uint8.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for shapes, rgb in layers:
        for shape in shapes:
            holes = [ring for ring in shape.interiors if _extent(ring) >= LEAST_HOLE_PX * downsample]
            for ring in (shape.exterior, *holes):
                points = (shapely.get_coordinates(ring) - corner) / downsample
                draw.line([(x, y) for x, y in points.tolist()], fill=rgb, width=width)
    return np.asarray(picture)


def _extent(ring: shapely.LinearRing) -> float:
    """Longer side of a ring's bounds."""
    left, top, right, bottom = ring.bounds
    return float(max(right - left, bottom - top))
