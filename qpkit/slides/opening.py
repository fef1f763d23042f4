"""Which reader opens which file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from qpkit.errors import FormatError, ProjectError
from qpkit.slides.base import Slide, SlideReader
from qpkit.slides.openslide import OpenSlideReader
from qpkit.slides.raster import RasterReader
from qpkit.slides.tiff import TiffReader


def open_slide(path: str | os.PathLike[str], *, mpp: float | None = None) -> Slide:
    """Open a slide with the first reader that can.

    OME-TIFF goes to tifffile first, because OpenSlide sees only its largest level; everything else to OpenSlide,
    then tifffile, then rasterio.

    Args:
        path: A file, or a folder of DICOM files.
        mpp: um per level-0 px that overrides what the file says.

    Raises:
        ProjectError: Nothing is there.
        FormatError: No reader can open it; the message has each reader's reason.
    """
    path = Path(path)
    if path.is_dir():
        path = _dicom_file(path)
    if not path.is_file():
        raise ProjectError(f"{path}: no such slide")
    is_ome = path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    readers: list[Callable[[Path], SlideReader]] = [OpenSlideReader, TiffReader, RasterReader]
    if is_ome:
        readers = [TiffReader, OpenSlideReader]
    reasons = []
    for reader in readers:
        try:
            return Slide(reader(path), mpp=mpp)
        except FormatError as err:
            reasons.append(str(err).removeprefix(f"{path}: "))
    raise FormatError(f"{path}: cannot be opened as a slide: {'; '.join(reasons)}")


def _dicom_file(folder: Path) -> Path:
    """Any file of a DICOM folder leads OpenSlide to the whole series."""
    files = sorted(folder.glob("*.dcm"))
    if not files:
        raise ProjectError(f"{folder}: a folder without .dcm files is not a slide")
    return files[0]
