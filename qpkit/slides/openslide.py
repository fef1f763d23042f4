"""Slides that OpenSlide reads (SVS, NDPI, MRXS, SCN, DICOM, generic tiled TIFF ...)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import openslide
from numpy.typing import NDArray

from qpkit.core.annotation import DEFAULT_PLANE, Plane
from qpkit.core.tiles import SlideInfo
from qpkit.errors import FormatError
from qpkit.slides.base import on_background, require_plane
from qpkit.slides.colors import WHITE
from qpkit.slides.pixel_size import nominal_downsamples, with_pixel_size

_MOST_STEPS: Final = 512
_UNSEEN: Final = 1 / 600
"""Level px: OpenSlide (cairo) takes places to 1/256 px, and what rounds to a whole one is not blended."""


class OpenSlideReader:
    """Reads through OpenSlide, in QuPath's frame.

    Slides whose openslide.bounds-x/-y are not zero are cropped to those bounds, as QuPath's OpenSlide server does
    (it takes --no-crop to switch that off).

    OpenSlide works out the downsample of a level from its rounded size (4.003 where the writer halved twice), and takes
    places in whole level-0 px. Where that falls between pixels of the level, OpenSlide blends neighbours. So reads
    begin a little further left and up, where it does not.

    Args:
        path: The file.
        to_bounds: Crop to the bounds.
        background: (red, green, blue) below transparent pixels, whatever the file says of it.

    Raises:
        FormatError: OpenSlide does not know the file or cannot read it.
    """

    name: Final = "openslide"

    def __init__(self, path: Path, *, to_bounds: bool = True, background: tuple[int, int, int] = WHITE) -> None:
        self._path, self._background = path, background
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as err:
            raise FormatError(f"{path}: OpenSlide cannot open it ({err})") from err
        properties = self._slide.properties
        whole = (0, 0, *self._slide.dimensions)
        bounds = _bounds(properties, self._slide.dimensions) if to_bounds else whole
        self._left, self._top, width, height = bounds
        sizes = list(self._slide.level_dimensions)
        self._own_downsamples = self._slide.level_downsamples  # now: after an error OpenSlide answers nothing more
        downsamples = nominal_downsamples(sizes)
        inside = [(max(1, int(width / d)), max(1, int(height / d))) for d in downsamples]
        self._sizes = sizes if bounds == whole else inside
        info = SlideInfo(
            width=width,
            height=height,
            downsamples=downsamples,
            magnification=_number(properties, "openslide.objective-power"),
        )
        self.info = with_pixel_size(
            info, _number(properties, "openslide.mpp-x"), _number(properties, "openslide.mpp-y")
        )

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level in its own px, inside the bounds."""
        return self._sizes[level]

    def read_level(
        self, level: int, *, x: int, y: int, width: int, height: int, plane: Plane = DEFAULT_PLANE
    ) -> NDArray[np.uint8]:
        """Read a rectangle of one level; transparent pixels become background. Returns (height, width, 3) uint8."""
        require_plane(plane, self.info, str(self._path))
        downsample = self._own_downsamples[level]  # not the nominal one: OpenSlide divides by its own
        more_x, more_y = _whole_step(x, downsample), _whole_step(y, downsample)
        corner = (
            self._left + round((x - more_x) * downsample),
            self._top + round((y - more_y) * downsample),
        )
        try:
            rgba = np.asarray(self._slide.read_region(corner, level, (width + more_x, height + more_y)))
        except openslide.OpenSlideError as err:
            raise FormatError(f"{self._path}: OpenSlide cannot read it at {corner} ({err})") from err
        return on_background(rgba[more_y:, more_x:], self._background)

    def icc_profile(self) -> bytes | None:
        """The ICC profile in the file, also of DICOM's optical path."""
        if "openslide.icc-size" not in self._slide.properties:
            return None
        # The picture's own: color_profile is one that Little CMS has written anew.
        try:
            profile: bytes | None = self._slide.read_region((0, 0), 0, (1, 1)).info.get("icc_profile")
        except openslide.OpenSlideError as err:
            raise FormatError(f"{self._path}: OpenSlide cannot read it ({err})") from err
        return profile

    def close(self) -> None:
        """Release the file."""
        self._slide.close()


def _whole_step(place: int, downsample: float) -> int:
    """How many px of a level to go back for a place that is a whole number of level-0 px, as near as can be."""
    steps = np.arange(min(place, _MOST_STEPS) + 1)
    at = (place - steps) * downsample
    off = np.abs(at - np.round(at)) / downsample
    near = np.flatnonzero(off < _UNSEEN)
    return int(near[0] if len(near) else np.argmin(off))


def vendor_of(path: Path) -> str | None:
    """Whose slide OpenSlide takes a file for, as it calls them; None for none."""
    try:
        vendor: str | None = openslide.OpenSlide.detect_format(path)
    except openslide.OpenSlideError:
        return None
    return vendor


def is_openslides_alone(vendor: str | None) -> bool:
    """Whether the layout of a vendor's slides is one that only OpenSlide knows; others would show its first page."""
    return vendor not in (None, "aperio", "generic-tiff")


def is_openslides(path: Path) -> bool:
    """Whether a slide is one for OpenSlide: one that it opens, and in which it sees all levels (not in OME-TIFF)."""
    if path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        return False
    try:
        openslide.OpenSlide(next(iter(sorted(path.glob("*.dcm"))), path) if path.is_dir() else path).close()
    except openslide.OpenSlideError:
        return False
    return True


def _bounds(properties: Mapping[str, str], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the scanned area in level-0 px; the whole slide where nothing is said."""
    keys = ("openslide.bounds-x", "openslide.bounds-y", "openslide.bounds-width", "openslide.bounds-height")
    x, y, width, height = (_number(properties, key) for key in keys)
    left, top = int(x or 0), int(y or 0)
    return left, top, int(width or size[0] - left), int(height or size[1] - top)


def _number(properties: Mapping[str, str], key: str) -> float | None:
    try:
        return float(properties[key])
    except (KeyError, ValueError):
        return None
