"""What a TIFF file holds: which of its pages are the levels of the image, where their tiles lie, how they are packed.

Levels are chosen as OpenSlide does for Aperio and generic tiled TIFF, so both see the same slide; OME-TIFF and others
with SubIFDs have theirs there, where OpenSlide does not look. Layouts that need more than that (Hamamatsu, Leica,
Ventana, Philips ...) are left to OpenSlide.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import openslide
import tifffile
from numpy.typing import NDArray

from qpkit.core.pictures import DAMAGED_IMAGE
from qpkit.errors import FormatError
from qpkit.slides.base import not_rgb, on_white
from qpkit.slides.pixel_size import ome_magnification, ome_pixel_size

_JPEG_END: Final = b"\xff\xd9"

Decode = Callable[[bytes, int, NDArray[np.uint8] | None], NDArray[np.uint8]]

_LARGEST_TILE_PX: Final = 1 << 26

_KNOWN_VENDORS: Final = (None, "aperio", "generic-tiff")
_JPEG: Final = 7
_JPEG_2000_RGB: Final = 33005
_JPEG_2000_YCBCR: Final = 33003
_LOSSLESS: Final = (1, 5, 8, 32773, 32946, 34925, 50000)
"""None, LZW, deflate, packbits, old deflate, LZMA, ZSTD."""

_REDUCED: Final = 1
_MIN_IS_BLACK, _RGB, _YCBCR = 1, 2, 6
_STRAIGHT_ALPHA: Final = 2
_GEO_KEYS: Final = 34735
_PIXEL_AXES: Final = "YXS"


@dataclass(frozen=True, slots=True)
class TilePage:
    """One plane of one level.

    Args:
        width, height: px.
        tile_width, tile_height: px.
        offsets, sizes: Where each tile's content lies in the file, in bytes; size 0 is a tile that was never written.
        decode: From a tile's content and its number to (h, w, 3) uint8; into the array given with them, if one is and
            the decoder can (an array that is still warm is a fifth faster than a new one).
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: Sequence[int]
    sizes: Sequence[int]
    decode: Decode

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile_width)


@dataclass(frozen=True, slots=True)
class TiffImage:
    """An image in a TIFF.

    Args:
        levels: Largest first; each a page per plane, t outermost, then z.
        size_z, size_t: Planes.
        mpp_x, mpp_y: um per px as the file says it.
        is_map: It lies on the ground: its pixels have metres, and what its resolution tags say means nothing.
        magnification: Of the objective, as OME-XML or Aperio's description say it.
    """

    levels: tuple[tuple[TilePage, ...], ...]
    size_z: int
    size_t: int
    mpp_x: float | None
    mpp_y: float | None
    is_map: bool
    magnification: float | None = None


def read_tiff_image(path: Path, series: int = 0) -> TiffImage:
    """Find the levels of an image.

    Args:
        path: The file.
        series: Which image; only OME-TIFF and the like have more than one.

    Raises:
        FormatError: Not a TIFF, a layout that is left to other readers, or its pixels are not 8-bit RGB or grey.
    """
    vendor = _vendor(path)
    if vendor not in _KNOWN_VENDORS:
        raise FormatError(f"{path}: a {vendor} slide, whose layout only OpenSlide knows")
    try:
        with tifffile.TiffFile(path) as tiff:
            return _image(tiff, path, vendor, series)
    except FormatError:  # a ValueError, as DAMAGED_IMAGE has it
        raise
    except DAMAGED_IMAGE as err:
        raise FormatError(f"{path}: not a TIFF that can be read ({err})") from err


def _vendor(path: Path) -> str | None:
    try:
        vendor: str | None = openslide.OpenSlide.detect_format(path)
    except openslide.OpenSlideError:
        return None
    return vendor


def _image(tiff: Any, path: Path, vendor: str | None, series: int) -> TiffImage:
    first = tiff.pages[0]
    in_series = tiff.is_ome or series or bool(first.subifds)
    size_z = size_t = 1
    if in_series:
        pages, size_z, size_t = _pages_of_series(tiff, path, series)
    else:
        pages = [[page] for page in _tiled_pages(tiff, first, vendor)]
    levels = tuple(tuple(_tile_page(p, p.keyframe, path, by_tag=not tiff.is_ome) for p in level) for level in pages)
    if vendor == "aperio" and any(0 in page.sizes for level in levels[1:] for page in level):
        raise FormatError(f"{path}: tiles are missing from its pyramid, which OpenSlide fills from the level above")
    is_map = _GEO_KEYS in first.tags and not tiff.is_ome
    mpp = (None, None) if is_map else _pixel_size(tiff, pages[0][0].keyframe, vendor, series)
    return TiffImage(levels, size_z, size_t, *mpp, is_map, _magnification(tiff, pages[0][0].keyframe, vendor, series))


def _tiled_pages(tiff: Any, first: Any, vendor: str | None) -> list[Any]:
    """Pages that are levels, by OpenSlide's rules: tiled, and beyond the first marked as reduced (Aperio: any)."""
    # tifffile makes frames of pages that look alike; they have no tags of their own.
    pages = [page.aspage() for page in tiff.pages]
    chosen = [p for p in pages if p.is_tiled and (p is first or vendor == "aperio" or p.subfiletype & _REDUCED)]
    return sorted(chosen or [first], key=lambda page: -int(page.imagewidth))


def _pages_of_series(tiff: Any, path: Path, series: int) -> tuple[list[list[Any]], int, int]:
    """Pages of each level of one image, a page per plane."""
    if series and not tiff.is_ome:
        raise FormatError(f"{path}: image {series} of it is asked for; only OME-TIFF says which image is which")
    if not 0 <= series < len(tiff.series):
        raise FormatError(f"{path}: there is no image {series} in it, only {len(tiff.series)} from 0")
    levels = tiff.series[series].levels
    planes = [(axis, size) for axis, size in zip(levels[0].axes, levels[0].shape, strict=True)]
    outer = [(axis, size) for axis, size in planes if axis not in _PIXEL_AXES and size > 1]
    _require_stack(outer, levels[0].dtype, path)
    sizes = dict(outer)
    size_z, size_t = sizes.get("Z", 1), sizes.get("T", 1)
    order = [axis for axis, _ in outer]
    places = []
    for t, z in itertools.product(range(size_t), range(size_z)):
        at = {"T": t, "Z": z}
        places.append(int(np.ravel_multi_index([at[a] for a in order], [sizes[a] for a in order])) if order else 0)
    return [[level.pages[place] for place in places] for level in levels], size_z, size_t


def _require_stack(outer: Sequence[tuple[str, int]], dtype: Any, path: Path) -> None:
    """Only z and t may come on top of a picture: channels have no colours of their own."""
    others = [size for axis, size in outer if axis not in "ZT"]
    if others:
        raise not_rgb(path, int(np.prod(others)), dtype)


def _tile_page(page: Any, keyframe: Any, path: Path, *, by_tag: bool) -> TilePage:
    if keyframe.dtype not in (np.uint8, np.bool_) or keyframe.samplesperpixel not in (1, 2, 3, 4):
        raise not_rgb(path, keyframe.samplesperpixel, keyframe.dtype)
    if not keyframe.is_tiled:
        raise FormatError(f"{path}: a TIFF without tiles")
    planar = int(keyframe.planarconfig) != 1 and keyframe.samplesperpixel > 1
    if keyframe.dtype != np.uint8 or keyframe.samplesperpixel == 2:
        raise FormatError(f"{path}: {keyframe.samplesperpixel} samples of {keyframe.dtype} are left to other readers")
    if planar or int(keyframe.photometric) not in (_MIN_IS_BLACK, _RGB, _YCBCR):
        kind = "separate colour planes" if planar else f"photometric {int(keyframe.photometric)}"
        raise FormatError(f"{path}: a TIFF with {kind}; convert it to RGB first")
    _require_sound(page, keyframe, path)
    return TilePage(
        width=int(keyframe.imagewidth),
        height=int(keyframe.imagelength),
        tile_width=int(keyframe.tilewidth),
        tile_height=int(keyframe.tilelength),
        offsets=page.dataoffsets,
        sizes=page.databytecounts,
        decode=_decoder(keyframe, path, by_tag=by_tag),
    )


def _require_sound(page: Any, keyframe: Any, path: Path) -> None:
    sides = (keyframe.imagewidth, keyframe.imagelength, keyframe.tilewidth, keyframe.tilelength)
    numbers = [*sides, *page.dataoffsets, *page.databytecounts]
    sound = all(isinstance(number, int) and number >= 0 for number in numbers) and min(sides) > 0
    if not sound or keyframe.tilewidth * keyframe.tilelength > _LARGEST_TILE_PX:
        raise FormatError(f"{path}: its table of tiles makes no sense; the file is damaged")


def _decoder(page: Any, path: Path, *, by_tag: bool) -> Decode:
    """How the tiles of a page are unpacked.

    Args:
        page: With its tags.
        path: For messages.
        by_tag: A JPEG's colours are what the photometric tag says, as OpenSlide reads them; otherwise a JFIF header
            in the tile wins, as Bio-Formats writes them.
    """
    compression, photometric = int(page.compression), int(page.photometric)
    if compression == _JPEG and page.samplesperpixel in (1, 3):
        named = {_RGB: "RGB", _YCBCR: "YCBCR"}.get(photometric) if by_tag or not page.is_jfif else None
        return _jpeg_decoder(page.jpegtables, named if page.samplesperpixel == 3 else None)
    if compression == _JPEG_2000_YCBCR:
        raise FormatError(f"{path}: JPEG 2000 in YCbCr, which is left to OpenSlide")
    if compression == _JPEG_2000_RGB:
        return lambda content, index, out: _rgb(imagecodecs.jpeg2k_decode(content))
    if photometric == _YCBCR:
        raise FormatError(f"{path}: YCbCr without JPEG, which is left to other readers")
    if compression not in _LOSSLESS:
        raise FormatError(f"{path}: TIFF compression {compression} is not known here")
    return _lossless_decoder(page, multiplied=_STRAIGHT_ALPHA not in page.extrasamples)


def _jpeg_decoder(tables: bytes | None, colors: str | None) -> Decode:
    def grey(content: bytes, index: int, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        return _rgb(imagecodecs.jpeg8_decode(_whole_jpeg(content), tables=tables))

    def decode(content: bytes, index: int, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        content = _whole_jpeg(content)
        pixels: NDArray[np.uint8] = imagecodecs.jpeg8_decode(
            content, tables=tables, colorspace=colors, outcolorspace="RGB", out=out
        )
        return pixels

    return grey if colors is None else decode


def _whole_jpeg(content: bytes) -> bytes:
    """The content, if it has its end: libjpeg fills what is missing with grey and does not say so."""
    if content.rfind(_JPEG_END) < 0:
        raise ValueError("its JPEG has no end")
    return content


def _lossless_decoder(page: Any, *, multiplied: bool) -> Decode:
    """Undo a lossless compression and its predictor, through tifffile.

    Args:
        page: With its tags.
        multiplied: A fourth sample is alpha that the colours are multiplied by already, as libtiff takes it to be
            unless the file says otherwise.
    """
    unpack = page.decode

    def decode(content: bytes, index: int, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        pixels = unpack(content, index)[0]
        if pixels is None:
            raise ValueError("nothing in it")
        return _rgb(pixels[0], multiplied=multiplied)

    return decode


def _rgb(pixels: NDArray[np.uint8], *, multiplied: bool = False) -> NDArray[np.uint8]:
    """Grey or (h, w, 1, 3 or 4) as (h, w, 3), transparent pixels on white."""
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if pixels.shape[2] == 4 and multiplied:
        light = pixels[..., :3].astype(np.uint16) + (255 - pixels[..., 3:])
        return np.asarray(np.minimum(light, 255), dtype=np.uint8)
    if pixels.shape[2] == 4:
        return on_white(pixels)
    return pixels if pixels.shape[2] == 3 else np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _pixel_size(tiff: Any, page: Any, vendor: str | None, series: int) -> tuple[float | None, float | None]:
    """(x, y) um per px from OME-XML, Aperio's description or the resolution tags; (None, None) where none says it."""
    if tiff.is_ome and tiff.ome_metadata:
        return ome_pixel_size(tiff.ome_metadata, series)
    if vendor == "aperio":
        found = re.search(r"\|\s*MPP\s*=\s*([0-9.eE+-]+)", str(page.description))
        mpp = float(found[1]) if found else None
        return mpp, mpp
    per_unit = {2: 25400.0, 3: 10000.0}.get(int(page.resolutionunit))
    x, y = page.get_resolution()
    if per_unit is None or not x or not y:
        return None, None
    return per_unit / x, per_unit / y


def _magnification(tiff: Any, page: Any, vendor: str | None, series: int) -> float | None:
    if tiff.is_ome and tiff.ome_metadata:
        return ome_magnification(tiff.ome_metadata, series)
    found = re.search(r"\|\s*AppMag\s*=\s*([0-9.]+)", str(page.description)) if vendor == "aperio" else None
    return float(found[1]) if found else None
