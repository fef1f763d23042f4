from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import openslide
import pytest
import rasterio
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile
from qpkit.errors import FormatError, OutputError
from qpkit.predictions import PredictionSet, SlidePrediction, create_raster, read_predictions, write_predictions
from qpkit.predictions.store import BLOCK, _check_complete, read_strips, read_window

LABELS = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",), -3670016), LabelClass("Stroma", 2, ("Stroma",))))


def labels(height: int = 1300, width: int = 1700) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return ((np.hypot(rows - 600, columns - 900) < 400) + 2 * (columns > 1400)).astype(np.uint8).clip(0, 2)


def write(path: Path, pixels: np.ndarray, tile: int = 512) -> None:
    height, width = pixels.shape
    colors = {1: (200, 0, 0), 2: (0, 150, 0)}
    with create_raster(path, width=width, height=height, downsample=2.0, mpp=0.5, colors=colors) as raster:
        for y in range(0, height, tile):
            for x in range(0, width, tile):
                padded = np.zeros((tile, tile), dtype=np.uint8)
                part = pixels[y : y + tile, x : x + tile]
                padded[: part.shape[0], : part.shape[1]] = part
                raster.write(padded, x=x, y=y)


def test_a_raster_reads_back_strip_by_strip(tmp_path: Path) -> None:
    pixels = labels()
    write(tmp_path / "a.tif", pixels)
    strips = list(read_strips(tmp_path / "a.tif", rows=300))
    assert [y for y, _ in strips] == [0, 300, 600, 900, 1200]
    assert np.array_equal(np.concatenate([s[0] for _, s in strips]), pixels)


def test_a_raster_is_a_tiled_georeferenced_pyramid_with_its_resolution(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", labels())
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.profile["tiled"]
        assert dataset.overviews(1) == [2, 4]
        assert dataset.transform * (10, 20) == (20.0, 40.0)
        assert dataset.tags()["TIFFTAG_XRESOLUTION"].startswith("20000")
        assert dataset.colormap(1)[1][:3] == (200, 0, 0)


def test_openslide_which_qupath_uses_opens_a_raster_in_its_colours(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", labels())
    slide = openslide.OpenSlide(tmp_path / "a.tif")
    assert slide.dimensions == (1700, 1300)
    assert slide.level_count == 3
    assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
    assert slide.read_region((900, 600), 0, (1, 1)).getpixel((0, 0))[:3] == (200, 0, 0)


@pytest.mark.parametrize("downsample", [2.0, 4.0, 7.3])
def test_a_window_of_any_downsample_shows_the_raster(tmp_path: Path, downsample: float) -> None:
    pixels = labels()
    write(tmp_path / "a.tif", pixels)
    tile = Tile(col=0, row=0, x=-10, y=5, width=150, height=100, downsample=downsample)
    window = read_window(tmp_path / "a.tif", tile, raster_downsample=2.0)
    assert window.shape == (100, 150)
    assert (window[:, :10] == 0).all()
    step = downsample / 2
    rows = ((np.arange(5, 105) + 0.5) * step).astype(int)
    columns = ((np.arange(0, 140) + 0.5) * step).astype(int)
    expected = pixels[rows.clip(0, 1299)][:, columns.clip(0, 1699)]
    assert (window[:, 10:] == expected).mean() > 0.98


def prediction_set(root: Path, **changes: object) -> PredictionSet:
    slide = SlidePrediction(
        name="s", image="/x/s.svs", width=3400, height=2600, downsample=2.0, mpp=0.5, labels="a.tif"
    )
    values: dict[str, object] = {
        "root": root, "run": "r", "model": "m", "label_map": LABELS, "slides": (slide,), "info": {"halo": 64},
    }  # fmt: skip
    return PredictionSet(**(values | changes))  # type: ignore[arg-type]


def test_predictions_read_back_as_written(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", labels())
    written = prediction_set(tmp_path)
    write_predictions(written)
    assert read_predictions(tmp_path) == written


def test_predictions_without_their_rasters_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="qpkit predict"):
        read_predictions(tmp_path)
    write_predictions(prediction_set(tmp_path))
    with pytest.raises(FormatError, match=r"rasters are gone: a\.tif"):
        read_predictions(tmp_path)
    (tmp_path / "predictions.json").write_text('{"format": "other"}')
    with pytest.raises(FormatError, match="not a predictions file"):
        read_predictions(tmp_path)


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.01])
def test_a_raster_that_did_not_fit_on_the_disk_is_noticed(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.tif"
    write(path, labels())
    rows, columns = (range(0, length, BLOCK) for length in labels().shape)
    filled = np.array([[[labels()[y : y + BLOCK, x : x + BLOCK].any() for x in columns] for y in rows]])
    _check_complete(path, filled)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(OutputError, match="is the disk full"):
        _check_complete(path, filled)


def with_overviews(path: Path, pixels: NDArray[np.uint8], *, fill: int, nearest: bool) -> list[NDArray[np.uint8]]:
    """Write what is not the fill; gives all levels."""
    bands, height, width = pixels.shape
    _, ys, xs = np.nonzero(pixels != fill)
    y, x = (int(found.min(initial=size - 1)) for found, size in ((ys, height), (xs, width)))
    with create_raster(
        path, width=width, height=height, downsample=2.0, mpp=None, bands=bands, nearest=nearest, fill=fill
    ) as raster:
        raster.write(pixels[:, y : y + 300, x : x + 300], x=x, y=y)
    with tifffile.TiffFile(path) as tiff:  # by a reader that knows nothing of GDAL
        assert all(all(page.databytecounts) for page in tiff.pages)
        return [page.asarray().reshape(bands, *page.shape[-2:]) for page in tiff.pages]


def painted(width: int, height: int, bands: int, fill: int) -> NDArray[np.uint8]:
    """Glass with a square of noise, which often ends at the right or lower edge."""
    rng = np.random.default_rng(width * height)
    pixels = np.full((bands, height, width), fill, np.uint8)
    x, y = (int(rng.choice([size - 300, rng.integers(0, size - 300)])) for size in (width, height))
    pixels[:, y : y + 300, x : x + 300] = rng.integers(0, 256, (bands, 300, 300))
    return pixels


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(400, 2100), st.integers(400, 2100), st.sampled_from([1, 2]), st.sampled_from([0, 255]), st.booleans()
)
def test_each_smaller_copy_is_half_of_the_one_before(
    tmp_path: Path, width: int, height: int, bands: int, fill: int, nearest: bool
) -> None:
    pixels = painted(width, height, bands, fill)
    levels = with_overviews(tmp_path / "a.tif", pixels, fill=fill, nearest=nearest)
    assert np.array_equal(levels[0], pixels) and max(levels[-1].shape[1:]) <= BLOCK
    for above, level in itertools.pairwise(levels):
        rows, columns = (-size % 2 for size in above.shape[1:])
        even = np.pad(above, ((0, 0), (0, rows), (0, columns)), mode="edge").astype(int)
        four = [even[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        assert np.array_equal(level, four[0] if nearest else (sum(four) + 2) // 4)


@pytest.mark.parametrize("nearest", [True, False])
def test_smaller_copies_are_those_of_gdal(tmp_path: Path, nearest: bool) -> None:
    pixels = painted(1600, 2080, 2, 0)
    levels = with_overviews(tmp_path / "a.tif", pixels, fill=0, nearest=nearest)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        factors, profile = dataset.overviews(1), dict(dataset.profile)
    assert factors == [2, 4, 8]
    with rasterio.open(tmp_path / "gdal.tif", "w", **profile) as dataset:
        dataset.write(pixels)
        dataset.build_overviews(factors, Resampling.nearest if nearest else Resampling.average)
    for number, level in enumerate(levels[1:]):
        with rasterio.open(tmp_path / "gdal.tif", overview_level=number) as dataset:
            assert np.array_equal(dataset.read(), level)


@pytest.mark.parametrize("bands", [1, 3])
def test_what_is_background_takes_no_room_and_reads_as_0(tmp_path: Path, bands: int) -> None:
    path, pixels = tmp_path / "a.tif", np.zeros((bands, 1300, 1400), np.uint8)
    pixels[-1, 700:900, 500:800] = 7
    with create_raster(path, width=1400, height=1300, downsample=1.0, mpp=None, bands=bands) as raster:
        raster.write(pixels[:, :1000], x=0, y=0)
        raster.write(pixels[-1, 1000:], x=0, y=1000, band=bands - 1)
    with tifffile.TiffFile(path) as tiff:
        places = np.array(tiff.pages[0].dataoffsets).reshape(bands, 3, 3)
        assert all(tiff.pages[0].databytecounts)
        assert np.array_equal(tiff.pages[0].asarray().reshape(pixels.shape), pixels)
        assert all(all(page.databytecounts) for page in tiff.pages[1:])
    expected = np.zeros((bands, 3, 3), bool)
    expected[-1, 1, :2] = True
    empty = places[0, 0, 0]
    assert np.array_equal(places != empty, expected)
    if bands == 1:  # by libtiff, which reads no block that is missing
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), pixels[0])
    assert np.array_equal(np.concatenate([strip for _, strip in read_strips(path, rows=512)], axis=1), pixels)
    _check_complete(path, np.ones_like(expected))


def test_a_damaged_raster_is_a_format_error(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0 nothing")
    with pytest.raises(FormatError, match="cannot be read"):
        list(read_strips(tmp_path / "a.tif", rows=10))
