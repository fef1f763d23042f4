"""One page of a TIFF: where its tiles or strips lie in the file, and how they are unpacked to RGB.

A strip is a tile as wide as the page. Where each colour has tiles of its own (PlanarConfiguration = separate), a tile
is unpacked from one piece for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from qpkit.errors import FormatError
from qpkit.slides.base import not_rgb, on_background
from qpkit.slides.colors import WHITE

Decode = Callable[[Sequence[bytes], int, NDArray[np.uint8] | None], NDArray[np.uint8]]

_JPEG_END: Final = b"\xff\xd9"
_LARGEST_TILE_PX: Final = 1 << 26
_LARGEST_STRIP_PX: Final = 1 << 24
_PLAIN_STRIP_PX: Final = 1 << 18

_NONE, _JPEG = 1, 7
_APERIOS_YCBCR: Final = 33003
_JPEG_2000: Final = (_APERIOS_YCBCR, 33004, 33005, 34712)
_BY_TIFFFILE: Final = (_NONE, 5, 8, 32773, 32946, 34925, 50000, 50001)
"""None, LZW, deflate, packbits, old deflate, LZMA, ZSTD, WebP."""

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _YCBCR = 0, 1, 2, 6
_ALPHA: Final = (1, 2)
_STRAIGHT_ALPHA: Final = 2
_PLANAR: Final = 2


@dataclass(frozen=True, slots=True)
class TilePage:
    """One plane of one level.

    Args:
        width, height: px.
        tile_width, tile_height: px; the last strip of a page may be lower.
        offsets, sizes: Where each piece lies in the file, in bytes; size 0 is one that was never written. All tiles of
            the first colour come first where each colour has its own.
        decode: From the pieces of a tile and its number to (h, w, 3) uint8; into the array given with them, if one is
            and the decoder can (an array that is still warm is a fifth faster than a new one).
        pieces: How many pieces a tile has: 1, or one for each colour.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: Sequence[int]
    sizes: Sequence[int]
    decode: Decode
    pieces: int = 1

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile_width)

    @property
    def tiles(self) -> int:
        """Tiles of the page."""
        return self.columns * -(-self.height // self.tile_height)


def tile_page(
    page: Any, keyframe: Any, path: Path, *, by_tag: bool, background: tuple[int, int, int] = WHITE
) -> TilePage:
    """Say where the tiles of a page are and how they are unpacked.

    Args:
        page: tifffile's page or frame, with the offsets.
        keyframe: tifffile's page with the tags.
        path: For messages.
        by_tag: A JPEG's colours are what the photometric tag says, as OpenSlide reads them; otherwise a JFIF header
            in the tile wins, as Bio-Formats writes them.
        background: (red, green, blue) below transparent pixels.

    Raises:
        FormatError: The table of tiles makes no sense, or pixels that are no 8-bit RGB or grey, or a layout that is
            left to other readers.
    """
    _require_colors(keyframe, path)
    is_planar = int(keyframe.planarconfig) == _PLANAR and keyframe.samplesperpixel > 1
    pieces = keyframe.samplesperpixel if is_planar else 1
    tile_width, tile_height = _sides(keyframe)
    offsets, sizes = page.dataoffsets, page.databytecounts
    _require_sound(keyframe, (tile_width, tile_height), (*offsets, *sizes), path)
    unpack = _unpacker(keyframe, path, by_tag=by_tag, is_planar=is_planar)
    if not keyframe.is_tiled and int(keyframe.compression) == _NONE:
        bytes_px = keyframe.samplesperpixel // pieces
        tile_height, offsets, sizes = _cut_strips(keyframe, offsets, sizes, bytes_px, path)
        unpack = _plain_strip(tile_width, bytes_px)
    if tile_width * tile_height > (_LARGEST_TILE_PX if keyframe.is_tiled else _LARGEST_STRIP_PX):
        raise FormatError(f"{path}: pieces of {tile_width} x {tile_height} px are too large to be unpacked whole")
    made = TilePage(
        width=keyframe.imagewidth,
        height=keyframe.imagelength,
        tile_width=tile_width,
        tile_height=tile_height,
        offsets=offsets,
        sizes=sizes,
        decode=lambda contents, index, out: unpack(contents[0], index, out),
        pieces=pieces,
    )
    is_rgb = pieces == 1 and keyframe.samplesperpixel == 3
    return made if is_rgb else replace(made, decode=_to_rgb(keyframe, unpack, made, background))


def _require_colors(page: Any, path: Path) -> None:
    samples, photometric, bits = page.samplesperpixel, int(page.photometric), page.bitspersample
    if page.dtype not in (np.uint8, np.bool_) or samples not in (1, 2, 3, 4):
        raise not_rgb(path, samples, page.dtype)
    known = (_MIN_IS_WHITE, _MIN_IS_BLACK) if samples < 3 else (_MIN_IS_BLACK, _RGB, _YCBCR)
    has_alpha = samples != 2 or any(int(extra) in _ALPHA for extra in page.extrasamples)
    if bits != 8 or int(page.fillorder) != 1 or not has_alpha:
        raise FormatError(f"{path}: {samples} samples of {bits} bits are left to other readers")
    if photometric not in known:
        raise FormatError(f"{path}: a TIFF with photometric {photometric}; convert it to RGB first")
    is_lossy = int(page.compression) in (_JPEG, _APERIOS_YCBCR)
    if photometric == _YCBCR and (not is_lossy or int(page.planarconfig) == _PLANAR):
        raise FormatError(f"{path}: YCbCr without JPEG or in separate planes, which is left to other readers")


def _sides(page: Any) -> tuple[int, int]:
    """(width, height) of a tile, or of a strip."""
    if page.is_tiled:
        return page.tilewidth, page.tilelength
    return page.imagewidth, min(page.rowsperstrip, page.imagelength)


def _require_sound(page: Any, tile: tuple[int, int], places: Sequence[int], path: Path) -> None:
    sides = (page.imagewidth, page.imagelength, *tile)
    if not all(isinstance(number, int) and number >= 0 for number in (*sides, *places)) or min(sides) < 1:
        raise FormatError(f"{path}: its table of tiles makes no sense; the file is damaged")


def _cut_strips(
    page: Any, offsets: Sequence[int], sizes: Sequence[int], bytes_px: int, path: Path
) -> tuple[int, list[int], list[int]]:
    """Cut strips that are not compressed into lower ones, as one may hold the whole image.

    Args:
        page: tifffile's page with the tags.
        offsets, sizes: Of the strips, in bytes.
        bytes_px: Bytes of a pixel in a strip.
        path: For messages.

    Returns:
        (rows, offsets, sizes) of the lower strips.

    Raises:
        FormatError: The strips do not hold the image.
    """
    width, height = page.imagewidth, page.imagelength
    high = min(page.rowsperstrip, height)
    most = max(1, min(high, _PLAIN_STRIP_PX // width))
    # The lower ones have to begin anew where a strip does, unless there is only one.
    rows = most if high == height else next(n for n in range(most, 0, -1) if high % n == 0)
    strips = -(-height // high)
    heights = [min(high, height - number % strips * high) for number in range(len(offsets))]
    if len(offsets) != len(sizes) or sum(sizes) > page.parent.filehandle.size or len(offsets) % strips:
        raise FormatError(f"{path}: its table of strips makes no sense; the file is damaged")
    row = width * bytes_px
    if any(size not in (0, rows_ * row) for size, rows_ in zip(sizes, heights, strict=True)):
        raise FormatError(f"{path}: its strips are not as long as its rows; the file is damaged")
    cut = [
        (offset + top * row, min(rows, of_strip - top) * row if size else 0)
        for offset, size, of_strip in zip(offsets, sizes, heights, strict=True)
        for top in range(0, of_strip, rows)
    ]
    return rows, [offset for offset, _ in cut], [size for _, size in cut]


_Unpack = Callable[[bytes, int, NDArray[np.uint8] | None], NDArray[np.uint8]]
"""From a piece and its number to (h, w) or (h, w, samples) as the file has them; RGB where it is JPEG."""


def _to_rgb(page: Any, unpack: _Unpack, place: TilePage, background: tuple[int, int, int]) -> Decode:
    """Put the colours of a tile together, or make RGB of grey, and lay transparent pixels on the background."""
    multiplied = _STRAIGHT_ALPHA not in page.extrasamples
    inverted = int(page.photometric) == _MIN_IS_WHITE

    def decode(contents: Sequence[bytes], index: int, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        parts = [unpack(piece, index + number * place.tiles, None) for number, piece in enumerate(contents)]
        pixels = np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=-1)
        return _rgb(~pixels if inverted else pixels, background, multiplied=multiplied)

    return decode


def _unpacker(page: Any, path: Path, *, by_tag: bool, is_planar: bool) -> _Unpack:
    """How the pieces of a page are unpacked (arguments as for `tile_page`)."""
    compression, samples = int(page.compression), 1 if is_planar else page.samplesperpixel
    if compression == _JPEG and samples in (1, 3):
        named = {_RGB: "RGB", _YCBCR: "YCBCR"}.get(int(page.photometric)) if by_tag or not page.is_jfif else None
        return _jpeg(page.jpegtables, named, is_grey=samples == 1, is_tiled=page.is_tiled)
    if compression == _APERIOS_YCBCR and by_tag:
        raise FormatError(f"{path}: JPEG 2000 in YCbCr, which is left to OpenSlide")
    if compression in _JPEG_2000:
        return lambda content, index, out: imagecodecs.jpeg2k_decode(content)
    if compression not in _BY_TIFFFILE:
        raise FormatError(f"{path}: TIFF compression {compression} is not known here")
    return _by_tifffile(page)


def _jpeg(tables: bytes | None, colors: str | None, *, is_grey: bool, is_tiled: bool) -> _Unpack:
    def grey(content: bytes, index: int, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = imagecodecs.jpeg8_decode(_whole_jpeg(content), tables=tables)
        return pixels

    def decode(content: bytes, index: int, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        content = _whole_jpeg(content)
        pixels: NDArray[np.uint8] = imagecodecs.jpeg8_decode(
            content, tables=tables, colorspace=colors, outcolorspace="RGB", out=out
        )
        return pixels

    if is_grey:
        return grey
    # The last strip is lower than the array.
    return decode if is_tiled else lambda content, index, out: decode(content, index, None)


def _whole_jpeg(content: bytes) -> bytes:
    """The content, if it has its end: libjpeg fills what is missing with grey and does not say so."""
    if content.rfind(_JPEG_END) < 0:
        raise ValueError("its JPEG has no end")
    return content


def _plain_strip(width: int, bytes_px: int) -> _Unpack:
    return lambda content, index, out: np.frombuffer(content, np.uint8).reshape(-1, width, bytes_px)


def _by_tifffile(page: Any) -> _Unpack:
    """Undo a compression and its predictor."""
    unpack = page.decode

    def decode(content: bytes, index: int, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        pixels = unpack(content, index)[0]
        if pixels is None:
            raise ValueError("nothing in it")
        found: NDArray[np.uint8] = pixels[0]
        return found

    return decode


def _rgb(pixels: NDArray[np.uint8], background: tuple[int, int, int], *, multiplied: bool) -> NDArray[np.uint8]:
    """Lay (h, w, samples) on a colour: grey, grey with alpha, RGB, or RGB with alpha. Returns (h, w, 3).

    Args:
        pixels: uint8.
        background: (red, green, blue).
        multiplied: Alpha is one that the colours are multiplied by already, as libtiff takes it to be unless the file
            says otherwise.
    """
    samples = pixels.shape[2]
    if samples < 3:
        colors = np.broadcast_to(pixels[..., :1], (*pixels.shape[:2], 3))
        pixels = colors if samples == 1 else np.concatenate([colors, pixels[..., 1:]], axis=-1)
    if pixels.shape[2] == 3:
        return pixels
    if multiplied:
        below = (255 - pixels[..., 3:]).astype(np.uint16) * np.array(background, np.uint16)
        light = pixels[..., :3].astype(np.uint16) + (below + 127) // 255
        return np.asarray(np.minimum(light, 255), dtype=np.uint8)
    return on_background(pixels, background)
