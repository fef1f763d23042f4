"""The picture of what an export took for tissue: glass pale, pen and black marked, kept tiles outlined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from qpkit.core.tiles import SlideInfo
from qpkit.dataset import TileRecord
from qpkit.ops.tissue import ThumbnailTissue

_WIDEST: Final = 1024
_EDGE: Final = (0, 140, 70)
_PEN: Final = (255, 0, 255)
_DARK: Final = (255, 140, 0)
_KEPT: Final = (40, 80, 200)


def save_tissue_picture(
    path: Path,
    thumbnail: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    found: ThumbnailTissue,
    slide: SlideInfo,
    tiles: Sequence[TileRecord],
) -> None:
    """Save a picture of a slide, at most 1024 px wide or high.

    Args:
        path: PNG to write; its folder is made.
        thumbnail: (h, w, 3) uint8 RGB of the whole slide.
        tissue: bool of any resolution over the whole slide.
        found: Pen and dark of the thumbnail, magenta and orange.
        slide: Its size.
        tiles: Kept ones, outlined in blue.
    """
    shrink = min(1.0, _WIDEST / max(thumbnail.shape[:2]))
    width, height = (max(1, round(n * shrink)) for n in (thumbnail.shape[1], thumbnail.shape[0]))
    # A copy, as Pillow's array cannot be painted on.
    picture = np.asarray(Image.fromarray(thumbnail).resize((width, height), Image.Resampling.BOX)).copy()
    inside = _resized(tissue, width, height)
    picture[~inside] = (0.4 * picture[~inside] + 0.6 * 255).astype(np.uint8)
    edge = inside.copy()
    edge[1:-1, 1:-1] &= ~(inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:])
    picture[edge] = _EDGE
    picture[_resized(found.pen, width, height)] = _PEN
    picture[_resized(found.dark, width, height)] = _DARK
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    across, down = width / slide.width, height / slide.height
    for tile in tiles:
        corner = tile.x * across, tile.y * down
        draw.rectangle((*corner, (tile.x + tile.width) * across, (tile.y + tile.height) * down), outline=_KEPT)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _resized(mask: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    picture = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture) > 127
