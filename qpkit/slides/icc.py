"""ICC profiles: from the colours that a scanner writes to those of sRGB, as QuPath 0.7 does it.

QuPath leaves it to Java (ColorConvertOp of the profile and of Java's own sRGB, without hints), and Java to Little CMS.
Pillow has Little CMS, too; given the same two profiles, intent and flags, it gives the same bytes.
"""

from __future__ import annotations

import functools
import io
import struct
import threading
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from qpkit.compiled import compiled
from qpkit.errors import FormatError

_OUTPUT_CLASS: Final = "prtr"

_SRGB_COLUMNS: Final = ((28564, 14574, 912), (25253, 46992, 6366), (9373, 3971, 46782))
"""XYZ of red, green and blue under D50 in 1/65,536, as the sRGB of Java 17 and 25 has them."""

_D50: Final = (63190, 65536, 54061)
_SRGB_CURVE: Final = 1024
"""Points of its curve."""

_TABLE_AFTER_PX: Final = 1 << 24
"""Pixels after which a table of all colours pays: it takes as long as so many pixels, and 48 MiB."""


class IccTransform:
    """Turns pixels of one profile into those of another. Pixel by pixel: where a pixel lies changes nothing.

    Threads may share one. After some megapixels the answers for all 16,777,216 colours are kept in a table, which is
    filled by the same transform.

    Args:
        source: Profile of the pixels.
        target: Profile that they are shown in; None is sRGB.

    Raises:
        FormatError: One of them is damaged, or not of RGB.
    """

    def __init__(self, source: bytes, target: bytes | None = None) -> None:
        theirs, shown = _opened(source), _opened(srgb_profile() if target is None else target)
        # As Java: colorimetric from a printer's profile, perceptual from any other.
        is_output = theirs.profile.device_class.strip() == _OUTPUT_CLASS
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC if is_output else ImageCms.Intent.PERCEPTUAL
        # Java does not tell Little CMS that its three channels are RGB, so that it shortens matrices, but no tables;
        # shortened ones were up to 14 levels off.
        has_tables = _has_table(source, b"A2B", intent) or (target is not None and _has_table(target, b"B2A", intent))
        flags = ImageCms.Flags.NOOPTIMIZE if has_tables else ImageCms.Flags.NONE
        try:
            self._transform = ImageCms.buildTransform(theirs, shown, "RGB", "RGB", intent, flags)
        except ImageCms.PyCMSError as err:
            raise FormatError(f"the profile cannot be used ({err})") from err
        self._table: NDArray[np.uint8] | None = None
        self._seen, self._lock = 0, threading.Lock()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Transform (h, w, 3) uint8 RGB. Returns a new array of that shape and type."""
        if not pixels.size:
            return pixels.copy()
        table = self._table_if_it_pays(pixels.shape[0] * pixels.shape[1])
        if table is None:
            return self._by_transform(pixels)
        result = np.empty_like(pixels, order="C")
        compiled(_look_up)(np.ascontiguousarray(pixels).reshape(-1, 3), table, result.reshape(-1, 3))
        return result

    def _by_transform(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        ImageCms.applyTransform(image, self._transform, inPlace=True)
        return np.array(image)

    def _table_if_it_pays(self, px: int) -> NDArray[np.uint8] | None:
        with self._lock:
            self._seen += px
            if self._table is None and self._seen > _TABLE_AFTER_PX:
                self._table = self._by_transform(_all_colors()).reshape(-1, 3)
            return self._table


@functools.lru_cache(maxsize=4)
def icc_transform(source: bytes, target: bytes | None = None) -> IccTransform:
    """The transform from one profile to another (see IccTransform); slides of one scanner share it.

    Raises:
        FormatError: One of them is damaged, or not of RGB.
    """
    return IccTransform(source, target)


def profile_name(profile: bytes) -> str:
    """What a profile calls itself.

    Raises:
        FormatError: It is damaged, or not of RGB.
    """
    opened = _opened(profile)
    return " ".join((opened.profile.profile_description or "without a name").split())


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
    except (OSError, ValueError, TypeError) as err:
        raise FormatError("the profile is damaged") from err
    if space != "RGB":
        raise FormatError(f"the profile is one of {space}, not of RGB")
    return opened


def _has_table(profile: bytes, kind: bytes, intent: int) -> bool:
    """Whether a profile has a table for an intent, or for all: then Little CMS passes over its matrix."""
    count = int.from_bytes(profile[128:132], "big")
    names = {profile[at : at + 4] for at in range(132, min(132 + 12 * count, len(profile)), 12)}
    return bool(names & {kind + b"0", kind + str(int(intent)).encode()})


@functools.cache
def srgb_profile() -> bytes:
    """The sRGB that Java calls so, made anew: the profile with which QuPath shows its pixels.

    Little CMS has another (rounded otherwise, its curve is a formula): one in 30 colours differs by 1 or 2.
    """
    at = np.arange(_SRGB_CURVE) / (_SRGB_CURVE - 1)
    linear = np.where(at <= 0.04045, at / 12.92, ((at + 0.055) / 1.055) ** 2.4)
    return matrix_profile("sRGB", _SRGB_COLUMNS, np.rint(linear * 65535).astype(np.uint16))


def matrix_profile(
    name: str, columns: Sequence[Sequence[int]], curve: NDArray[np.uint16], *, device_class: str = "mntr"
) -> bytes:
    """Write a profile of a matrix and one curve (ICC.1:2001-04, 6.3.1.1 and 6.5).

    Args:
        name: What it calls itself; ASCII.
        columns: XYZ of red, green and blue under D50, in 1/65,536.
        curve: (n,) uint16, linear light at n values of a channel from 0 to 1.
        device_class: "mntr" of a display, "scnr" of a scanner, "prtr" of a printer.
    """
    text = name.encode("ascii") + b"\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    curved = b"curv" + bytes(4) + struct.pack(">I", len(curve)) + curve.astype(">u2").tobytes()
    tags = {b"desc": described, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": _xyz(_D50)}
    tags |= {key + b"XYZ": _xyz(column) for key, column in zip((b"r", b"g", b"b"), columns, strict=True)}
    tags |= {key + b"TRC": curved for key in (b"r", b"g", b"b")}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for key, content in tags.items():
        table += key + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, device_class.encode(), b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *_D50) + bytes(48)
    return header + table + body


def _xyz(values: Sequence[int]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *values)


def _all_colors() -> NDArray[np.uint8]:
    """Every colour once, (4096, 4096, 3), red changing slowest."""
    numbers = np.arange(1 << 24, dtype=np.uint32)
    return np.stack([numbers >> 16, numbers >> 8, numbers], axis=-1).astype(np.uint8).reshape(4096, 4096, 3)


def _look_up(pixels: NDArray[np.uint8], table: NDArray[np.uint8], result: NDArray[np.uint8]) -> None:
    for i in range(pixels.shape[0]):
        color = (int(pixels[i, 0]) << 16) | (int(pixels[i, 1]) << 8) | int(pixels[i, 2])
        result[i, 0] = table[color, 0]
        result[i, 1] = table[color, 1]
        result[i, 2] = table[color, 2]
