"""Pictures of others: how large they may be, and what damaged ones raise."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import tifffile
from PIL import Image

DAMAGED_IMAGE: Final = (
    tifffile.TiffFileError, ValueError, OSError, LookupError, AttributeError, TypeError, ArithmeticError, RuntimeError,
    MemoryError, SyntaxError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
"""What tifffile, imagecodecs and Pillow (its SyntaxError is a broken PNG) raise where a file is cut off or nonsense.
FormatError is a ValueError and so among them."""


def open_large_image(path: Path) -> Image.Image:
    """Open a picture however large: whole slides are no attack.

    Raises:
        OSError: There is none, or Pillow knows no such format. Pixels are decoded later: see DAMAGED_IMAGE.
    """
    Image.MAX_IMAGE_PIXELS = None
    return Image.open(path)
