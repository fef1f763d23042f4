"""The layers of a tile - pixels, mask, their surroundings, instances - and how each is encoded."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.pictures import DAMAGED_IMAGE
from qpkit.errors import ConfigError, FormatError

Layers = Mapping[str, NDArray[Any]]
"""By name: "image" (h, w, 3) uint8 RGB; "mask" (h, w) uint8, or (channels, h, w) uint8 for multi-label masks;
"instances" (h, w) uint32; with "_x4" behind "image" and "mask" the same for four times the surroundings."""

INSTANCES: Final = "instances"
"""Layer and folder of the masks in which every object has a number of its own."""

_DEFLATE_LIMIT: Final = 1032
"""Bytes that one byte of deflate, the strongest compression of a tile, can become (zlib's technical details)."""

_PNG_UP: Final = 0x20
"""libpng's filter "up": twice as fast as choosing one for every row, and as small on tissue."""


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """How pixels are written: "png" without loss, or "jpeg" at a quality of 1..100. Masks are never lossy."""

    kind: Literal["png", "jpeg"] = "png"
    quality: int = 95

    @classmethod
    def parse(cls, text: str) -> ImageFormat:
        """Read "png", "jpeg" or "jpeg:90".

        Raises:
            ConfigError: Anything else.
        """
        kind, _, number = text.partition(":")
        if text == "png":
            return cls("png")
        if kind == "jpeg" and (number or "95").isdecimal() and 1 <= int(number or 95) <= 100:
            return cls("jpeg", int(number or 95))
        raise ConfigError(f"--image-format {text!r}: has to be png, jpeg or jpeg:QUALITY with 1 to 100")

    def __str__(self) -> str:
        return self.kind if self.kind == "png" else f"jpeg:{self.quality}"


def context_layer(layer: str, factor: int) -> str:
    """Name the layer that shows `factor` times the surroundings: "image_x4"; factor 1 is the tile itself."""
    return layer if factor == 1 else f"{layer}_x{factor}"


def folder_of(layer: str) -> str:
    """Name the folder of a layer's files: "images", "masks_x4", "instances"."""
    kind, _, context = layer.partition("_")
    plural = kind if kind.endswith("s") else f"{kind}s"
    return f"{plural}_{context}" if context else plural


def suffix_of(layer: str, pixels: NDArray[Any], image_format: ImageFormat) -> str:
    """Choose the file suffix: PNG or JPEG for pixels, PNG for masks, TIFF for channels and for 32 bit."""
    if layer.startswith("image"):
        return ".png" if image_format.kind == "png" else ".jpg"
    return ".png" if pixels.ndim == 2 and pixels.dtype == np.uint8 else ".tif"


def encode(pixels: NDArray[Any], suffix: str, *, quality: int = 95) -> bytes:
    """Encode one layer; everything but ".jpg" keeps every bit."""
    if suffix == ".png":
        return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=1, filter=_PNG_UP))
    content = io.BytesIO()
    if suffix == ".jpg":
        Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    else:
        tifffile.imwrite(content, pixels, compression="zlib", photometric="minisblack", metadata=None)
    return content.getvalue()


def decode(content: bytes, layer: str, name: str) -> NDArray[Any]:
    """Decode one layer.

    Args:
        content: Of the file.
        layer: Its name; pixels come as RGB and masks as grey, whatever mode the picture has.
        name: Its path, for its suffix and for messages.

    Raises:
        FormatError: It is damaged.
    """
    try:
        if PurePosixPath(name).suffix in (".tif", ".tiff"):
            return _read_tiff(content)
        with Image.open(io.BytesIO(content)) as image:
            # Pillow's own guard is off where large pictures were opened. A byte holds eight px at most.
            if image.width * image.height > 8 * _DEFLATE_LIMIT * len(content):
                raise ValueError(f"its {image.width} x {image.height} px are not in {len(content):,} bytes of file")
            mode = "RGB" if layer.startswith("image") else "L"
            return np.asarray(image.convert(mode) if image.mode != mode else image)
    except DAMAGED_IMAGE as err:
        raise FormatError(f"{name}: tile cannot be read ({err}); export the tiles again") from err


def _read_tiff(content: bytes) -> NDArray[Any]:
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        series = tiff.series[0]
        # A damaged header may promise terabytes, and tifffile allocates them before it reads.
        if series.nbytes > _DEFLATE_LIMIT * len(content):
            raise ValueError(f"its {series.nbytes:,} bytes of pixels are not in {len(content):,} bytes of file")
        return np.asarray(series.asarray())
