"""Slides that OpenSlide reads (SVS, NDPI, MRXS, SCN, DICOM, generic tiled TIFF ...)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import openslide
from numpy.typing import NDArray

from qpkit.core.tiles import SlideInfo
from qpkit.errors import FormatError
from qpkit.slides.base import OUTSIDE, judged_mpp, nominal_downsamples

_WHITE: Final = (OUTSIDE, OUTSIDE, OUTSIDE, 255)


class OpenSlideReader:
    """Reads through OpenSlide, in QuPath's frame.

    Slides whose openslide.bounds-x/-y are not zero are cropped to those bounds, as QuPath's OpenSlide server does
    (it takes --no-crop to switch that off).

    Raises:
        FormatError: OpenSlide does not know the file or cannot read it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as err:
            raise FormatError(f"{path}: OpenSlide cannot open it ({err})") from err
        properties = self._slide.properties
        self._left, self._top, width, height = _bounds(properties, self._slide.dimensions)
        downsamples = nominal_downsamples(list(self._slide.level_dimensions))
        self._sizes = [(max(1, int(width / d)), max(1, int(height / d))) for d in downsamples]
        mpp, note = judged_mpp(_number(properties, "openslide.mpp-x"), _number(properties, "openslide.mpp-y"))
        self.info = SlideInfo(width=width, height=height, downsamples=downsamples, mpp=mpp, mpp_note=note)

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level in its own px, inside the bounds."""
        return self._sizes[level]

    def read_level(self, level: int, *, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a rectangle of one level; transparent pixels become white. Returns (height, width, 3) uint8."""
        downsample = self._slide.level_downsamples[level]  # not the nominal one: OpenSlide divides by its own
        corner = (self._left + round(x * downsample), self._top + round(y * downsample))
        try:
            rgba = np.asarray(self._slide.read_region(corner, level, (width, height)))
        except openslide.OpenSlideError as err:
            raise FormatError(f"{self._path}: OpenSlide cannot read it at {corner} ({err})") from err
        return _on_white(rgba)

    def close(self) -> None:
        """Release the file."""
        self._slide.close()


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    share = alpha.astype(np.float32) / 255
    mixed = rgba[..., :3] * share + OUTSIDE * (1 - share)
    return np.asarray(np.floor(mixed + 0.5), dtype=np.uint8)


def _bounds(properties: Mapping[str, str], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the scanned area in level-0 px; the whole slide where nothing is said."""
    keys = ("openslide.bounds-x", "openslide.bounds-y", "openslide.bounds-width", "openslide.bounds-height")
    x, y, width, height = (_number(properties, key) for key in keys)
    left, top = int(x or 0), int(y or 0)
    return left, top, int(width or size[0] - left), int(height or size[1] - top)


def _number(properties: Mapping[str, str], key: str) -> float | None:
    try:
        return float(properties[key])
    except (KeyError, ValueError):
        return None
