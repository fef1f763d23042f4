"""What files say about their pixel size, and which of it can be believed."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import Final

_MAX_PLAUSIBLE_MPP: Final = 30.0
_MIN_PLAUSIBLE_MPP: Final = 0.01
_SAME: Final = 0.01
_UNLIKE: Final = 1e-3
"""Sides that differ by less, relatively, are one number: nothing is said about their mean."""

UM_PER_UNIT: Final = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6,
    "micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6,
}  # fmt: skip
"""um per unit of length, by the names that OME-XML and OME-Zarr use."""


MAP_NOTE: Final = "a map, whose pixels have metres on the ground and not um on a slide"
"""Why a GeoTIFF has no um per px."""


def plausible_mpp(mpp_x: float | None, mpp_y: float | None) -> tuple[float | None, str]:
    """Turn what a file says about its pixel size into um per px and what the user should know about it.

    A size that no microscope has is refused: 72 dpi in a resolution tag reads as 352.8 um/px. Pixels that are not
    square within 1 % are refused too; within 1 % the mean is taken and said.

    Returns:
        (um per px, note): without um per px the note is the reason; with it, it is "" or what was averaged.
    """
    if not (mpp_x and mpp_y and mpp_x > 0 and mpp_y > 0 and math.isfinite(max(mpp_x, mpp_y))):
        return None, "the file does not say it"
    both = f"{mpp_x:.5g} x {mpp_y:.5g} um"
    if not (min(mpp_x, mpp_y) >= _MIN_PLAUSIBLE_MPP and max(mpp_x, mpp_y) <= _MAX_PLAUSIBLE_MPP):
        return None, f"the file says {mpp_x:.5g} um/px ({25400 / mpp_x:.0f} dpi), which no slide scanner has"
    if abs(mpp_x - mpp_y) > _SAME * max(mpp_x, mpp_y):
        return None, f"the file says {both}, pixels that are not square"
    mean = (mpp_x + mpp_y) / 2
    return mean, f"the mean of {both}" if abs(mpp_x - mpp_y) > _UNLIKE * mean else ""


def ome_pixel_size(text: str, image: int = 0) -> tuple[float | None, float | None]:
    """Read (x, y) um per px of an image out of OME-XML; None where it does not say one."""
    try:
        pixels = [node for node in ET.fromstring(text).iter() if node.tag.endswith("}Pixels")][image]
    except (ET.ParseError, IndexError):
        return None, None

    def size(axis: str) -> float | None:
        value, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        try:
            return float(value) * UM_PER_UNIT[unit] if value and unit in UM_PER_UNIT else None
        except ValueError:
            return None

    return size("X"), size("Y")


def nominal_downsamples(sizes: list[tuple[int, int]]) -> tuple[float, ...]:
    """Work out slide px per level px from the levels' sizes, in px, largest first.

    Level sizes are whole numbers, so 9400 / 146 is 64.4 where the writer halved six times; a whole number that
    explains both sides to less than a pixel is taken instead of the quotient.
    """
    width, height = sizes[0]

    def factor(level_width: int, level_height: int) -> float:
        ratio = (width / level_width + height / level_height) / 2
        for whole in {round(ratio), math.floor(ratio), math.ceil(ratio)}:
            if whole and abs(width / whole - level_width) < 1 and abs(height / whole - level_height) < 1:
                return float(whole)
        return ratio

    return tuple(factor(*size) for size in sizes)
