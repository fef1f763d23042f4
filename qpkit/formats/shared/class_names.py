"""Classes and colours as other programs write them: a plain name, "#rrggbb", or a number in blue-green-red order."""

from __future__ import annotations

import re
from typing import Final

from qpkit.core.annotation import PathClass, argb

UNCLASSIFIED: Final = "Unclassified"
"""What QuPath itself shows for an object without a class; used where a format has to have a name."""

RESERVED: Final = f"classes called {UNCLASSIFIED!r} read as no class"
"""What is lost of a class of that name in such a format."""

NAMELESS: Final = "layers without a name"
"""Note of readers, which call each by its place so that they stay apart."""

EMPTY_LAYERS: Final = "layers without regions left out"
"""Note of readers."""

NO_COLOR: Final = argb(128, 128, 128)
"""Written where a format has to have a colour and the class has none; the same grey as in our GeoJSON."""

_HEX: Final = re.compile(r"#?([0-9a-fA-F]{6})(?:[0-9a-fA-F]{2})?")
_RGB: Final = re.compile(r"rgba?\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(?:,[^)]*)?\)")


def read_class(name: str | None, color: int | None, *, none: str = UNCLASSIFIED) -> PathClass | None:
    """Make a class of a name; a blank one, and the one that stands for no class, is None."""
    if name is None or not name.replace(":", "").strip() or name.strip() == none:
        return None
    return PathClass.parse(name, color)


def written_class(path_class: PathClass | None) -> str:
    """The class's name, for formats that have to have one."""
    return UNCLASSIFIED if path_class is None else str(path_class)


def color_of(path_class: PathClass | None) -> int:
    """The class's colour, or grey."""
    return NO_COLOR if path_class is None or path_class.color is None else path_class.color


def rgb_of(color: int) -> tuple[int, int, int]:
    """Red, green, blue of a signed ARGB number."""
    return (color >> 16) & 255, (color >> 8) & 255, color & 255


def to_hex(color: int) -> str:
    """Write "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*rgb_of(color))


def parse_color(text: str | None) -> int | None:
    """Read "#rrggbb", "#rrggbbaa" or "rgb(r,g,b)"; None for anything else."""
    found = _HEX.fullmatch((text or "").strip())
    if found is not None:
        return argb(*bytes.fromhex(found[1]))
    decimal = _RGB.fullmatch((text or "").strip())
    numbers = [] if decimal is None else [int(part) for part in decimal.groups()]
    return argb(*numbers) if numbers and max(numbers) <= 255 else None


def to_bgr(color: int) -> str:
    """Write a Windows COLORREF as a decimal number: blue is the highest byte."""
    red, green, blue = rgb_of(color)
    return str((blue << 16) | (green << 8) | red)


def parse_bgr(text: str | None) -> int | None:
    """Read a Windows COLORREF; None if it is none."""
    try:
        value = int((text or "").strip())
    except ValueError:
        return None
    return argb(value & 255, (value >> 8) & 255, (value >> 16) & 255) if 0 <= value < 1 << 32 else None
