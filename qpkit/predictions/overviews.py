"""Smaller copies of a raster inside its file, made of blocks that hold something: glass costs no time.

GDAL's own take all pixels, whatever is in them: 8 s for a slide of 80,000 px of which a four-hundredth is tissue.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from qpkit.cores import in_order


def complete(path: Path, filled: NDArray[np.bool_], empty: NDArray[Any], *, nearest: bool) -> None:
    """Append copies at a half, a quarter ... until one fits a block; let all blocks that were never written be one.

    libtiff, and so Pillow, reads none that is missing.

    Args:
        path: A tiled TIFF of one band, or of bands that lie behind each other.
        filled: (bands, rows, columns): which of its blocks were written.
        empty: Pixels of a block that was not.
        nearest: Pick one pixel of four (labels) instead of averaging them (probabilities).

    Raises:
        OSError, ValueError: The file cannot be read or written; it is damaged then.
    """
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        bands, height, width, colors = len(filled), page.imagelength, page.imagewidth, page.colormap
    block, level = len(empty), 0
    _share(path, empty)
    while max(width, height) > block:
        height, width = -(-height // 2), -(-width // 2)
        shape = (bands, height, width) if bands > 1 else (height, width)
        with tifffile.TiffFile(path) as tiff, tifffile.TiffWriter(path, append=True) as writer:
            writer.write(
                _blocks(tiff.pages[level], filled, empty, nearest=nearest),
                shape=shape, dtype=empty.dtype, tile=(block, block), compression="adobe_deflate", subfiletype=1,
                photometric="palette" if colors is not None else "minisblack", colormap=colors,
                planarconfig="separate" if bands > 1 else None, metadata=None, software=False,
            )  # fmt: skip
        _share(path, empty)  # of which the next one is made
        filled = _halved(filled)
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


def _halved(filled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether one of 2 x 2 blocks is filled."""
    bands, rows, columns = filled.shape
    padded = np.zeros((bands, -(-rows // 2) * 2, -(-columns // 2) * 2), bool)
    padded[:, :rows, :columns] = filled
    return padded[:, ::2, ::2] | padded[:, 1::2, ::2] | padded[:, ::2, 1::2] | padded[:, 1::2, 1::2]


def _blocks(page: Any, filled: NDArray[np.bool_], empty: NDArray[Any], *, nearest: bool) -> Iterator[bytes]:
    """Compressed blocks of the copy below a level, band by band; no bytes where they are missing."""
    block, below = len(empty), _halved(filled)
    file, offsets, counts = page.parent.filehandle, page.dataoffsets, page.databytecounts

    def four(band: int, row: int, column: int) -> dict[tuple[int, int], bytes]:
        """Those of 2 x 2 blocks that are filled, compressed, by their place among the four."""
        found = {}
        for y, x in np.argwhere(filled[band, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]).tolist():
            number = int(np.ravel_multi_index((band, 2 * row + y, 2 * column + x), filled.shape))
            file.seek(offsets[number])
            found[y, x] = bytes(file.read(counts[number]))
        return found

    def copied(parts: dict[tuple[int, int], bytes], height: int, width: int) -> bytes:
        pixels = np.tile(empty, (2, 2))
        for (y, x), part in parts.items():
            decoded = np.frombuffer(_unpacked(part, empty.nbytes), empty.dtype)
            pixels[y * block : (y + 1) * block, x * block : (x + 1) * block] = decoded.reshape(empty.shape)
        # Beyond the right and lower edge the pixels at the edge go on, so that a mean is of what is there.
        pixels[height:] = pixels[height - 1 : height]
        pixels[:, width:] = pixels[:, width - 1 : width]
        return _packed(np.ascontiguousarray(pixels[::2, ::2] if nearest else _averaged(pixels)))

    def job(place: tuple[int, int, int]) -> Callable[[], bytes]:
        if not below[place]:
            return bytes
        _, row, column = place
        height, width = page.imagelength - 2 * row * block, page.imagewidth - 2 * column * block
        return partial(copied, four(*place), min(height, 2 * block), min(width, 2 * block))

    return in_order(job(place) for place in np.ndindex(below.shape))


def _packed(pixels: NDArray[Any]) -> bytes:
    """As zlib packs it, by libdeflate, in a quarter of the time of level 6 and at most a third larger."""
    return bytes(imagecodecs.deflate_encode(pixels.tobytes(), level=3))


def _unpacked(block: bytes, size: int) -> bytes:
    try:
        return bytes(imagecodecs.deflate_decode(block, out=size))
    except imagecodecs.DeflateError as err:
        raise ValueError(f"a block of it is damaged: {err}") from err


def _averaged(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The mean of 2 x 2 pixels, halves rounded up."""
    wide = pixels.astype(np.uint16)
    rows = wide[::2] + wide[1::2]
    return ((rows[:, ::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)
