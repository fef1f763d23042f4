"""What a mask holds, found before anything is decided: its size, its numbers or colours, its palette."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import FormatError
from qpkit.formats.shared.label_pixels import LabelPixels, read_label_pixels
from qpkit.workflows.folders.pairing import LOSSY

_MOST_COLORS: Final = 1000
"""More than any mask has classes: the mask was resized or compressed, so that colours ran into each other."""

GREY: Final = 0x010101
"""What a grey level is multiplied with to be a colour, 0xrrggbb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFacts:
    """One mask.

    Args:
        path: The file.
        width, height: px.
        found: Pixels by number, or by colour 0xrrggbb.
        is_rgb: Whether `found` has colours.
        is_deep: Whether a number has more than 8 bits.
        palette: Colour of each number that is there; empty without a palette.
    """

    path: Path
    width: int
    height: int
    found: Mapping[int, int]
    is_rgb: bool
    is_deep: bool
    palette: Mapping[int, int]

    @property
    def is_colored(self) -> bool:
        """Whether there is a colour that is no grey."""
        return self.is_rgb and any(code != (code & 255) * GREY for code in self.found)

    def keys(self, *, by_color: bool) -> dict[int, int]:
        """Pixels by what is looked up, a colour or a number."""
        counts: dict[int, int] = {}
        for key, count in self.found.items():
            if self.is_rgb:
                looked_up = key if by_color else key & 255
            else:
                looked_up = self.palette.get(key, key * GREY) if by_color else key
            counts[looked_up] = counts.get(looked_up, 0) + count
        return counts


def read_mask(path: Path) -> LabelPixels:
    """Read a mask.

    Raises:
        FormatError: It is a JPEG, whose values are not those that were drawn, cannot be read, or is no label image.
    """
    if path.suffix.lower() in LOSSY:
        raise FormatError(f"{path}: JPEG changes the values of a mask along every edge; save masks as PNG or TIFF")
    return read_label_pixels(path)


def mask_facts(path: Path) -> MaskFacts:
    """Look at a mask.

    Raises:
        FormatError: As `read_mask`; or it has far more colours than classes, or numbers below 0.
    """
    read = read_mask(path)
    codes = codes_of(read.pixels) if read.pixels.ndim == 3 else read.pixels
    values, counts = np.unique(codes, return_counts=True)
    is_rgb = read.pixels.ndim == 3
    if is_rgb and len(values) > _MOST_COLORS:
        raise FormatError(
            f"{path}: {len(values):,} colours, where a mask has one a class: it was smoothed when it was resized or "
            "compressed; take the mask as it was drawn"
        )
    if not is_rgb and len(values) and int(values[0]) < 0:
        raise FormatError(f"{path}: value {int(values[0])}; the values of a mask are 0 or more")
    height, width = codes.shape
    return MaskFacts(
        path=path,
        width=width,
        height=height,
        found=dict(zip(values.tolist(), counts.tolist(), strict=True)),
        is_rgb=is_rgb,
        is_deep=codes.dtype.itemsize > 1 and not is_rgb,
        palette={int(v): palette_code(read, int(v)) for v in values} if read.palette is not None else {},
    )


def codes_of(pixels: NDArray[Any]) -> NDArray[np.int64]:
    """Colours (h, w, 3) uint8 as numbers 0xrrggbb, (h, w) int64."""
    channels = pixels.astype(np.int64)
    return np.asarray((channels[..., 0] << 16) | (channels[..., 1] << 8) | channels[..., 2])


def palette_code(read: LabelPixels, value: int) -> int:
    """The colour 0xrrggbb of a palette entry; 0 for one that the palette does not have."""
    red, green, blue = ([*(read.palette or [])[3 * value : 3 * value + 3], 0, 0, 0])[:3]
    return (red << 16) | (green << 8) | blue


def color_text(code: int) -> str:
    """Write 0xrrggbb as "#rrggbb"."""
    return f"#{code:06x}"
