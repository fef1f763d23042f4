"""Pictures of tiles and of slides with their masks: outlines in the colours of the classes, ignore pale."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.labels import LabelMap, label_colors

_PALE: Final = 0.55
_TINT: Final = 0.45
_LIGHT_TINT: Final = 0.2


def outlined(image: NDArray[np.uint8], mask: NDArray[np.uint8], labels: LabelMap, *, side: int) -> NDArray[np.uint8]:
    """Draw the outlines of a mask's classes over its pixels, at the size they are shown in.

    Args:
        image: (h, w, 3) uint8.
        mask: (h, w) uint8, values as in `labels`.
        labels: Colours.
        side: Longer side of the result, px.

    Returns:
        uint8, three channels.
    """
    pixels, values = _shrunk(image, mask, side)
    small = pixels.astype(np.float32)
    unknown = values == labels.ignore
    small[unknown] = (1 - _PALE) * small[unknown] + _PALE * 255
    for value, rgb in label_colors(labels).items():
        small[edge_of(values == value)] = rgb
    return small.astype(np.uint8)


def shaded(image: NDArray[np.uint8], mask: NDArray[np.uint8], labels: LabelMap, *, side: int) -> NDArray[np.uint8]:
    """Tint and outline the classes, so that a class that fills the picture is seen, too; as `outlined` otherwise."""
    return tinted(*_shrunk(image, mask, side), labels, tint=_LIGHT_TINT)


def _shrunk(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rows, columns = mask.shape
    scale = min(1.0, side / max(rows, columns))
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    pixels = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    return np.asarray(pixels), np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def tinted(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    labels: LabelMap,
    *,
    show_ignore: bool = True,
    tint: float = _TINT,
) -> NDArray[np.uint8]:
    """Tint the classes of a mask over pixels of the same size and outline them; ignore pale.

    Args:
        image: (h, w, 3) uint8.
        mask: (h, w) uint8.
        labels: Colours.
        show_ignore: Make what is ignored pale.
        tint: How much of the class's colour there is, 0..1.

    Returns:
        (h, w, 3) uint8.
    """
    result = image.astype(np.float32)
    if show_ignore:
        unknown = mask == labels.ignore
        result[unknown] = (1 - _PALE) * result[unknown] + _PALE * 255
    for value, rgb in label_colors(labels).items():
        inside = mask == value
        result[inside] = (1 - tint) * result[inside] + tint * np.array(rgb, np.float32)
        result[edge_of(inside)] = rgb
    return result.astype(np.uint8)


def edge_of(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of an area that touch its outside (the picture's own edge is no outside)."""
    padded = np.pad(area, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(area & ~inner)


def framed(pixels: NDArray[np.uint8], factor: int, *, side: int) -> NDArray[np.uint8]:
    """Frame the middle of a tile's surroundings, where the tile is, and bring them to a size.

    Args:
        pixels: (h, w, 3) RGB of `factor` times the surroundings.
        factor: How many times as much they show.
        side: Longer side of the result, px.
    """
    shown = _shrunk(pixels, pixels[..., 0], side)[0].copy()
    height, width = shown.shape[:2]
    top, left = (length * (factor - 1) // (2 * factor) for length in (height, width))
    inside = shown[top : height - top, left : width - left]
    for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
        edge[:] = 0
    return shown
