"""The pixels of a label image as they lie in its file: numbers, or colours, and the palette behind the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from qpkit.core.pictures import DAMAGED_IMAGE, open_large_image
from qpkit.errors import FormatError
from qpkit.formats.shared.label_place import PLACE_KEY

TIFF_SUFFIXES: Final = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class LabelPixels:
    """A label image.

    Args:
        pixels: (h, w) whole numbers, or (h, w, 3) uint8 colours.
        palette: Of the numbers, as r, g, b, r, g, b ...; None where the file has none.
        written: Where the file says that it lies on its slide, or "".
    """

    pixels: NDArray[Any]
    palette: list[int] | None = None
    written: str = ""


def read_label_pixels(path: Path) -> LabelPixels:
    """Read a label image: TIFF by its first page, everything else that Pillow knows; an alpha channel is left out.

    Raises:
        FormatError: It cannot be read, or has neither one whole number nor one colour a pixel.
    """
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages[0].aspage()
                pixels, colors, written = page.asarray(), page.colormap, page.description
            # Colour tables of TIFF have 16 bits: 255 is 65,535 there, 257 times as much.
            palette = None if colors is None else (np.asarray(colors) // 257).T.ravel().tolist()
        else:
            with open_large_image(path) as opened:
                written = str(opened.info.get(PLACE_KEY, ""))
                palette = opened.getpalette("RGB") if opened.mode == "P" else None
                pixels = np.asarray(opened.convert("RGB") if opened.mode in ("RGBA", "LA", "CMYK") else opened)
    except DAMAGED_IMAGE as err:
        raise FormatError(f"{path}: not an image that can be read ({err})") from err
    pixels = pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., :3]
    if not np.issubdtype(pixels.dtype, np.integer) or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise FormatError(f"{path}: {pixels.shape} of {pixels.dtype} is no label image; one number a pixel is expected")
    return LabelPixels(pixels, palette, written)
