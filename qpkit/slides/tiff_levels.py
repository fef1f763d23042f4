"""What a TIFF file holds: which of its pages are the levels of the image, and what it says of its pixels.

Levels are chosen as OpenSlide does for Aperio and generic tiled TIFF, so both see the same slide; OME-TIFF and others
with SubIFDs have theirs there, where OpenSlide does not look. Layouts that need more than that (Hamamatsu, Leica,
Ventana, Philips ...) are left to OpenSlide.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile

from qpkit.core.pictures import DAMAGED_IMAGE
from qpkit.errors import FormatError
from qpkit.slides.base import not_rgb
from qpkit.slides.colors import WHITE
from qpkit.slides.openslide import is_openslides_alone, vendor_of
from qpkit.slides.pixel_size import UM_PER_TIFF_UNIT, ome_magnification, ome_pixel_size, um_per_imagej_unit
from qpkit.slides.tiff_pages import TilePage, tile_page

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""

_GEO_KEYS: Final = 34735
_ICC_PROFILE: Final = 34675
_PIXEL_AXES: Final = "YXS"


@dataclass(frozen=True, slots=True)
class TiffImage:
    """An image in a TIFF.

    Args:
        levels: Largest first; each a page per plane, t outermost, then z.
        size_z, size_t: Planes.
        mpp_x, mpp_y: um per px as the file says it.
        is_map: It lies on the ground: its pixels have metres, and what its resolution tags say means nothing.
        magnification: Of the objective, as OME-XML or Aperio's description say it.
        icc_profile: As it lies in the tag of the largest level, or None.
    """

    levels: tuple[tuple[TilePage, ...], ...]
    size_z: int
    size_t: int
    mpp_x: float | None
    mpp_y: float | None
    is_map: bool
    magnification: float | None = None
    icc_profile: bytes | None = None


def read_tiff_image(path: Path, series: int = 0, *, background: tuple[int, int, int] = WHITE) -> TiffImage:
    """Find the levels of an image.

    Args:
        path: The file.
        series: Which image; only OME-TIFF and the like have more than one.
        background: (red, green, blue) below transparent pixels.

    Raises:
        FormatError: Not a TIFF, a layout that is left to other readers, or its pixels are not 8-bit RGB or grey.
    """
    vendor = vendor_of(path)
    if is_openslides_alone(vendor):
        raise FormatError(f"{path}: a {vendor} slide, whose layout only OpenSlide knows")
    try:
        with tifffile.TiffFile(path) as tiff:
            return _image(tiff, path, vendor, series, background)
    except FormatError:  # a ValueError, as DAMAGED_IMAGE has it
        raise
    except DAMAGED_IMAGE as err:
        raise FormatError(f"{path}: not a TIFF that can be read ({err})") from err


def pages_of_one_size(path: Path) -> int:
    """Count the pages of a file that are as large as the first one, which alone is read; 1 of what is no TIFF."""
    try:
        with tifffile.TiffFile(path) as tiff:
            first = tiff.pages[0]
            alike = [p for p in tiff.pages if p.shape == first.shape and not p.subfiletype & (_REDUCED | _MASK)]
            return max(1, len(alike))
    except DAMAGED_IMAGE:
        return 1


def _image(tiff: Any, path: Path, vendor: str | None, series: int, background: tuple[int, int, int]) -> TiffImage:
    first = tiff.pages[0]
    channels = int((tiff.imagej_metadata or {}).get("channels", 1)) if tiff.is_imagej else 1
    if channels > 1:
        raise not_rgb(path, channels, first.dtype)
    in_series = tiff.is_ome or series or bool(first.subifds)
    size_z = size_t = 1
    if in_series:
        pages, size_z, size_t = _pages_of_series(tiff, path, series)
    else:
        pages = [[page] for page in _level_pages(tiff, first, vendor)]
    is_ome = bool(tiff.is_ome)
    levels = tuple(
        tuple(tile_page(p, p.keyframe, path, by_tag=not is_ome, background=background) for p in level)
        for level in pages
    )
    if vendor == "aperio" and any(0 in page.sizes for level in levels[1:] for page in level):
        raise FormatError(f"{path}: tiles are missing from its pyramid, which OpenSlide fills from the level above")
    is_map = _GEO_KEYS in first.tags and not tiff.is_ome
    top = pages[0][0].keyframe
    mpp = (None, None) if is_map else _pixel_size(tiff, top, vendor, series)
    magnification = _magnification(tiff, top, vendor, series)
    return TiffImage(levels, size_z, size_t, *mpp, is_map, magnification, _icc_profile(top))


def _icc_profile(page: Any) -> bytes | None:
    tag = page.tags.get(_ICC_PROFILE)
    return tag.value if tag is not None and isinstance(tag.value, bytes) else None


def _level_pages(tiff: Any, first: Any, vendor: str | None) -> list[Any]:
    """Pages that are levels, by OpenSlide's rules: tiled, and beyond the first marked as reduced (Aperio: any).

    Where the first one has strips, which OpenSlide does not read, the reduced ones of its proportions are levels.
    """
    # tifffile makes frames of pages that look alike; they have no tags of their own.
    pages = [page.aspage() for page in tiff.pages]
    chosen = [first] if vendor != "aperio" else [page for page in pages if page.is_tiled]
    if vendor != "aperio":
        chosen += [page for page in pages if page is not first and _is_level(page, first)]
    return sorted(chosen or [first], key=lambda page: -int(page.imagewidth))


def _is_level(page: Any, first: Any) -> bool:
    if page.subfiletype & (_REDUCED | _MASK) != _REDUCED or page.is_tiled != first.is_tiled:
        return False
    # Both sides were rounded to whole px.
    off = abs(page.imagewidth * first.imagelength - page.imagelength * first.imagewidth)
    return bool(page.is_tiled or off <= page.imagewidth + page.imagelength + first.imagewidth + first.imagelength)


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


def _pixel_size(tiff: Any, page: Any, vendor: str | None, series: int) -> tuple[float | None, float | None]:
    """(x, y) um per px from OME-XML, Aperio's description or the resolution tags; (None, None) where none says it."""
    if tiff.is_ome and tiff.ome_metadata:
        return ome_pixel_size(tiff.ome_metadata, series)
    if vendor == "aperio":
        found = re.search(r"\|\s*MPP\s*=\s*([0-9.eE+-]+)", str(page.description))
        mpp = float(found[1]) if found else None
        return mpp, mpp
    per_unit = UM_PER_TIFF_UNIT.get(str(int(page.resolutionunit)))
    if per_unit is None and tiff.is_imagej:
        per_unit = um_per_imagej_unit((tiff.imagej_metadata or {}).get("unit"))
    x, y = page.get_resolution()
    if per_unit is None or not x or not y:
        return None, None
    return per_unit / x, per_unit / y


def _magnification(tiff: Any, page: Any, vendor: str | None, series: int) -> float | None:
    if tiff.is_ome and tiff.ome_metadata:
        return ome_magnification(tiff.ome_metadata, series)
    found = re.search(r"\|\s*AppMag\s*=\s*([0-9.]+)", str(page.description)) if vendor == "aperio" else None
    return float(found[1]) if found else None
