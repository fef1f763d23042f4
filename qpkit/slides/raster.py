"""Plain pictures (PNG, JPEG, TIFF with a palette ...) through rasterio: one level, um per px only where TIFF has it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import RasterioError
from rasterio.windows import Window

from qpkit.core.annotation import DEFAULT_PLANE, Plane
from qpkit.core.pictures import DAMAGED_IMAGE
from qpkit.core.tiles import SlideInfo
from qpkit.errors import FormatError
from qpkit.rasters import open_raster
from qpkit.slides.base import not_rgb, on_background, require_plane
from qpkit.slides.colors import WHITE
from qpkit.slides.pixel_size import MAP_NOTE, UM_PER_TIFF_UNIT, with_pixel_size

_HOW_GDAL_READS: Final = {"GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO"}
"""GDAL's short cut for PNG gives memory that nobody has written, instead of an error, where the file is cut off."""


class RasterReader:
    """Reads windows of an 8-bit RGB, grey or palette picture, with alpha or without.

    Threads may share it: GDAL's datasets know one thread at a time (rasterio's manual, "Concurrent processing"), so the
    others wait.

    Args:
        path: The file.
        background: (red, green, blue) below transparent pixels.

    Raises:
        FormatError: GDAL does not know the file, or its pixels are not 8 bit.
    """

    name: Final = "raster"

    def __init__(self, path: Path, *, background: tuple[int, int, int] = WHITE) -> None:
        self._path, self._background, self._one_thread = path, background, threading.Lock()
        try:
            with rasterio.Env(**_HOW_GDAL_READS):
                self._dataset = open_raster(path)
        except RasterioError as err:
            raise FormatError(f"{path}: no picture that GDAL knows") from err
        alpha = self._dataset.colorinterp[-1] == rasterio.enums.ColorInterp.alpha
        if self._dataset.dtypes[0] != "uint8" or self._dataset.count - alpha not in (1, 3):
            count, dtype = self._dataset.count, self._dataset.dtypes[0]
            self._dataset.close()
            raise not_rgb(path, count, dtype)
        self._palette = self._read_palette()
        info = SlideInfo(
            width=self._dataset.width,
            height=self._dataset.height,
            mpp_note="a plain picture does not say it" if self._dataset.crs is None else MAP_NOTE,
        )
        mpp = (None, None) if self._dataset.crs is not None else self._pixel_size()
        self.info = info if None in mpp else with_pixel_size(info, *mpp)

    def _pixel_size(self) -> tuple[float | None, float | None]:
        """(x, y) um per px by the resolution tags of a TIFF; (None, None) where there are none."""
        tags = self._dataset.tags()
        um = UM_PER_TIFF_UNIT.get(str(tags.get("TIFFTAG_RESOLUTIONUNIT"))[:1])
        x, y = (float(tags.get(f"TIFFTAG_{axis}RESOLUTION", 0)) for axis in "XY")
        return (um / x, um / y) if um is not None and x > 0 and y > 0 else (None, None)

    def _read_palette(self) -> NDArray[np.uint8] | None:
        if self._dataset.count != 1 or self._dataset.colorinterp[0] != rasterio.enums.ColorInterp.palette:
            return None
        table = np.zeros((256, 3), dtype=np.uint8)
        for value, color in self._dataset.colormap(1).items():
            table[value] = color[:3]
        return table

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) in px; there is only level 0."""
        return self.info.width, self.info.height

    def read_level(
        self, level: int, *, x: int, y: int, width: int, height: int, plane: Plane = DEFAULT_PLANE
    ) -> NDArray[np.uint8]:
        """Read a rectangle; transparent pixels become background. Returns (height, width, 3) uint8."""
        require_plane(plane, self.info, str(self._path))
        try:
            with self._one_thread, rasterio.Env(**_HOW_GDAL_READS):
                pixels = self._dataset.read(window=Window(x, y, width, height))
        except RasterioError as err:
            raise FormatError(f"{self._path}: pixels cannot be read ({err})") from err
        if self._palette is not None:
            return np.asarray(self._palette[pixels[0]], dtype=np.uint8)
        stacked = np.moveaxis(pixels, 0, -1)
        if stacked.shape[2] in (2, 4):
            colours = np.broadcast_to(stacked[..., :-1], (height, width, 3))
            return on_background(np.concatenate([colours, stacked[..., -1:]], axis=-1), self._background)
        return np.ascontiguousarray(np.broadcast_to(stacked, (height, width, 3)))

    def icc_profile(self) -> bytes | None:
        """The ICC profile in the file, as far as Pillow knows its format."""
        try:
            with Image.open(self._path) as picture:
                profile: bytes | None = picture.info.get("icc_profile")
                return profile
        except DAMAGED_IMAGE:
            return None

    def close(self) -> None:
        """Release the file."""
        self._dataset.close()
