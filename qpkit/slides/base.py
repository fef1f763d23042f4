"""What every slide can do, whatever reads its file: read a tile at any downsample, give a thumbnail.

A SlideReader gives pixels of the levels a file holds; Slide does the rest once for all of them: the nearest finer
level, area resampling, white outside the slide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import SlideInfo, Tile
from qpkit.slides.resample import area_resample

OUTSIDE: Final = 255
"""Grey level of pixels outside the slide: glass, as scanners show it."""

_BAND_PX: Final = 1 << 21
"""Source pixels read at once for a thumbnail: a slide with one level only is read strip by strip."""

_MAX_PLAUSIBLE_MPP: Final = 30.0
_MIN_PLAUSIBLE_MPP: Final = 0.01


class SlideReader(Protocol):
    """The door that a file format implements."""

    info: SlideInfo

    def read_level(self, level: int, *, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a rectangle of one level, inside the level; px of that level. Returns (height, width, 3) uint8."""
        ...

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level in its own px."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideSource:
    """A slide to be opened: where it is and what it is called.

    Args:
        name: Unique in its set; the entry's name in a QuPath project.
        path: File, or folder for DICOM.
        entry: Id of the QuPath entry, or "" without a project.
        mpp: um per level-0 px if the project (or the user) says it; None leaves it to the file.
    """

    name: str
    path: Path
    entry: str = ""
    mpp: float | None = None


class Slide:
    """An open slide. Use as a context manager.

    Attributes:
        info: Size in level-0 px, downsamples of the levels, um per px.
        reader: What reads the file; its class name says which library.
    """

    def __init__(self, reader: SlideReader, *, mpp: float | None = None) -> None:
        self.reader = reader
        self.info = reader.info if mpp is None else replace(reader.info, mpp=mpp, mpp_note="")

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self.reader.close()

    @property
    def levels(self) -> list[tuple[float, int, int]]:
        """Downsample, width and height of each level, in its own px, largest first."""
        return [(d, *self.reader.level_size(level)) for level, d in enumerate(self.info.downsamples)]

    def read(self, tile: Tile) -> NDArray[np.uint8]:
        """Read the pixels of a tile, halo included.

        Pixels come from the coarsest level that is not coarser than the tile, averaged over the area of each tile
        pixel; what lies outside the slide is 255.

        Returns:
            (h, w, 3) uint8 RGB with h, w = tile.array_shape.
        """
        rows, columns = tile.array_shape
        return self._read(tile.array_x, tile.array_y, columns, rows, tile.downsample)

    def thumbnail(self, max_px: int = 2048) -> NDArray[np.uint8]:
        """Read the whole slide with its longer side at most `max_px` px. Returns (h, w, 3) uint8 RGB."""
        downsample = max(1.0, max(self.info.width, self.info.height) / max_px)
        columns = max(1, round(self.info.width / downsample))
        rows = max(1, round(self.info.height / downsample))
        scale = downsample / self.info.downsamples[self._finer_level(downsample)]
        band = max(1, int(_BAND_PX / (columns * scale * scale)))
        bands = [self._read(0, y, columns, min(band, rows - y), downsample) for y in range(0, rows, band)]
        return np.concatenate(bands)

    def _read(self, x: int, y: int, columns: int, rows: int, downsample: float) -> NDArray[np.uint8]:
        level = self._finer_level(downsample)
        scale = downsample / self.info.downsamples[level]
        left, top = math.floor(x * scale + 1e-9), math.floor(y * scale + 1e-9)
        right, bottom = math.ceil((x + columns) * scale - 1e-9), math.ceil((y + rows) * scale - 1e-9)
        pixels = self._read_padded(level, left, top, right - left, bottom - top)
        if scale == 1.0:
            return pixels
        return area_resample(pixels, x=x, y=y, columns=columns, rows=rows, scale=scale, left=left, top=top)

    def _finer_level(self, downsample: float) -> int:
        return max(i for i, d in enumerate(self.info.downsamples) if i == 0 or d <= downsample * (1 + 1e-6))

    def _read_padded(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        level_width, level_height = self.reader.level_size(level)
        x0, y0 = min(max(x, 0), level_width), min(max(y, 0), level_height)
        x1, y1 = min(max(x + width, x0), level_width), min(max(y + height, y0), level_height)
        if (x0, y0, x1, y1) == (x, y, x + width, y + height):
            return self.reader.read_level(level, x=x, y=y, width=width, height=height)
        padded = np.full((height, width, 3), OUTSIDE, dtype=np.uint8)
        if x1 > x0 and y1 > y0:
            inside = self.reader.read_level(level, x=x0, y=y0, width=x1 - x0, height=y1 - y0)
            padded[y0 - y : y1 - y, x0 - x : x1 - x] = inside
        return padded


def judged_mpp(mpp_x: float | None, mpp_y: float | None) -> tuple[float | None, str]:
    """Turn what a file says about its pixel size into um per px, or None with the reason.

    A size that no microscope has is refused: 72 dpi in a resolution tag reads as 352.8 um/px. Pixels that are not
    square within 1 % are refused too.
    """
    if (
        mpp_x is None
        or mpp_y is None
        or not math.isfinite(mpp_x)
        or not math.isfinite(mpp_y)
        or mpp_x <= 0
        or mpp_y <= 0
    ):
        return None, "the file does not say it"
    if not _MIN_PLAUSIBLE_MPP <= mpp_x <= _MAX_PLAUSIBLE_MPP:
        return None, f"the file says {mpp_x:.5g} um/px ({25400 / mpp_x:.0f} dpi), which no slide scanner has"
    if abs(mpp_x - mpp_y) > 0.01 * max(mpp_x, mpp_y):
        return None, f"the file says {mpp_x:.5g} x {mpp_y:.5g} um, pixels that are not square"
    return (mpp_x + mpp_y) / 2, ""


def nominal_downsamples(sizes: list[tuple[int, int]]) -> tuple[float, ...]:
    """Work out slide px per level px from the levels' sizes, in px, largest first.

    Level sizes are whole numbers, so 9400 / 146 is 64.4 where the writer halved six times; a whole number that
    explains both sides to less than a pixel is taken instead of the quotient.
    """
    width, height = sizes[0]

    def factor(level_width: int, level_height: int) -> float:
        ratio = (width / level_width + height / level_height) / 2
        for whole in {round(ratio), math.floor(ratio), math.ceil(ratio)}:
            if whole and abs(width / whole - level_width) < 1 and abs(height / whole - level_height) < 1:
                return float(whole)
        return ratio

    return tuple(factor(*size) for size in sizes)
