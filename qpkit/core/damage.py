"""What a damaged picture looks like from inside: the errors of those who decode it."""

import struct
from typing import Final

import tifffile

DAMAGED_IMAGE: Final = (
    tifffile.TiffFileError, ValueError, OSError, LookupError, AttributeError, TypeError, ArithmeticError, RuntimeError,
    MemoryError, SyntaxError, struct.error,
)  # fmt: skip
"""What tifffile, imagecodecs and Pillow (its SyntaxError is a broken PNG) raise where a file is cut off or nonsense.
FormatError is a ValueError and so among them."""
