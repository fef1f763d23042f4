"""ICC profiles of scanners that there are not, and slides that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from qpkit.slides.icc import matrix_profile

_CURVE = np.rint(np.linspace(0, 1, 256) ** 1.8 * 65535).astype(np.uint16)

WILD = matrix_profile("wild", ((13107, 6554, 39322), (43529, 13107, 6554), (6554, 45875, 8185)), _CURVE)
"""Reads red as blue, green as red and blue as green: nobody takes it for none."""

SCANNER = matrix_profile("scanner", ((32768, 17039, 1311), (20972, 44564, 5898), (9450, 3933, 46852)), _CURVE)


def picture(height: int = 150, width: int = 210, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_slide(path: Path, pixels: NDArray[np.uint8], profile: bytes | None = WILD, **more: object) -> Path:
    """A tiled TIFF with two levels, 0.5 um/px."""
    with tifffile.TiffWriter(path) as tiff:
        for level in (pixels, np.ascontiguousarray(pixels[::2, ::2])):
            tiff.write(
                level, tile=(64, 64), photometric="rgb", metadata=None, iccprofile=profile,
                subfiletype=int(level is not pixels), resolution=(2e4, 2e4), resolutionunit="CENTIMETER",
                **more,
            )  # type: ignore[arg-type] # fmt: skip
    return path
