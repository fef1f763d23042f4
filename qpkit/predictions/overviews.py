"""Smaller copies of a raster inside its file, made of blocks that hold something: glass costs no time.

GDAL's own take all pixels, whatever is in them: 8 s for a slide of 80,000 px of which a four-hundredth is tissue.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from rasterio.windows import Window

from qpkit.cores import in_order
from qpkit.rasters import open_raster


def complete(path: Path, filled: NDArray[np.bool_], empty: NDArray[Any], *, nearest: bool) -> None:
    """Append copies at a half, a quarter ... until one fits a block; let all blocks that were never written be one.

    libtiff, and so Pillow, reads none that is missing.

    Args:
        path: A tiled TIFF of one band, or of bands that lie behind each other.
        filled: (bands, rows, columns): which of its blocks were written.
        empty: Pixels of a block that was not.
        nearest: Pick one pixel of four (labels) instead of averaging them (probabilities).

    Raises:
        OSError, ValueError, rasterio.errors.RasterioError: The file cannot be read or written; it is damaged then.
    """
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        bands, height, width, colors = len(filled), page.imagelength, page.imagewidth, page.colormap
    block, level = len(empty), -1
    _share(path, empty)
    while max(width, height) > block:
        filled = _halved(filled)
        height, width = -(-height // 2), -(-width // 2)
        shape = (bands, height, width) if bands > 1 else (height, width)
        with _level(path, level) as dataset, tifffile.TiffWriter(path, append=True) as writer:
            writer.write(
                _blocks(dataset, filled, empty, nearest=nearest),
                shape=shape, dtype=empty.dtype, tile=(block, block), compression="adobe_deflate", subfiletype=1,
                photometric="palette" if colors is not None else "minisblack", colormap=colors,
                planarconfig="separate" if bands > 1 else None, metadata=None, software=False,
            )  # fmt: skip
        _share(path, empty)  # of which the next one is made
        level += 1


def _share(path: Path, empty: NDArray[Any]) -> None:
    """Let all blocks that are missing be one."""
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        block, place = _packed(empty), None
        for page in tiff.pages:
            counts = np.array(page.databytecounts, np.int64)
            if counts.all():
                continue
            if place is None:
                place = tiff.filehandle.seek(0, os.SEEK_END)
                tiff.filehandle.write(block)
            offsets = np.where(counts > 0, np.array(page.dataoffsets, np.int64), place)
            page.tags["TileOffsets"].overwrite(offsets.tolist())
            page.tags["TileByteCounts"].overwrite(np.where(counts > 0, counts, len(block)).tolist())


def _level(path: Path, level: int) -> Any:
    """The raster at -1, its copies from 0."""
    return open_raster(path) if level < 0 else open_raster(path, overview_level=level)


def _halved(filled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether one of 2 x 2 blocks is filled."""
    bands, rows, columns = filled.shape
    padded = np.zeros((bands, -(-rows // 2) * 2, -(-columns // 2) * 2), bool)
    padded[:, :rows, :columns] = filled
    return padded[:, ::2, ::2] | padded[:, 1::2, ::2] | padded[:, ::2, 1::2] | padded[:, 1::2, 1::2]


def _blocks(dataset: Any, filled: NDArray[np.bool_], empty: NDArray[Any], *, nearest: bool) -> Iterator[bytes]:
    """Compressed blocks of the copy below a level, band by band; no bytes where they are missing."""
    block = len(empty)

    def read(place: tuple[int, int, int]) -> NDArray[Any] | None:
        band, row, column = place
        window = Window(2 * column * block, 2 * row * block, 2 * block, 2 * block)
        return _read(dataset, band, window) if filled[place] else None

    def compressed(pixels: NDArray[Any] | None) -> bytes:
        if pixels is None:
            return b""
        made = pixels[::2, ::2] if nearest else _averaged(pixels)
        return _packed(np.ascontiguousarray(made))

    return in_order(partial(compressed, read(place)) for place in np.ndindex(filled.shape))


def _packed(pixels: NDArray[Any]) -> bytes:
    """As zlib packs it, by libdeflate in half of its time."""
    return bytes(imagecodecs.deflate_encode(pixels.tobytes(), level=6))


def _read(dataset: Any, band: int, window: Window) -> NDArray[Any]:
    """A window; beyond the right and lower edge the pixels at the edge go on, so that a mean is of what is there."""
    width = min(window.width, dataset.width - window.col_off)
    height = min(window.height, dataset.height - window.row_off)
    pixels = dataset.read(band + 1, window=Window(window.col_off, window.row_off, width, height))
    return np.pad(pixels, ((0, window.height - height), (0, window.width - width)), mode="edge")


def _averaged(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The mean of 2 x 2 pixels, halves rounded up."""
    wide = pixels.astype(np.uint16)
    rows = wide[::2] + wide[1::2]
    return ((rows[:, ::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)
