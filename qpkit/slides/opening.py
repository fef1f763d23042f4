"""Which reader opens which file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, get_args

from qpkit.errors import ConfigError, FormatError, ProjectError, listed
from qpkit.files import AnyPath
from qpkit.slides.base import NotRgbError, Slide, SlideReader, SlideSource
from qpkit.slides.colors import AS_IN_FILE, EMBEDDED, Colors, read_profile
from qpkit.slides.icc import IccTransform, icc_transform
from qpkit.slides.openslide import OpenSlideReader, is_openslides_alone, vendor_of
from qpkit.slides.raster import RasterReader
from qpkit.slides.tiff import TiffReader
from qpkit.slides.views import Step
from qpkit.slides.zarr import ZarrReader

ReaderName = Literal["auto", "tiff", "openslide", "raster", "zarr"]
READERS: Final[tuple[ReaderName, ...]] = get_args(ReaderName)
"""What --reader can be. "auto" takes the first that can, in this order."""

_ZARR_NAMES: Final = (".zgroup", ".zattrs", "zarr.json")


def open_slide(
    path: AnyPath,
    *,
    mpp: float | None = None,
    reader: str = "auto",
    series: int = 0,
    to_bounds: bool = True,
    steps: Sequence[Step] = (),
    colors: Colors = AS_IN_FILE,
) -> Slide:
    """Open a slide with the first reader that can.

    TIFF, Aperio's and OME-TIFF among them, goes to the fast reader; other slide formats to OpenSlide; plain
    pictures to rasterio; folders of OME-Zarr to zarr.

    Args:
        path: A file, a folder of DICOM files or an OME-Zarr folder.
        mpp: um per level-0 px that overrides what the file says.
        reader: "auto", or the one reader to use (see READERS).
        series: Which image of a file that has several.
        to_bounds: Crop to OpenSlide's bounds, as QuPath does.
        steps: How the pixels are shown: crops, turns, mirrors, in their order.
        colors: In which colours.

    Raises:
        ProjectError: Nothing is there.
        FormatError: No reader can open it; the message has each reader's reason.
        ConfigError: There is no such reader, or no ICC profile that it can be shown by.
        MissingExtraError: It takes a package that is not installed.
    """
    require_reader(reader)
    path = Path(path)
    if not path.exists():
        raise ProjectError(f"{path}: no such slide")
    if path.is_dir() and not is_zarr(path):
        path = _dicom_file(path)
    known: dict[str, Callable[[], SlideReader]] = {
        "tiff": lambda: TiffReader(path, series=series, background=colors.background),
        "openslide": lambda: OpenSlideReader(path, to_bounds=to_bounds, background=colors.background),
        "raster": lambda: RasterReader(path, background=colors.background),
        "zarr": lambda: ZarrReader(path, series=series),
    }
    found = _first_that_can(path, known, _candidates(path, reader, series))
    return Slide(found, mpp=mpp, steps=steps, recolor=_recolor(path, found, colors))


def open_source(source: SlideSource) -> Slide:
    """Open a slide as its source says (see `open_slide`)."""
    slide = open_slide(
        source.path,
        mpp=source.mpp,
        reader=source.reader,
        series=source.series,
        to_bounds=source.to_bounds,
        steps=source.steps,
        colors=source.colors,
    )
    if source.mpp_note:
        slide.info = replace(slide.info, mpp=source.mpp, mpp_note=source.mpp_note, pixel_size=None)
    return slide


def require_reader(name: str) -> None:
    """Raise unless there is such a reader.

    Raises:
        ConfigError: There is none.
    """
    if name not in READERS:
        raise ConfigError(f"--reader {name!r}: has to be {', '.join(READERS[:-1])} or {READERS[-1]}")


def is_zarr(folder: Path) -> bool:
    """Say whether a folder looks like a Zarr group."""
    return any((folder / name).is_file() for name in _ZARR_NAMES)


def _candidates(path: Path, reader: str, series: int) -> tuple[str, ...]:
    if reader != "auto":
        return (reader,)
    if path.is_dir():
        return ("zarr",)
    if series:
        return ("tiff",)  # only TIFF files have several images
    return ("openslide",) if is_openslides_alone(vendor_of(path)) else ("tiff", "openslide", "raster")


def _first_that_can(path: Path, known: dict[str, Callable[[], SlideReader]], names: Sequence[str]) -> SlideReader:
    if path.is_file() and path.stat().st_size == 0:
        raise FormatError(f"{path}: cannot be opened as a slide: the file is empty (0 bytes); copy it again")
    reasons = []
    for name in names:
        try:
            return known[name]()
        # Another reader would show its first channel as grey.
        except NotRgbError:
            raise
        except FormatError as err:
            reasons.append(str(err).removeprefix(f"{path}: "))
    raise FormatError(f"{path}: cannot be opened as a slide: {listed(reasons, joint='; ')}")


def _recolor(path: Path, reader: SlideReader, colors: Colors) -> IccTransform | None:
    """The transform by which a slide is shown.

    Raises:
        ConfigError: A profile is missing, or cannot be used.
    """
    if not colors.icc:
        return None
    try:
        source = reader.icc_profile() if colors.icc == EMBEDDED else read_profile(Path(colors.icc))
        if source is None:
            raise FormatError("it has none")
        return icc_transform(source, read_profile(Path(colors.target)) if colors.target else None)
    except FormatError as err:
        reader.close()
        raise ConfigError(
            f"{path.name} cannot be shown {colors}: {err}; give a profile with --icc PATH, or take the file's colours "
            "with --icc none"
        ) from err


def _dicom_file(folder: Path) -> Path:
    """Any file of a DICOM folder leads OpenSlide to the whole series."""
    files = sorted(folder.glob("*.dcm"))
    if not files:
        raise ProjectError(f"{folder}: a folder without .dcm files and no OME-Zarr is not a slide")
    return files[0]
