"""ICC profiles of scanners that there are not, and slides that hold them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from qpkit.slides.icc import matrix_profile

_CURVE = np.rint(np.linspace(0, 1, 256) ** 1.8 * 65535).astype(np.uint16)

WILD = matrix_profile("wild", ((13107, 6554, 39322), (43529, 13107, 6554), (6554, 45875, 8185)), _CURVE)
"""Reads red as blue, green as red and blue as green: nobody takes it for none."""

SCANNER = matrix_profile("scanner", ((32768, 17039, 1311), (20972, 44564, 5898), (9450, 3933, 46852)), _CURVE)


def _table(grey: float, points: int = 9) -> bytes:
    """An A2B tag (lut16Type, ICC.1:2001-04 6.5.8): Lab of points^3 colours, with a bend."""
    at = np.linspace(0, 1, points)
    red, green, blue = np.meshgrid(at, at, at, indexing="ij")
    light = (0.3 * red + 0.6 * green + 0.1 * blue) ** grey
    a, b = 60 * (red - green) + 4 * np.sin(5 * red) * np.cos(4 * blue), 48 * (green - blue)
    lab = np.stack([light * 0xFF00, (a + 128) / 255 * 0xFF00, (b + 128) / 255 * 0xFF00], axis=-1)
    straight = np.array([0, 65535] * 3, ">u2").tobytes()
    matrix = struct.pack(">9i", *(np.eye(3, dtype=int) * 65536).ravel().tolist())
    head = b"mft2" + bytes(4) + bytes([3, 3, points, 0]) + matrix + struct.pack(">2H", 2, 2)
    return head + straight + np.rint(lab.clip(0, 65535)).astype(">u2").tobytes() + straight


def table_profile(device_class: str) -> bytes:
    """A profile with one table for the perceptual intent and another for the colorimetric."""
    parts = matrix_profile("tables", ((0, 0, 0),) * 3, np.zeros(2, np.uint16), device_class=device_class)
    count = int.from_bytes(parts[128:132], "big")
    rows = [struct.unpack_from(">4sII", parts, 132 + 12 * i) for i in range(count)]
    tags = {name: parts[start : start + size] for name, start, size in rows if name in (b"desc", b"cprt", b"wtpt")}
    tags |= {b"A2B0": _table(0.8), b"A2B1": _table(1.1)}
    if device_class == "prtr":
        tags |= {b"B2A0": _table(0.8), b"B2A1": _table(1.1)}  # a printer's has to have them; nobody reads them here
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = struct.pack(">I", start + len(body))
    return size + parts[4:20] + b"Lab " + parts[24:128] + table + body


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
