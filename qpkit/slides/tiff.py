"""Tiled TIFF and OME-TIFF through tifffile: pyramids in SubIFDs, which OpenSlide does not see."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from qpkit.core.tiles import SlideInfo
from qpkit.errors import FormatError
from qpkit.slides.base import judged_mpp, nominal_downsamples

_UM_PER_UNIT: Final = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}


class TiffReader:
    """Reads tiles of 8-bit RGB (or grey) TIFF levels, decoding only the tiles that a rectangle touches.

    Raises:
        FormatError: Not a TIFF, not tiled, or its pixels are not 8-bit RGB or grey.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._tiff = tifffile.TiffFile(path)
        except (tifffile.TiffFileError, ValueError, OSError) as err:
            raise FormatError(f"{path}: not a TIFF ({err})") from err
        try:
            self._pages = self._levels()
            self._check()
            sizes = [(int(page.imagewidth), int(page.imagelength)) for page in self._pages]
            mpp, note = judged_mpp(*_pixel_size(self._tiff, self._pages[0]))
        except FormatError:
            self._tiff.close()
            raise
        downsamples = nominal_downsamples(sizes)
        self.info = SlideInfo(width=sizes[0][0], height=sizes[0][1], downsamples=downsamples, mpp=mpp, mpp_note=note)
        self._sizes = sizes

    def _levels(self) -> list[Any]:
        """One page (its keyframe) per level of the first image."""
        try:
            return [level.keyframe for level in self._tiff.series[0].levels]
        except (tifffile.TiffFileError, ValueError, IndexError) as err:
            raise FormatError(f"{self._path}: a TIFF without an image ({err})") from err

    def _check(self) -> None:
        for page in self._pages:
            if not page.is_tiled:
                raise FormatError(f"{self._path}: a TIFF without tiles")
            if page.dtype != np.uint8 or page.samplesperpixel not in (1, 3, 4) or page.planarconfig != 1:
                raise FormatError(
                    f"{self._path}: {page.samplesperpixel} channels of {page.dtype} are not 8-bit RGB or grey; "
                    "convert it to RGB first"
                )

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level in its own px."""
        return self._sizes[level]

    def read_level(self, level: int, *, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a rectangle of one level. Returns (height, width, 3) uint8."""
        page = self._pages[level]
        size_x, size_y = int(page.tilewidth), int(page.tilelength)
        across = math.ceil(int(page.imagewidth) / size_x)
        result = np.zeros((height, width, 3), dtype=np.uint8)
        for row in range(y // size_y, (y + height - 1) // size_y + 1):
            for col in range(x // size_x, (x + width - 1) // size_x + 1):
                _paste(result, self._decode(page, row * across + col), col * size_x - x, row * size_y - y)
        return result

    def _decode(self, page: Any, index: int) -> NDArray[np.uint8]:
        """One tile as (h, w, 3); an empty one is black, as tifffile and QuPath show it."""
        content = self._content(page, index)
        try:
            pixels = page.decode(content, index, jpegtables=page.jpegtables)[0] if content else None
        except (tifffile.TiffFileError, ValueError, RuntimeError, IndexError) as err:
            raise FormatError(f"{self._path}: tile {index} cannot be decoded ({err})") from err
        if pixels is None:
            return np.zeros((int(page.tilelength), int(page.tilewidth), 3), dtype=np.uint8)
        return np.broadcast_to(pixels[0], (*pixels.shape[1:3], 3)) if pixels.shape[3] == 1 else pixels[0, ..., :3]

    def _content(self, page: Any, index: int) -> bytes:
        """The compressed bytes of one tile; none for a tile that was never written."""
        size = page.databytecounts[index] if index < len(page.databytecounts) else -1
        handle = self._tiff.filehandle
        handle.seek(page.dataoffsets[index] if size > 0 else 0)
        content: bytes = handle.read(max(size, 0))
        if len(content) != size:
            raise FormatError(f"{self._path}: the file ends before tile {index}; copy it again")
        return content

    def close(self) -> None:
        """Release the file."""
        self._tiff.close()


def _paste(target: NDArray[np.uint8], tile: NDArray[np.uint8], left: int, top: int) -> None:
    """Copy the part of `tile` that overlaps `target`, the tile's corner at (left, top) of the target."""
    rows, columns = target.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + tile.shape[1], columns), min(top + tile.shape[0], rows)
    target[y0:y1, x0:x1] = tile[y0 - top : y1 - top, x0 - left : x1 - left]


def _pixel_size(tiff: Any, page: Any) -> tuple[float | None, float | None]:
    """(x, y) um per px from OME-XML, else from the resolution tags, else (None, None)."""
    if tiff.is_ome and tiff.ome_metadata:
        return _ome_pixel_size(tiff.ome_metadata)
    per_unit = {2: 25400.0, 3: 10000.0}.get(int(page.resolutionunit))
    x, y = page.get_resolution()
    if per_unit is None or not x or not y:
        return None, None
    return per_unit / x, per_unit / y


def _ome_pixel_size(text: str) -> tuple[float | None, float | None]:
    try:
        pixels = next(node for node in ET.fromstring(text).iter() if node.tag.endswith("}Pixels"))
    except (ET.ParseError, StopIteration):
        return None, None

    def size(axis: str) -> float | None:
        value, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        return float(value) * _UM_PER_UNIT[unit] if value and unit in _UM_PER_UNIT else None

    return size("X"), size("Y")
