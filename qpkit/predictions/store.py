"""Rasters and predictions.json on disk. Knows nothing of models, projects or polygons.

A label raster is a tiled, deflated uint8 GeoTIFF with overviews in the frame of the run's resolution: pixel (row r,
column c) covers slide px [c * downsample, (c + 1) * downsample) x [r * downsample, ...). The transform says the same,
the resolution tags give um per px, the colour table the classes' colours, so that any viewer (QuPath too) shows it.
A probability raster has one uint8 band per trained value, 255 = probability 1.

Blocks in which nothing but 0 was written (or another value to fill up with) are one block of the file, so that glass
takes no room.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import rasterio
import tifffile
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # what write raises has no public name
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from qpkit.core.labels import LabelMap, label_map_from_builtins, label_map_to_builtins
from qpkit.core.tiles import Tile
from qpkit.cores import available_cores
from qpkit.errors import FormatError, OutputError, listed
from qpkit.files import pretty_json, replace_file
from qpkit.predictions.overviews import complete
from qpkit.rasters import open_raster

INFO_NAME = "predictions.json"
FORMAT = "qpkit predictions 1"
BLOCK: Final = 512

# GDAL keeps blocks up to 5 % of the machine's memory; rasters are read in strips, each block once. In MB.
os.environ.setdefault("GDAL_CACHEMAX", "128")


class SlidePrediction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One slide's rasters and where the slide was.

    Args:
        name: Slide or entry name, unique in the set.
        image: Path of the slide when it was predicted.
        entry: Id of the QuPath entry, or "" for a slide without a project.
        width, height: Level-0 px of the slide.
        downsample: Slide px per raster px.
        mpp: um per raster px, or None if unknown.
        labels: Label raster, relative to predictions.json.
        probabilities: Probability raster, relative, or None.
        instances: Raster of 32 bit in which each number but 0 is an object, relative, or None.
        uncertainty: Raster of 8 bit: entropy and, of several looks, their spread, relative, or None.
        ome_zarr: The labels once more, as a folder of OME-Zarr 0.5, relative, or None.
        within: Inside which annotations was predicted, in words; elsewhere labels are the label map's `ignore`. None if
            all of the slide was.
    """

    name: str
    image: str
    entry: str = ""
    width: int
    height: int
    downsample: float
    mpp: float | None = None
    labels: str
    probabilities: str | None = None
    instances: str | None = None
    uncertainty: str | None = None
    ome_zarr: str | None = None
    within: str | None = None

    @property
    def rasters(self) -> tuple[str, ...]:
        """Names of all of its files."""
        names = (self.labels, self.probabilities, self.instances, self.uncertainty, self.ome_zarr)
        return tuple(name for name in names if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSet:
    """A predictions folder, opened.

    Args:
        root: The folder.
        run: Id of the run that made it; imports replace objects by it.
        model: Name of the recipe or model.
        label_map: What the rasters' values mean; a probability raster's band i is trained_values[i].
        slides: In the order predicted.
        info: Everything else that predictions.json says (settings, versions, provenance).
        notes: What the user has to know about the rasters; not in the file.
    """

    root: Path
    run: str
    model: str
    label_map: LabelMap
    slides: tuple[SlidePrediction, ...]
    info: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class _PredictionsFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    format: str
    run: str
    model: str
    labels: dict[str, Any]
    slides: list[SlidePrediction]
    info: dict[str, Any]


def write_predictions(predictions: PredictionSet) -> None:
    """Write predictions.json into predictions.root."""
    record = _PredictionsFile(
        format=FORMAT,
        run=predictions.run,
        model=predictions.model,
        labels=label_map_to_builtins(predictions.label_map),
        slides=list(predictions.slides),
        info=dict(predictions.info),
    )
    replace_file(predictions.root / INFO_NAME, pretty_json(record) + b"\n")


def read_predictions(root: Path) -> PredictionSet:
    """Open a predictions folder.

    Raises:
        FormatError: predictions.json is missing, damaged or of another version, or a raster is gone.
    """
    path = root / INFO_NAME
    if not path.is_file():
        raise FormatError(f"{root}: no {INFO_NAME} there; make one with: qpkit predict RUN PROJECT -o {root}")
    try:
        record = msgspec.json.decode(path.read_bytes(), type=_PredictionsFile)
    except msgspec.DecodeError as err:
        raise FormatError(f"{path}: not a predictions file ({err})") from err
    if record.format != FORMAT:
        raise FormatError(f"{path}: format is {record.format!r}, this qpkit reads {FORMAT!r}")
    gone = [name for slide in record.slides for name in slide.rasters if not (root / name).exists()]
    if gone:
        raise FormatError(f"{path}: rasters are gone: {listed(gone)}; predict again")
    labels = label_map_from_builtins(record.labels)
    for slide in record.slides:
        _check_raster(root / slide.labels, slide, bands=1)
        if slide.probabilities is not None:
            _check_raster(root / slide.probabilities, slide, bands=len(labels.trained_values))
        if slide.instances is not None:
            _check_raster(root / slide.instances, slide, bands=1)
        if slide.uncertainty is not None:
            _check_raster(root / slide.uncertainty, slide, bands=None)
    return PredictionSet(
        root=root,
        run=record.run,
        model=record.model,
        label_map=labels,
        slides=tuple(record.slides),
        info=record.info,
    )


def _check_raster(path: Path, slide: SlidePrediction, *, bands: int | None) -> None:
    """Raise FormatError unless a raster is as large as its row of predictions.json makes it; None is any bands."""
    try:
        with open_raster(path) as dataset:
            found = (dataset.width, dataset.height, dataset.count)
    except RasterioError as err:
        raise FormatError(f"{path}: raster cannot be read ({err})") from err
    size = _level_px(slide.width, slide.downsample), _level_px(slide.height, slide.downsample)
    wanted = (*size, found[2] if bands is None else bands)
    if found != wanted:
        raise FormatError(
            f"{path}: is {found[0]} x {found[1]} px with {found[2]} band(s), but {INFO_NAME} makes it "
            f"{wanted[0]} x {wanted[1]} with {wanted[2]}"
        )


def _level_px(slide_px: int, downsample: float) -> int:
    # As TileGrid rounds.
    return max(1, math.ceil(slide_px / downsample - 1e-6))


def read_strips(path: Path, *, rows: int, dtype: str = "uint8") -> Iterator[tuple[int, NDArray[Any]]]:
    """Read a raster strip by strip from the top: (y, (bands, h, w) of `dtype`) with at most `rows` rows each.

    Raises:
        FormatError: The file is damaged or of another type.
    """
    try:
        with open_raster(path) as dataset:
            if dataset.dtypes[0] != dtype:
                raise FormatError(f"{path}: values are {dataset.dtypes[0]}, here they have to be {dtype}")
            for y in range(0, dataset.height, rows):
                height = min(rows, dataset.height - y)
                yield y, dataset.read(window=Window(0, y, dataset.width, height))
    except RasterioError as err:
        raise FormatError(f"{path}: raster cannot be read ({err})") from err


@contextlib.contextmanager
def window_reader(path: Path) -> Iterator[Callable[[int, int, int, int], NDArray[np.uint8]]]:
    """Give a function that reads windows of a raster: (x, y, w, h) inside it, to (bands, h, w) uint8; for one thread.

    Raises:
        FormatError: The file is damaged.
    """
    try:
        with open_raster(path) as dataset:
            yield lambda x, y, width, height: dataset.read(window=Window(x, y, width, height))
    except RasterioError as err:
        raise FormatError(f"{path}: raster cannot be read ({err})") from err


def read_window(path: Path, tile: Tile, *, raster_downsample: float) -> NDArray[np.uint8]:
    """Read the labels under a tile of any downsample, nearest pixel; outside the raster is 0.

    Returns:
        (h, w) uint8 with h, w = tile.array_shape.
    """
    rows, columns = tile.array_shape
    scale = tile.downsample / raster_downsample
    window = Window(tile.array_x * scale, tile.array_y * scale, columns * scale, rows * scale)
    with _quiet(), open_raster(path) as dataset:
        pixels = dataset.read(
            1, window=window, out_shape=(rows, columns), boundless=True, fill_value=0, resampling=Resampling.nearest
        )
    return np.asarray(pixels, dtype=np.uint8)


def strip_count(slide: SlidePrediction, *, rows: int) -> int:
    """How many strips read_strips gives for a slide's label raster."""
    return math.ceil(_level_px(slide.height, slide.downsample) / rows)


class RasterWriter:
    """Windows of pixels into a raster that create_raster opened. One thread at a time."""

    def __init__(self, dataset: Any, fill: int = 0) -> None:
        self._dataset, self._fill = dataset, fill
        self.width: int = dataset.width
        self.height: int = dataset.height
        self.bands: int = dataset.count
        self.filled = np.zeros((self.bands, -(-self.height // BLOCK), -(-self.width // BLOCK)), bool)

    def write(self, pixels: NDArray[Any], *, x: int, y: int, band: int | None = None) -> None:
        """Write pixels with their top-left corner at column x, row y; what sticks out is cut.

        Args:
            pixels: (h, w) or (bands, h, w), of the raster's type.
            x, y: Where to.
            band: From 0, if (h, w) pixels are for one band of several.

        Raises:
            OutputError: They cannot be written.
        """
        stack = pixels[np.newaxis] if pixels.ndim == 2 else pixels
        stack = stack[:, max(0, -y) : max(0, self.height - y), max(0, -x) : max(0, self.width - x)]
        x, y = max(0, x), max(0, y)
        if not (stack.shape[1] and stack.shape[2]):
            return
        window = Window(x, y, stack.shape[2], stack.shape[1])
        indexes = list(range(1, self.bands + 1)) if band is None else [band + 1]
        self._note_filled(stack, x, y, indexes[0] - 1)
        try:
            with rasterio.Env():  # in which GDAL's errors are raised, and not printed
                self._dataset.write(stack, indexes, window=window)
        except (RasterioError, CPLE_BaseError) as err:
            raise OutputError(f"{self._dataset.name}: raster cannot be written ({err}); is the disk full?") from err

    def _note_filled(self, stack: NDArray[Any], x: int, y: int, first: int) -> None:
        """Remember in which blocks something else than the fill was written: they have to be in the file."""
        bands, rows, columns = stack.shape
        for row in range(y // BLOCK, (y + rows - 1) // BLOCK + 1):
            for col in range(x // BLOCK, (x + columns - 1) // BLOCK + 1):
                if self.filled[first : first + bands, row, col].all():
                    continue
                top, left = max(0, row * BLOCK - y), max(0, col * BLOCK - x)
                block = stack[:, top : (row + 1) * BLOCK - y, left : (col + 1) * BLOCK - x]
                self.filled[first : first + bands, row, col] |= (block != self._fill).any(axis=(1, 2))


@contextlib.contextmanager
def create_raster(
    path: Path,
    *,
    width: int,
    height: int,
    downsample: float,
    mpp: float | None,
    bands: int = 1,
    dtype: str = "uint8",
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    nearest: bool = True,
    fill: int = 0,
) -> Iterator[RasterWriter]:
    """Create a tiled GeoTIFF with overviews and give a writer for its windows.

    Args:
        path: File to make.
        width, height: Raster px.
        downsample: Slide px per raster px (goes into the transform).
        mpp: um per raster px (goes into the resolution tags), or None.
        bands: 1 for labels, one per trained value for probabilities.
        dtype: "int32" for numbers of objects.
        colors: RGB by value: a colour table, for one band only.
        nearest: Overviews pick a pixel (labels) instead of averaging (probabilities).
        fill: What pixels are that nobody writes.
    """
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": dtype,
        "count": bands,
        "width": width,
        "height": height,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "interleave": "band",
        "sparse_ok": True,
        "num_threads": available_cores(),  # compress; the file is the same whatever their number
        "bigtiff": "if_safer",  # how large it gets compressed is not known yet
        "transform": Affine(downsample, 0, 0, 0, downsample, 0),
        "nodata": fill or None,  # what GDAL completes blocks with
    }
    # Not as its own context manager, which the thread that opens it would have to leave.
    dataset = open_raster(path, "w", **profile)
    try:
        if mpp is not None:
            per_cm = f"{1e4 / mpp:.6f}"
            dataset.update_tags(TIFFTAG_XRESOLUTION=per_cm, TIFFTAG_YRESOLUTION=per_cm, TIFFTAG_RESOLUTIONUNIT="3")
        if colors is not None and bands == 1:
            dataset.write_colormap(1, {value: (*rgb, 255) for value, rgb in colors.items()})
        writer = RasterWriter(dataset, fill)
        yield writer
        dataset.nodata = None
    finally:
        with rasterio.Env():
            dataset.close()
    _check_complete(path, writer.filled)
    try:
        complete(path, writer.filled, np.full((BLOCK, BLOCK), fill, dtype), nearest=nearest)
    except (OSError, tifffile.TiffFileError, ValueError) as err:
        raise OutputError(f"{path}: raster cannot be written in full ({err}); is the disk full?") from err
    _check_complete(path, writer.filled)


def _check_complete(path: Path, filled: NDArray[np.bool_]) -> None:
    """Make sure that every block is in the file: GDAL says nothing when the disk fills up while it closes a file.

    Args:
        path: The raster.
        filled: (bands, rows, columns) blocks that hold something else than 0; the others may be missing. Those of
            overviews never are.

    Raises:
        OutputError: A block is missing or lies behind the end of the file.
    """
    size = path.stat().st_size
    try:
        with tifffile.TiffFile(path) as tiff:
            ends = [
                np.where(counts > 0, np.array(page.dataoffsets, np.int64) + counts, 0)
                for page in tiff.pages
                for counts in [np.array(page.databytecounts, np.int64)]
            ]
    except (tifffile.TiffFileError, ValueError, IndexError) as err:
        raise OutputError(f"{path}: raster was not written in full ({err}); is the disk full?") from err
    wanted = [filled.ravel(), *(np.ones(len(page), bool) for page in ends[1:])]
    whole = len(ends) > 0 and len(ends[0]) == filled.size
    if not whole or any(
        not len(there) or (there[needed] == 0).any() or there.max() > size
        for there, needed in zip(ends, wanted, strict=True)
    ):
        raise OutputError(f"{path}: raster was not written in full; is the disk full?")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """GDAL warns that a raster without a map projection has none; slides never have one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
