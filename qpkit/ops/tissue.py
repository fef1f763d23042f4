"""Where on a slide there is tissue at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import dilation

from qpkit.core.tiles import Region, Tile


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find tissue by Otsu's threshold on HSV saturation.

    Args:
        thumbnail: (h, w, 3) uint8 RGB.

    Returns:
        (h, w) bool; nothing is tissue if all pixels have one saturation.
    """
    saturation = _saturation(thumbnail)
    if saturation.min() == saturation.max():
        return np.zeros(saturation.shape, dtype=np.bool_)
    return np.asarray(saturation > threshold_otsu(saturation), dtype=np.bool_)


def tissue_share(mask: NDArray[np.bool_], region: Region, slide_width: int, slide_height: int) -> float:
    """Share of a region that the mask calls tissue, 0..1; what lies outside the slide is not tissue.

    Args:
        mask: (h, w) bool, covers the whole slide.
        region: Slide px.
        slide_width, slide_height: Slide px.
    """
    rows, columns = mask.shape
    step_x, step_y = slide_width / columns, slide_height / rows
    x0, x1 = _span(region.x / step_x, (region.x + region.width) / step_x, columns)
    y0, y1 = _span(region.y / step_y, (region.y + region.height) / step_y, rows)
    covered = mask[y0:y1, x0:x1].sum() * step_x * step_y
    return float(min(1.0, covered / (region.width * region.height)))


def _span(start: float, stop: float, length: int) -> tuple[int, int]:
    """Pixels whose centres lie in [start, stop), at least one where any part is inside."""
    first = min(max(round(start), 0), length)
    last = min(max(round(stop), 0), length)
    if first == last and first < length and stop > 0:
        last = first + 1
    return first, last


def solid_tissue(mask: NDArray[np.bool_], *, largest_hole: float) -> NDArray[np.bool_]:
    """Fill glass inside tissue (lumens, fat) up to a size, and grow the tissue by one px so that no edge is cut.

    Args:
        mask: (h, w) bool, True is tissue.
        largest_hole: Mask px; larger patches of glass, and those at the mask's edge, stay glass.

    Returns:
        (h, w) bool.
    """
    patches = label(~mask, connectivity=1)
    small = np.bincount(patches.ravel()) <= largest_hole
    for edge in (patches[0], patches[-1], patches[:, 0], patches[:, -1]):
        small[edge] = False
    small[0] = True
    return np.asarray(dilation(small[patches]), dtype=np.bool_)


def tissue_of_tile(mask: NDArray[np.bool_], tile: Tile, slide_width: int, slide_height: int) -> NDArray[np.bool_]:
    """Look up the core of a tile in a mask of the whole slide: (tile.height, tile.width) bool, nearest mask px."""
    rows, columns = mask.shape
    y = (tile.y + np.arange(tile.height) + 0.5) * tile.downsample * rows / slide_height
    x = (tile.x + np.arange(tile.width) + 0.5) * tile.downsample * columns / slide_width
    inside = np.ix_(np.minimum(y.astype(np.int64), rows - 1), np.minimum(x.astype(np.int64), columns - 1))
    return np.asarray(mask[inside], dtype=np.bool_)


def rgb_std(pixels: NDArray[np.uint8]) -> float:
    """Standard deviation over all values of an RGB tile, grey levels (the published tissue filter's measure)."""
    return float(np.std(pixels, dtype=np.float64))


def _saturation(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """HSV saturation scaled to 0..255."""
    high = rgb.max(axis=2).astype(np.float32)
    low = rgb.min(axis=2).astype(np.float32)
    return np.asarray(np.where(high > 0, (high - low) / np.maximum(high, 1) * 255, 0), dtype=np.uint8)
