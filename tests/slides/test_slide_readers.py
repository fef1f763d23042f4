"""Where two readers can read one file the pixels are equal; the exceptions are listed here, with reason and bound."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError, FormatError
from qpkit.slides import Slide, open_slide
from qpkit.slides.openslide import is_openslides
from qpkit.slides.tiff import TiffReader

READERS = ("tiff", "openslide", "raster")

SLIDES = (
    "slides/openslide-testdata/CMU-1-Small-Region.svs",
    "slides/openslide-python/boxes.tiff",
    "slides/openslide-python/small.svs",
    "slides/openslide-python/unreadable.svs",
    "slides/openslide-python/unopenable.tiff",
    "slides/pathology-whole-slide-packer/example.tif",
    "slides/2022-qupath-cell-detection/OS-1-detail.ome.tif",
    "slides/2022-qupath-cell-detection/OS-2-vsi.ome.tif",
    "slides/slideio-tutorial/test3-TRITC 2 (560).ndpi",
    "slides/histoprep/slide.jpeg",
    "slides/histoprep/tma_spots.jpeg",
    "slides/scikit-image/ihc.png",
    "slides/napari-wsi/CMU-1-Small-Region-dicom",
    "projects/composed-train/slides/P1 (train).svs",
    "projects/composed-train/slides/P2_train.tif",
    "projects/composed-train/slides/P3_val.ome.tif",
    "projects/composed-train/slides/P4_test.svs",
)

OPENED = {
    "CMU-1-Small-Region.svs": {"tiff", "openslide", "raster"},
    "boxes.tiff": {"tiff", "openslide", "raster"},
    "small.svs": {"tiff", "openslide", "raster"},
    "unreadable.svs": {"tiff", "openslide", "raster"},  # opens, but no pixel of it can be read
    "unopenable.tiff": set[str](),
    "example.tif": {"tiff", "openslide", "raster"},
    "OS-1-detail.ome.tif": {"tiff", "raster"},
    "OS-2-vsi.ome.tif": {"tiff", "raster"},
    "test3-TRITC 2 (560).ndpi": {"openslide", "raster"},
    "slide.jpeg": {"raster"},
    "tma_spots.jpeg": {"raster"},
    "ihc.png": {"raster"},
    "CMU-1-Small-Region-dicom": {"openslide"},
    "P1 (train).svs": {"tiff", "openslide", "raster"},
    "P2_train.tif": {"tiff", "openslide", "raster"},
    "P3_val.ome.tif": {"tiff", "openslide", "raster"},
    "P4_test.svs": {"tiff", "openslide", "raster"},
}

RASTER_BOUND = 30
"""GDAL lets libtiff enlarge the colours of JPEG in YCbCr 4:2:0 tiles in its own way: up to 27 grey levels, 0.6 on
average. The raster reader is the last resort for TIFF."""

RASTER_DIFFERS = ("example.tif", "P1 (train).svs", "P2_train.tif", "P3_val.ome.tif", "P4_test.svs")

UNREADABLE_BY_RASTER = ("OS-1-detail.ome.tif", "OS-2-vsi.ome.tif")
"""GDAL opens these, but not one of their tiles: JPEG with JFIF headers under an RGB tag, as Bio-Formats writes it."""

BLENDED = {("P1 (train).svs", 3): 5}
"""OpenSlide's downsample of this level is 8.001 by its rounded size, and no place near by is whole in both: neighbours
are blended by up to 4 grey levels, 0.5 on average."""


def parts(slide: Slide, level: int) -> Iterator[tuple[int, int, int, int]]:
    """The corner, the middle and the far corner of a level, across tile borders."""
    width, height = slide.reader.level_size(level)
    w, h = min(width, 600), min(height, 600)
    yield from {(0, 0, w, h), ((width - w) // 2, (height - h) // 2, w, h), (width - w, height - h, w, h)}


def opened(path: Path) -> dict[str, Slide]:
    found = {}
    for reader in READERS:
        try:
            found[reader] = open_slide(path, reader=reader)
        except FormatError:
            continue
    return found


@pytest.mark.parametrize("name", SLIDES)
def test_readers_that_open_one_file_show_equal_pixels(shared: Path, name: str) -> None:
    path = shared / "data" / name
    slides = opened(path)
    assert set(slides) == OPENED[path.name]
    for a, b in itertools.combinations(slides, 2):
        one, other = slides[a], slides[b]
        assert (one.info.width, one.info.height) == (other.info.width, other.info.height)
        for level in range(min(len(one.info.downsamples), len(other.info.downsamples))):
            assert one.reader.level_size(level) == other.reader.level_size(level)
            for x, y, width, height in parts(one, level):
                where = {"x": x, "y": y, "width": width, "height": height}
                if path.name == "unreadable.svs" or ("raster" in (a, b) and path.name in UNREADABLE_BY_RASTER):
                    with pytest.raises(FormatError):
                        slides["openslide" if path.name == "unreadable.svs" else "raster"].reader.read_level(
                            level, **where
                        )
                    continue
                difference = np.abs(
                    one.reader.read_level(level, **where).astype(int) - other.reader.read_level(level, **where)
                )
                assert difference.max() <= bound(path, level, a, b), (a, b, level)
                assert difference.mean() <= 0.7, (a, b, level)
    for slide in slides.values():
        slide.close()


def bound(path: Path, level: int, a: str, b: str) -> int:
    if "raster" in (a, b):
        return RASTER_BOUND if path.name in RASTER_DIFFERS else 0
    return BLENDED.get((path.name, level), 0)


def test_every_slide_of_the_shared_data_is_compared(shared: Path) -> None:
    folders = [shared / "data/slides", shared / "data/projects/composed-train/slides"]
    there = {p.parent if p.suffix == ".dcm" else p for folder in folders for p in folder.rglob("*") if p.is_file()}
    assert {p.relative_to(shared / "data").as_posix() for p in there} == set(SLIDES)


@pytest.mark.parametrize("name", [name for name in SLIDES if "tiff" in OPENED[Path(name).name]])
def test_tiled_tiff_goes_to_the_fast_reader_by_itself(shared: Path, name: str) -> None:
    with open_slide(shared / "data" / name) as slide:
        assert slide.reader.name == "tiff"


def test_openslide_is_asked_where_it_does_not_blend(shared: Path) -> None:
    """7,100 / 443 is not 16: between whole places OpenSlide blends. The tiles in the file say what is right."""
    path = shared / "data/projects/composed-train/slides/P4_test.svs"
    page = tifffile.imread(path, key=5)[50:150, 100:300]
    with openslide.OpenSlide(path) as slide:
        downsample = slide.level_downsamples[5]
        corner = (round(100 * downsample), round(50 * downsample))
        plain = np.asarray(slide.read_region(corner, 5, (200, 100)).convert("RGB"))
    assert not np.array_equal(plain, page)
    for reader in ("tiff", "openslide"):
        with open_slide(path, reader=reader) as opened_slide:
            assert np.array_equal(opened_slide.reader.read_level(5, x=100, y=50, width=200, height=100), page)


@pytest.mark.parametrize("name", SLIDES)
def test_quPath_is_given_openslide_for_what_openslide_sees_in_full(shared: Path, name: str) -> None:
    path = shared / "data" / name
    assert is_openslides(path) == ("openslide" in OPENED[path.name] and ".ome." not in name)


def test_a_reader_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--reader 'gdal'"):
        open_slide(tmp_path, reader="gdal")


def tissue(width: int = 700, height: int = 500) -> NDArray[np.uint8]:
    """Smooth colours with some noise, so that JPEG has something to lose."""
    y, x = np.mgrid[:height, :width]
    base = np.stack([120 + 100 * np.sin(x / 40), 120 + 100 * np.cos(y / 30), 120 + 90 * np.sin((x + y) / 25)], axis=-1)
    noise = np.random.default_rng(1).normal(0, 12, base.shape)
    return np.clip(base + noise, 0, 255).astype(np.uint8)


KINDS = {
    "jpeg 4:2:0": {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2)},
    "jpeg 4:2:2": {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 1)},
    "jpeg 4:4:4": {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (1, 1)},
    "jpeg in RGB": {"compression": "jpeg", "photometric": "rgb"},
    "deflate": {"compression": "deflate", "predictor": True, "photometric": "rgb"},
    "lzw": {"compression": "lzw", "photometric": "rgb"},
    "zstd": {"compression": "zstd", "photometric": "rgb"},
    "packbits": {"compression": "packbits", "photometric": "rgb"},
    "none": {"photometric": "rgb"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [(256, 256), (240, 128)])
def test_the_fast_reader_equals_openslide_whatever_the_compression(
    tmp_path: Path, kind: str, side: tuple[int, int]
) -> None:
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as tiff:
        for level in range(2):
            options = {"tile": side, "subfiletype": level, "metadata": None, **KINDS[kind]}
            tiff.write(np.ascontiguousarray(tissue()[:: 2**level, :: 2**level]), **options)
    fast, reference = open_slide(path, reader="tiff"), open_slide(path, reader="openslide")
    for level in range(2):
        for x, y, width, height in [(0, 0, 350, 250), (3, 5, 300, 200), (200, 100, 1, 1), (239, 127, 4, 4)]:
            where = {"x": x, "y": y, "width": width, "height": height}
            assert np.array_equal(fast.reader.read_level(level, **where), reference.reader.read_level(level, **where))


def test_aperios_jpeg_2000_equals_openslide(tmp_path: Path) -> None:
    path = tmp_path / "slide.svs"
    description = "Aperio Image Library v11\r\n700x500 [0,0 700x500] (256x256) J2K/KDU Q=70|AppMag = 20|MPP = 0.4990"
    tifffile.imwrite(
        path, tissue(), tile=(256, 256), photometric="rgb", compression=33005, description=description, metadata=None,
        extratags=[(32997, "I", 1, 1, True)],
    )  # fmt: skip
    fast, reference = open_slide(path), open_slide(path, reader="openslide")
    assert fast.reader.name == "tiff"
    assert fast.info == reference.info
    assert fast.info.mpp == pytest.approx(0.499)
    where = {"x": 5, "y": 7, "width": 600, "height": 400}
    assert np.array_equal(fast.reader.read_level(0, **where), reference.reader.read_level(0, **where))


def test_tiles_that_were_never_written_are_white_in_both(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tiles = iter([tissue(256, 256), None, None, tissue(256, 256)])
    tifffile.imwrite(
        path, tiles, shape=(512, 512, 3), dtype=np.uint8, tile=(256, 256), photometric="rgb", compression="deflate",
        metadata=None,
    )  # fmt: skip
    for reader in ("tiff", "openslide"):
        with open_slide(path, reader=reader) as slide:
            pixels = slide.reader.read_level(0, x=0, y=0, width=512, height=512)
        assert np.array_equal(pixels[:256, :256], tissue(256, 256))
        assert (pixels[:256, 256:] == 255).all()


def test_grey_tiff_is_shown_in_rgb(tmp_path: Path) -> None:
    grey = tissue()[..., 0]
    tifffile.imwrite(tmp_path / "grey.tif", grey, tile=(128, 128), compression="deflate", metadata=None)
    for reader in ("tiff", "openslide"):
        with open_slide(tmp_path / "grey.tif", reader=reader) as slide:
            shown = slide.reader.read_level(0, x=1, y=2, width=300, height=200)
        assert np.array_equal(shown, np.stack([grey[2:202, 1:301]] * 3, axis=-1))


@pytest.mark.parametrize("name", ["slide.ome.tif", "slide.tif"])
def test_jpeg_tiles_with_a_jfif_header_under_an_rgb_tag(tmp_path: Path, name: str) -> None:
    """Bio-Formats writes OME-TIFF so, and the header is right; elsewhere the tag counts, as OpenSlide reads it."""
    path, is_ome = tmp_path / name, name == "slide.ome.tif"
    pixels = tissue(256, 256)
    packed = imagecodecs.jpeg8_encode(pixels, level=95, subsampling="444")
    assert b"JFIF" in packed[:12]
    metadata = {"axes": "YXS"} if is_ome else None
    tifffile.imwrite(
        path, iter([packed]), shape=pixels.shape, dtype=np.uint8, tile=(256, 256), photometric="rgb", ome=is_ome,
        compression="jpeg", metadata=metadata,
    )  # fmt: skip
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["PhotometricInterpretation"].overwrite(2)
    with open_slide(path, reader="tiff") as slide:
        shown = slide.reader.read_level(0, x=0, y=0, width=256, height=256)
    if is_ome:
        assert np.abs(shown.astype(int) - pixels).mean() < 5
    else:
        with open_slide(path, reader="openslide") as slide:
            assert np.array_equal(shown, slide.reader.read_level(0, x=0, y=0, width=256, height=256))
        assert np.abs(shown.astype(int) - pixels).mean() > 20


def test_levels_are_sorted_however_they_lie_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as tiff:
        for step in (1, 4, 2):
            pixels = np.ascontiguousarray(tissue(640, 512)[::step, ::step])
            tiff.write(pixels, tile=(64, 64), photometric="rgb", subfiletype=int(step > 1), metadata=None)
        tiff.write(tissue(640, 512), tile=(64, 64), photometric="rgb", metadata=None)  # not marked as reduced: no level
    fast, reference = open_slide(path, reader="tiff"), open_slide(path, reader="openslide")
    assert fast.info.downsamples == reference.info.downsamples == (1.0, 2.0, 4.0)
    assert np.array_equal(fast.reader.read_level(2, x=0, y=0, width=160, height=128), tissue(640, 512)[::4, ::4])


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_transparent_pixels_of_tiff_are_shown_on_white(tmp_path: Path, kind: str) -> None:
    alpha = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, 0)
    black_or_red = np.zeros((256, 256, 3), np.uint8)
    black_or_red[128:, :, 0] = alpha[128:]
    path = tmp_path / "alpha.tif"
    pixels = np.dstack([black_or_red, alpha])
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", extrasamples=[kind], metadata=None)
    for reader, near in (("tiff", 0), ("openslide", 2)):  # OpenSlide rounds more than once
        with open_slide(path, reader=reader) as slide:
            shown = slide.reader.read_level(0, x=0, y=0, width=256, height=256).astype(int)
        assert np.abs(shown[:128] - (255 - alpha[:128, :, None].astype(int))).max() <= near
        red = alpha[128:].astype(float)
        wanted = 255 if kind != "unassalpha" else np.floor(red * red / 255 + 255 - red + 0.5)
        assert np.abs(shown[128:, :, 0] - wanted).max() <= near


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_of_png_are_shown_on_white(tmp_path: Path, mode: str) -> None:
    alpha = np.repeat(np.arange(256, dtype=np.uint8)[None], 8, 0)
    bands = np.dstack([np.zeros((8, 256, len(mode) - 1), np.uint8), alpha])
    Image.fromarray(bands).convert(mode).save(tmp_path / "glass.png")
    with open_slide(tmp_path / "glass.png") as slide:
        shown = slide.reader.read_level(0, x=0, y=0, width=256, height=8)
    assert np.array_equal(shown, np.repeat(255 - alpha[..., None], 3, axis=-1))


@pytest.mark.parametrize("channels", [2, 5])
def test_channels_are_not_shown_as_grey_or_rgb(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "channels.tif"
    pixels = np.zeros((40, 40, channels), np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig", metadata=None)
    with pytest.raises(FormatError, match=f"{channels} channels of uint8"):
        open_slide(path)


def rows_of(path: Path) -> NDArray[np.uint8]:
    with open_slide(path) as slide:
        return slide.read(Tile(col=0, row=0, x=10, y=20, width=500, height=400, downsample=1.0))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "slide.tif"
    options = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2)}
    tifffile.imwrite(path, tissue(), tile=(64, 64), metadata=None, **options)
    return path


@pytest.mark.parametrize(
    ("name", "reader"),
    [("a.tif", "tiff"), ("a.tif", "openslide"), ("a.tif", "raster"), ("a.png", "raster"), ("a.jpg", "raster")],
)
def test_threads_may_share_a_slide(large: Path, name: str, reader: str) -> None:
    path = large.with_name(name)
    if name == "a.tif":
        large.rename(path)
    else:
        Image.fromarray(tissue()).save(path)
    slide = open_slide(path, reader=reader)
    assert slide.reader.name == reader
    whole = slide.reader.read_level(0, x=0, y=0, width=700, height=500)
    places = [(x, y) for y in range(0, 400, 37) for x in range(0, 600, 53)] * 4

    def matches(place: tuple[int, int]) -> bool:
        x, y = place
        read = slide.reader.read_level(0, x=x, y=y, width=97, height=91)
        return np.array_equal(read, whole[y : y + 91, x : x + 97])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(matches, places))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_read_the_same(large: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for pixels in pool.map(rows_of, [large] * 2):
            assert np.array_equal(pixels, rows_of(large))


def test_the_cache_forgets_but_never_changes_a_pixel(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TiffReader(large).read_level(0, x=0, y=0, width=700, height=500)
    monkeypatch.setattr("qpkit.slides.tiff._CACHE_BYTES", 5 * 64 * 64 * 3)
    reader = TiffReader(large)
    for x in (0, 30, 31, 0, 400, 30):
        assert np.array_equal(reader.read_level(0, x=x, y=9, width=150, height=100), whole[9:109, x : x + 150])
    assert len(reader._cache._tiles) <= 5


def test_a_tile_that_two_reads_share_is_decoded_once(large: Path) -> None:
    reader = TiffReader(large)
    counted: list[int] = []
    content = reader._content
    reader._content = lambda page, index: counted.append(index) or content(page, index)  # type: ignore[method-assign, func-returns-value]
    for x in (0, 10, 20):
        reader.read_level(0, x=x, y=0, width=40, height=40)
    assert counted == [0]
