"""What files say about their pixel size, and which of it can be believed."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Final

from qpkit.core.pixel_size import PixelSize
from qpkit.core.tiles import SlideInfo

_MAX_PLAUSIBLE_MPP: Final = 30.0
_MIN_PLAUSIBLE_MPP: Final = 0.01

_METRES: Final = {
    "y": 1e-24, "z": 1e-21, "a": 1e-18, "f": 1e-15, "p": 1e-12, "n": 1e-9, "µ": 1e-6, "μ": 1e-6, "u": 1e-6, "m": 1e-3,
    "c": 1e-2, "d": 1e-1, "": 1.0, "da": 1e1, "h": 1e2, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Z": 1e21, "Y": 1e24,
}  # fmt: skip
_NAMED_METRES: Final = {
    "yocto": 1e-24, "zepto": 1e-21, "atto": 1e-18, "femto": 1e-15, "pico": 1e-12, "nano": 1e-9, "micro": 1e-6,
    "milli": 1e-3, "centi": 1e-2, "deci": 1e-1, "": 1.0, "deca": 1e1, "hecto": 1e2, "kilo": 1e3, "mega": 1e6,
    "giga": 1e9, "tera": 1e12, "peta": 1e15, "exa": 1e18, "zetta": 1e21, "yotta": 1e24,
}  # fmt: skip

UM_PER_UNIT: Final = (
    {f"{prefix}m": 1e6 * metres for prefix, metres in _METRES.items()}
    | {f"{prefix}meter": 1e6 * metres for prefix, metres in _NAMED_METRES.items()}
    | dict.fromkeys(("\u00c5", "\u212b", "angstrom"), 1e-4)
    | dict.fromkeys(("in", "inch"), 25.4e3)
    | dict.fromkeys(("ft", "foot"), 304.8e3)
    | dict.fromkeys(("yd", "yard"), 914.4e3)
    | {"thou": 25.4, "li": 25.4e3 / 12, "pt": 25.4e3 / 72}
)
"""um per unit of length, by the names that OME-XML and OME-Zarr use."""

UM_PER_TIFF_UNIT: Final = {"2": 25.4e3, "3": 10e3, "4": 1e3, "5": 1.0}
"""um per ResolutionUnit of a TIFF: inch, cm, and two that some programs add."""


def um_per_imagej_unit(text: object) -> float | None:
    """Read ImageJ's name of a unit, in which "\\u00B5" may stand for the micro sign; None if it is no length."""
    name = str(text).replace("\\u00B5", "\u00b5")
    return 1.0 if name in ("micron", "microns") else UM_PER_UNIT.get(name)


MAP_NOTE: Final = "a map, whose pixels have metres on the ground and not um on a slide"
"""Why a GeoTIFF has no um per px."""


def plausible_size(mpp_x: float | None, mpp_y: float | None) -> tuple[PixelSize | None, str]:
    """Turn what a file says about its pixel size into a size, or the reason why there is none.

    A size that no microscope has is refused: 72 dpi in a resolution tag reads as 352.8 um/px. Pixels that are not
    square within 1 % are refused, too.
    """
    if mpp_x is None or mpp_y is None or not all(math.isfinite(mpp) and mpp > 0 for mpp in (mpp_x, mpp_y)):
        return None, "the file does not say it"
    if not (min(mpp_x, mpp_y) >= _MIN_PLAUSIBLE_MPP and max(mpp_x, mpp_y) <= _MAX_PLAUSIBLE_MPP):
        return None, f"the file says {mpp_x:.5g} um/px ({25400 / mpp_x:.0f} dpi), which no slide scanner has"
    size = PixelSize(mpp_x, mpp_y)
    if size.mean is None:
        return None, f"the file says {size}, pixels that are not square"
    return size, ""


def with_pixel_size(info: SlideInfo, mpp_x: float | None, mpp_y: float | None) -> SlideInfo:
    """Add what a file says about its pixel size, as far as it can be believed; within 1 % the mean is taken and said.

    Args:
        info: A slide without um per px.
        mpp_x, mpp_y: um per px in the file; None where it says none.
    """
    size, reason = plausible_size(mpp_x, mpp_y)
    if size is None:
        return replace(info, mpp_note=reason)
    return replace(info, mpp=size.mean, mpp_note=size.mean_note(info.width, info.height), pixel_size=size)


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


def ome_magnification(text: str, image: int = 0) -> float | None:
    """Read the nominal magnification of an image's objective out of OME-XML; None where it does not say one."""
    try:
        root = ET.fromstring(text)
        node = [node for node in root.iter() if node.tag.endswith("}Image")][image]
    except (ET.ParseError, IndexError):
        return None
    used = next((part.get("ID") for part in node if part.tag.endswith("}ObjectiveSettings")), None)
    for objective in root.iter():
        if objective.tag.endswith("}Objective") and objective.get("ID") == used:
            try:
                return float(objective.get("NominalMagnification") or "")
            except ValueError:
                return None
    return None


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
