"""Where on a slide there is tissue at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import dilation, opening

from qpkit.compiled import compiled
from qpkit.core.tiles import Region, SlideInfo, Tile

_DARK: Final = 51
"""HSV value of 255 below which a px is ink or the scanner's black."""

_GREEN: Final = (53, 120)
"""Hue of 255, from yellow green to turquoise: 75 to 170 degrees."""

_GREEN_SATURATION: Final = 51
_BLUE: Final = (135, 166)
"""Hue of 255: 190 to 235 degrees."""

_BLUE_SATURATION: Final = 140


@dataclass(frozen=True, slots=True)
class ThumbnailTissue:
    """What a thumbnail of a whole slide shows; all (h, w).

    Args:
        tissue: bool; neither glass, pen nor dark.
        pen: bool; green or blue ink.
        dark: bool; black ink, black borders of the scan, folds of no light.
        grey: float32; mean of red, green and blue.
    """

    tissue: NDArray[np.bool_]
    pen: NDArray[np.bool_]
    dark: NDArray[np.bool_]
    grey: NDArray[np.float32]

    def is_flat(self, region: Region, slide: SlideInfo, *, below: float) -> bool:
        """Whether a region and one thumbnail px around it show no tissue and nearly one shade.

        Args:
            region: Slide px.
            slide: Its size.
            below: Largest standard deviation of a flat region, grey levels.
        """
        rows, columns = self.grey.shape
        step_x, step_y = slide.width / columns, slide.height / rows
        x0, x1 = max(0, int(region.x / step_x) - 1), int((region.x + region.width) / step_x) + 2
        y0, y1 = max(0, int(region.y / step_y) - 1), int((region.y + region.height) / step_y) + 2
        inside = self.grey[y0:y1, x0:x1]
        return inside.size == 0 or bool(inside.std() < below and not self.tissue[y0:y1, x0:x1].any())


def thumbnail_tissue(thumbnail: NDArray[np.uint8]) -> ThumbnailTissue:
    """Tell tissue from glass, pen marks and black borders.

    Ink is what no stain of tissue looks like: green, or a blue far more saturated than haematoxylin. Red ink cannot be
    told from blood by its colour and counts as tissue. Dark is every px with less than a fifth of the light.
    What is left is split by Otsu's threshold on HSV saturation.

    Args:
        thumbnail: (h, w, 3) uint8 RGB.
    """
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(thumbnail).convert("HSV")), -1, 0)
    dark = value < _DARK
    green = (hue > _GREEN[0]) & (hue < _GREEN[1]) & (saturation > _GREEN_SATURATION)
    blue = (hue > _BLUE[0]) & (hue < _BLUE[1]) & (saturation > _BLUE_SATURATION)
    pen = opening((green | blue) & ~dark)
    tissue = np.zeros(dark.shape, dtype=np.bool_)
    plain = saturation[~pen & ~dark]
    if plain.size and plain.min() < plain.max():
        tissue = (saturation > threshold_otsu(plain)) & ~pen & ~dark
    return ThumbnailTissue(tissue, pen, dark, thumbnail.mean(axis=2, dtype=np.float32))


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find tissue: (h, w) bool from (h, w, 3) uint8 RGB; see thumbnail_tissue."""
    return thumbnail_tissue(thumbnail).tissue


def tissue_fraction(mask: NDArray[np.bool_], region: Region, slide_width: int, slide_height: int) -> float:
    """Fraction of a region that the mask calls tissue, 0..1; what lies outside the slide is not tissue.

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
    small[0] = True  # the number of the tissue itself
    return np.asarray(dilation(small[patches]), dtype=np.bool_)


def tissue_of_tile(mask: NDArray[np.bool_], tile: Tile, slide_width: int, slide_height: int) -> NDArray[np.bool_]:
    """Look up the core of a tile in a mask of the whole slide: (tile.height, tile.width) bool, nearest mask px."""
    rows, columns = mask.shape
    y = (tile.y + np.arange(tile.height) + 0.5) * tile.downsample * rows / slide_height
    x = (tile.x + np.arange(tile.width) + 0.5) * tile.downsample * columns / slide_width
    down, across = np.minimum(y.astype(np.int64), rows - 1), np.minimum(x.astype(np.int64), columns - 1)
    # The few rows of the mask first, then whole rows of the tile: a tenth of the time of looking up each pixel.
    found: NDArray[np.bool_] = mask[down[0] : down[-1] + 1][:, across][down - down[0]]
    return found


def rgb_std(pixels: NDArray[np.uint8]) -> float:
    """Standard deviation over all values of an RGB tile, grey levels (the published tissue filter's measure)."""
    total, squares = compiled(_sum_and_squares)(pixels)
    # Python's integers: exact, and the product leaves 64 bits in tiles of 2,000 px and more.
    return math.sqrt(pixels.size * int(squares) - int(total) ** 2) / pixels.size


def _sum_and_squares(pixels):  # type: ignore[no-untyped-def]  # compiled for arrays
    """Sum of all values and sum of their squares, exact."""
    total, squares = 0, 0
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            for channel in range(pixels.shape[2]):
                value = int(pixels[row, column, channel])
                total += value
                squares += value * value
    return total, squares
