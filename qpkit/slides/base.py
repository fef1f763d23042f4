"""What every slide can do, whatever reads its file: read a tile at any downsample, give a thumbnail.

A SlideReader gives pixels of the levels a file holds; Slide does the rest once for all of them: the nearest finer
level, area resampling, the frame in which QuPath shows the file, white outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import DEFAULT_PLANE, Plane
from qpkit.core.tiles import SlideInfo, Tile
from qpkit.errors import FormatError
from qpkit.slides.colors import AS_IN_FILE, WHITE, Colors
from qpkit.slides.resample import area_resample
from qpkit.slides.views import Step, View

OUTSIDE: Final = 255
"""Grey level of pixels outside the slide: glass, as scanners show it."""

_BAND_PX: Final = 1 << 21
"""Source pixels read at once for a thumbnail: a slide with one level only is read strip by strip."""

_WHOLE: Final = 1e-9
"""Level px: positions this near to a whole number are one."""


class NotRgbError(FormatError):
    """The file holds channels or deep pixels: not RGB, whatever another reader might make of its first page."""


class SlideReader(Protocol):
    """What the reader of a file format implements; threads share it."""

    info: SlideInfo

    @property
    def name(self) -> str:
        """As --reader calls it."""
        ...

    def read_level(
        self, level: int, *, x: int, y: int, width: int, height: int, plane: Plane = DEFAULT_PLANE
    ) -> NDArray[np.uint8]:
        """Read a rectangle of one level, inside the level; px of that level. Returns (height, width, 3) uint8."""
        ...

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level in its own px."""
        ...

    def icc_profile(self) -> bytes | None:
        """The ICC profile in the file, as it lies there; None if there is none."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideSource:
    """A slide to be opened: where it is, what it is called, and how it is shown.

    Args:
        name: Unique in its set; the entry's name in a QuPath project.
        path: File, or folder for DICOM and OME-Zarr.
        entry: Id of the QuPath entry, or "" without a project.
        mpp: um per level-0 px if the project (or the user) says it; None leaves it to the file.
        note: What the user has to know about how it is read.
        mpp_note: What the project's pixel size has to be told of; if it makes no `mpp`, the file is not asked either.
        reader: "auto", or the one reader to use.
        series: Which image of the file.
        to_bounds: Crop to OpenSlide's bounds, as QuPath does.
        steps: How QuPath shows the file's pixels: crops, turns, mirrors, in their order.
        colors: In which colours.
    """

    name: str
    path: Path
    entry: str = ""
    mpp: float | None = None
    mpp_note: str = ""
    note: str = ""
    reader: str = "auto"
    series: int = 0
    to_bounds: bool = True
    steps: tuple[Step, ...] = ()
    colors: Colors = AS_IN_FILE


class Slide:
    """An open slide. Use as a context manager.

    Args:
        reader: What reads the file.
        mpp: um per level-0 px that overrides what the file says.
        steps: How the file's pixels are shown: crops, turns, mirrors, in their order.
        recolor: From the file's pixels to those that are shown, (h, w, 3) uint8 both; pixel by pixel. It is done
            before any resampling, as QuPath does, and not to what lies outside the slide.

    Raises:
        FormatError: A crop reaches outside the image.

    Attributes:
        info: As shown: size in level-0 px, downsamples of the levels, um per px.
        reader: As given; its name says which library.
    """

    def __init__(
        self,
        reader: SlideReader,
        *,
        mpp: float | None = None,
        steps: Sequence[Step] = (),
        recolor: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
    ) -> None:
        self.reader, self._recolor = reader, recolor
        self._view = View(x=0, y=0, width=reader.info.width, height=reader.info.height)
        for step in steps:
            self._view = self._view.then(step)
        self._check_view()
        shown = replace(reader.info, width=self._view.shown_width, height=self._view.shown_height)
        if shown.pixel_size is not None and self._view.transposed:
            shown = replace(shown, pixel_size=shown.pixel_size.turned)
        self.info = shown if mpp is None else replace(shown, mpp=mpp, mpp_note="", pixel_size=None)

    def _check_view(self) -> None:
        view, info = self._view, self.reader.info
        inside = view.x >= 0 and view.y >= 0 and view.x + view.width <= info.width
        if not (inside and view.y + view.height <= info.height and view.width > 0 and view.height > 0):
            raise FormatError(
                f"the crop ({view.x}, {view.y}, {view.width}, {view.height}) is not inside the image "
                f"({info.width} x {info.height} px)"
            )

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self.reader.close()

    @property
    def levels(self) -> list[tuple[float, int, int]]:
        """Downsample, width and height of each level as the file has it, in its own px, largest first."""
        return [(d, *self.reader.level_size(level)) for level, d in enumerate(self.info.downsamples)]

    def read(self, tile: Tile) -> NDArray[np.uint8]:
        """Read the pixels of a tile, halo included.

        Pixels come from the coarsest level that is not coarser than the tile, averaged over the area of each tile
        pixel; what lies outside the slide is 255. Where the frame's own levels do not meet the file's pixels (a crop
        between pixels of a coarse level), the area mean is taken there too.

        Raises:
            FormatError: The file cannot be read there, or has no such plane.

        Returns:
            (h, w, 3) uint8 RGB with h, w = tile.array_shape.
        """
        rows, columns = tile.array_shape
        return self._read(tile.array_x, tile.array_y, columns, rows, tile.downsample, tile.plane)

    def thumbnail(self, max_px: int = 2048, *, plane: Plane = DEFAULT_PLANE) -> NDArray[np.uint8]:
        """Read the whole slide with its longer side at most `max_px` px. Returns (h, w, 3) uint8 RGB."""
        downsample = max(1.0, max(self.info.width, self.info.height) / max_px)
        columns = max(1, round(self.info.width / downsample))
        rows = max(1, round(self.info.height / downsample))
        scale = downsample / self.info.downsamples[self._finer_level(downsample)]
        # Rows of the thumbnail, of which each takes scale rows of scale times as many source pixels.
        band = max(1, int(_BAND_PX / (columns * scale * scale)))
        bands = [self._read(0, y, columns, min(band, rows - y), downsample, plane) for y in range(0, rows, band)]
        return np.concatenate(bands)

    def _read(self, x: int, y: int, columns: int, rows: int, downsample: float, plane: Plane) -> NDArray[np.uint8]:
        """Read px of the frame at `downsample`: find them in the file, average, turn them as they are shown."""
        level = self._finer_level(downsample)
        of_level = self.info.downsamples[level]
        scale = downsample / of_level
        corner_x, corner_y, width, height = self._view.in_file(
            x * downsample, y * downsample, columns * downsample, rows * downsample
        )
        across, down = (rows, columns) if self._view.transposed else (columns, rows)
        left, top = corner_x / of_level, corner_y / of_level
        x0, y0 = math.floor(left + _WHOLE), math.floor(top + _WHOLE)
        x1 = math.ceil((corner_x + width) / of_level - _WHOLE)
        y1 = math.ceil((corner_y + height) / of_level - _WHOLE)
        pixels = self._read_padded(level, x0, y0, x1 - x0, y1 - y0, plane)
        if scale != 1.0 or abs(left - x0) > _WHOLE or abs(top - y0) > _WHOLE:
            pixels = area_resample(
                pixels,
                x_edges=left + np.arange(across + 1) * scale - x0,
                y_edges=top + np.arange(down + 1) * scale - y0,
            )
        return np.ascontiguousarray(self._view.show(pixels))

    def _finer_level(self, downsample: float) -> int:
        # 1e-6: quotients of one level may differ in their last digits.
        return max(i for i, d in enumerate(self.info.downsamples) if i == 0 or d <= downsample * (1 + 1e-6))

    def _extent(self, level: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of what is shown, px of a level; pixels that are shown in part count."""
        width, height = self.reader.level_size(level)
        view, d = self._view, self.info.downsamples[level]
        # At the file's own edge the level says where it ends: writers round its size up or down.
        right = width if view.x + view.width == self.reader.info.width else math.ceil((view.x + view.width) / d)
        bottom = height if view.y + view.height == self.reader.info.height else math.ceil((view.y + view.height) / d)
        return math.floor(view.x / d), math.floor(view.y / d), min(right, width), min(bottom, height)

    def _read_padded(self, level: int, x: int, y: int, width: int, height: int, plane: Plane) -> NDArray[np.uint8]:
        left, top, right, bottom = self._extent(level)
        x0, y0 = min(max(x, left), right), min(max(y, top), bottom)
        x1, y1 = min(max(x + width, x0), right), min(max(y + height, y0), bottom)
        if (x0, y0, x1, y1) == (x, y, x + width, y + height):
            return self._read_inside(level, x=x, y=y, width=width, height=height, plane=plane)
        padded = np.full((height, width, 3), OUTSIDE, dtype=np.uint8)
        if x1 > x0 and y1 > y0:
            inside = self._read_inside(level, x=x0, y=y0, width=x1 - x0, height=y1 - y0, plane=plane)
            padded[y0 - y : y1 - y, x0 - x : x1 - x] = inside
        return padded

    def _read_inside(self, level: int, *, x: int, y: int, width: int, height: int, plane: Plane) -> NDArray[np.uint8]:
        pixels = self.reader.read_level(level, x=x, y=y, width=width, height=height, plane=plane)
        return pixels if self._recolor is None else self._recolor(pixels)


def on_background(rgba: NDArray[np.uint8], color: tuple[int, int, int] = WHITE) -> NDArray[np.uint8]:
    """Lay (h, w, 4) pixels with straight alpha on a colour. Returns (h, w, 3) uint8."""
    alpha = rgba[..., 3:]
    if alpha.min(initial=255) == 255:  # initial: a rectangle may be empty
        return np.ascontiguousarray(rgba[..., :3])
    fraction = alpha.astype(np.float32) / 255
    mixed = rgba[..., :3] * fraction + np.array(color, np.float32) * (1 - fraction)
    return np.asarray(np.floor(mixed + 0.5), dtype=np.uint8)


def require_plane(plane: Plane, info: SlideInfo, where: str) -> None:
    """Raise unless an image has a plane.

    Raises:
        FormatError: Its z or t is beyond what the image has.
    """
    if not (0 <= plane.z < info.size_z and 0 <= plane.t < info.size_t):
        raise FormatError(
            f"{where}: there is no plane z {plane.z}, t {plane.t}; it has {info.size_z} z and {info.size_t} t, from 0"
        )


def not_rgb(path: Path, channels: int, dtype: object) -> NotRgbError:
    """The error of a file that holds something else than RGB or grey of 8 bits."""
    what = f"{channels} channel{'s' * (channels != 1)} of {dtype}"
    return NotRgbError(f"{path}: {what} cannot be shown as 8-bit RGB or grey; convert it to RGB first")
