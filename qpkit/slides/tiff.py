"""The fast reader: tiles and strips of TIFF, SVS and OME-TIFF straight from their place in the file to a decoder.

Only the tiles that a rectangle touches are read and unpacked. Pixels are equal to OpenSlide's on level 0 and on levels
whose sides fit the slide's; on the others OpenSlide shifts by parts of a pixel (see docs/slides.md).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import DEFAULT_PLANE, Plane
from qpkit.core.pictures import DAMAGED_IMAGE
from qpkit.core.tiles import SlideInfo
from qpkit.errors import FormatError
from qpkit.slides.base import require_plane
from qpkit.slides.colors import WHITE
from qpkit.slides.pixel_size import MAP_NOTE, nominal_downsamples, with_pixel_size
from qpkit.slides.tiff_levels import read_tiff_image
from qpkit.slides.tiff_pages import TilePage

_CACHE_BYTES: Final = 32 << 20


class TiffReader:
    """Reads 8-bit RGB or grey levels of TIFF. Threads may share one; processes open their own.

    Tiles that were never written are background, as OpenSlide shows them.

    Args:
        path: The file.
        series: Which image of it.
        background: (red, green, blue) of tiles that were never written and below transparent pixels.

    Raises:
        FormatError: Not a TIFF, a layout that is left to other readers, or not 8-bit RGB or grey.
    """

    name: Final = "tiff"

    def __init__(self, path: Path, *, series: int = 0, background: tuple[int, int, int] = WHITE) -> None:
        self._path, self._background = path, background
        image = read_tiff_image(path, series, background=background)
        self._icc = image.icc_profile
        self._levels = image.levels
        sizes = [(level[0].width, level[0].height) for level in image.levels]
        info = SlideInfo(
            width=sizes[0][0],
            height=sizes[0][1],
            downsamples=nominal_downsamples(sizes),
            mpp_note=MAP_NOTE,
            size_z=image.size_z,
            size_t=image.size_t,
            magnification=image.magnification,
        )
        self.info = info if image.is_map else with_pixel_size(info, image.mpp_x, image.mpp_y)
        self._file = _File(path)
        self._cache = _TileCache(_CACHE_BYTES)
        self._own = threading.local()

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level in its own px."""
        page = self._levels[level][0]
        return page.width, page.height

    def read_level(
        self, level: int, *, x: int, y: int, width: int, height: int, plane: Plane = DEFAULT_PLANE
    ) -> NDArray[np.uint8]:
        """Read a rectangle of one level. Returns (height, width, 3) uint8."""
        require_plane(plane, self.info, str(self._path))
        number = plane.t * self.info.size_z + plane.z
        page = self._levels[level][number]
        result = np.empty((height, width, 3), dtype=np.uint8)
        for row in range(y // page.tile_height, (y + height - 1) // page.tile_height + 1):
            for col in range(x // page.tile_width, (x + width - 1) // page.tile_width + 1):
                left, top = col * page.tile_width - x, row * page.tile_height - y
                whole = left >= 0 and top >= 0 and left + page.tile_width <= width and top + page.tile_height <= height
                index = row * page.columns + col
                key = None if whole else (level, number, index)  # what is used in full is not needed again
                _paste(result, self._tile(page, index, key), left, top, page, self._background)
        return result

    def _tile(self, page: TilePage, index: int, key: tuple[int, int, int] | None) -> NDArray[np.uint8] | None:
        """One tile as (h, w, 3); None if it was never written."""
        pixels = None if key is None else self._cache.get(key)
        if pixels is not None:
            return pixels
        contents = self._contents(page, index)
        if contents is None:
            return None
        try:
            pixels = page.decode(contents, index, self._scratch(page) if key is None else _room_for(page))
        except DAMAGED_IMAGE as err:
            raise FormatError(f"{self._path}: tile {index} cannot be decoded ({err})") from err
        shown_width = min(page.tile_width, page.width - index % page.columns * page.tile_width)
        shown_height = min(page.tile_height, page.height - index // page.columns * page.tile_height)
        if pixels.shape[0] < shown_height or pixels.shape[1] < shown_width:
            raise FormatError(
                f"{self._path}: tile {index} holds {pixels.shape[1]} x {pixels.shape[0]} px instead of "
                f"{page.tile_width} x {page.tile_height}; the file is damaged"
            )
        if key is not None:
            self._cache.put(key, pixels)
        return pixels

    def _scratch(self, page: TilePage) -> NDArray[np.uint8]:
        """This thread's array for a tile that is copied at once and not kept."""
        found: NDArray[np.uint8] | None = getattr(self._own, "pixels", None)
        if found is None or found.shape != (page.tile_height, page.tile_width, 3):
            found = self._own.pixels = _room_for(page)
        return found

    def _contents(self, page: TilePage, index: int) -> list[bytes] | None:
        """The pieces of a tile; None if none of them was ever written."""
        if page.pieces == 1:
            content = self._content(page, index)
            return None if content is None else [content]
        pieces = [self._content(page, index + number * page.tiles) for number in range(page.pieces)]
        found = [piece for piece in pieces if piece is not None]
        if found and len(found) < len(pieces):
            raise FormatError(f"{self._path}: tile {index} has only {len(found)} of its {len(pieces)} colours")
        return found or None

    def _content(self, page: TilePage, index: int) -> bytes | None:
        size = page.sizes[index] if index < min(len(page.sizes), len(page.offsets)) else -1
        if size == 0:
            return None
        content = self._file.read(page.offsets[index], size) if size > 0 else b""
        if len(content) != size:
            raise FormatError(f"{self._path}: the file ends before tile {index}; copy it again")
        return content

    def icc_profile(self) -> bytes | None:
        """The ICC profile in the file."""
        return self._icc

    def close(self) -> None:
        """Release the file."""
        self._file.close()


class _File:
    """Reads at a place without moving a common position, so that threads do not meet."""

    def __init__(self, path: Path) -> None:
        self._handle = path.open("rb", buffering=0)
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        """Read `size` bytes from `offset`; fewer at the file's end."""
        if hasattr(os, "pread"):
            content = os.pread(self._handle.fileno(), size, offset)
            if len(content) == size:
                return content
        with self._lock:  # Windows, or a file system that answers in parts
            self._handle.seek(offset)
            parts = b""
            while len(parts) < size and (part := self._handle.read(size - len(parts))):
                parts += part
            return parts

    def close(self) -> None:
        """Release the file."""
        self._handle.close()

    def __del__(self) -> None:
        if hasattr(self, "_handle"):  # not if the file was gone
            self._handle.close()


class _TileCache:
    """The tiles used last, up to a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._tiles: OrderedDict[tuple[int, int, int], NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        """A tile that is there, or None."""
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def put(self, key: tuple[int, int, int], pixels: NDArray[np.uint8]) -> None:
        """Keep a tile; the ones that were not used for longest go."""
        with self._lock:
            if key in self._tiles:
                return
            # Behind the check above: two threads may have unpacked the same tile.
            self._tiles[key] = pixels
            self._bytes += pixels.nbytes
            while self._bytes > self._limit:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes


def _room_for(page: TilePage) -> NDArray[np.uint8]:
    """An array for a tile, (h, w, 3), whose address is 16 beyond a multiple of 32.

    libjpeg-turbo writes rows that begin at a multiple of 32 past the processor's cache, which costs a third more here,
    where the pixels are copied at once.
    """
    size = page.tile_height * page.tile_width * 3
    raw = np.empty(size + 48, np.uint8)
    start = 16 + -raw.ctypes.data % 32
    return raw[start : start + size].reshape(page.tile_height, page.tile_width, 3)


def _paste(
    target: NDArray[np.uint8],
    tile: NDArray[np.uint8] | None,
    left: int,
    top: int,
    page: TilePage,
    background: tuple[int, int, int],
) -> None:
    """Copy the part of `tile` that overlaps `target`, the tile's corner at (left, top) of the target."""
    rows, columns = target.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + page.tile_width, columns), min(top + page.tile_height, rows)
    if tile is None:
        target[y0:y1, x0:x1] = background
    else:
        target[y0:y1, x0:x1] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
