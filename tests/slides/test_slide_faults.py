"""Slides that are damaged, cut off or lie about their size: one line that says which and why, never wrong pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import from_origin

from qpkit.core.tiles import Tile
from qpkit.errors import FormatError, ProjectError
from qpkit.slides import open_slide
from qpkit.slides.tiff import TiffReader


def picture(width: int = 300, height: int = 200) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path: Path, **options: object) -> Path:
    defaults: dict[str, object] = {"tile": (64, 64), "photometric": "rgb", "metadata": None}
    tifffile.imwrite(path, picture(), **{**defaults, **options})
    return path


WHOLE = Tile(col=0, row=0, x=0, y=0, width=300, height=200)


@pytest.mark.parametrize("name", ["slide.svs", "slide.tif", "slide.ome.tif", "slide.png", "slide.ndpi"])
def test_a_file_of_0_bytes_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(FormatError, match=rf"{name}: .*the file is empty \(0 bytes\)"):
        open_slide(tmp_path / name)


@pytest.mark.parametrize("kept", [3, 8, 9, 40, 150])
@pytest.mark.parametrize("name", ["slide.svs", "slide.ome.tif"])
def test_a_header_that_is_cut_off_is_refused(tmp_path: Path, name: str, kept: int) -> None:
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FormatError, match=r"slide\.\S+: cannot be opened as a slide"):
        open_slide(path)


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("side", [128, 256, 512, 700])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
def test_plain_pictures_that_are_cut_off_are_refused(tmp_path: Path, ending: str, side: int, kept: float) -> None:
    path = tmp_path / f"picture.{ending}"
    Image.fromarray(picture(side, side)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: round(len(content) * kept)])
    whole = Tile(col=0, row=0, x=0, y=0, width=side, height=side)
    with pytest.raises(FormatError, match=rf"picture\.{ending}: "), open_slide(path) as slide:
        slide.read(whole)


@pytest.mark.parametrize("compression", [None, "deflate", "jpeg", "lzw"])
@pytest.mark.parametrize("reader", ["tiff", "openslide"])
def test_tiles_that_are_cut_off_are_named_and_never_made_up(
    tmp_path: Path, compression: str | None, reader: str
) -> None:
    path = write(tmp_path / "slide.tif", compression=compression)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    with pytest.raises(FormatError, match=r"slide\.tif: .*(ends before tile|cannot read it|cannot open it)"):
        open_slide(path, reader=reader).read(WHOLE)


@pytest.mark.parametrize("compression", ["deflate", "jpeg", "lzw", "zstd"])
def test_a_tile_of_noise_is_named(tmp_path: Path, compression: str) -> None:
    path = write(tmp_path / "slide.tif", compression=compression)
    with tifffile.TiffFile(path) as tiff:
        offset, size = tiff.pages[0].dataoffsets[3], tiff.pages[0].databytecounts[3]
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = b"\x13" * size
    path.write_bytes(bytes(content))
    with open_slide(path) as slide:
        assert slide.read(Tile(col=0, row=0, x=0, y=0, width=64, height=64)).shape == (64, 64, 3)
        with pytest.raises(FormatError, match=r"slide\.tif: tile 3 cannot be decoded"):
            slide.read(WHOLE)


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr", "minisblack"])
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_a_jpeg_tile_whose_second_half_was_never_written_is_named(
    tmp_path: Path, photometric: str, filler: bytes
) -> None:
    pixels = picture() if photometric != "minisblack" else picture()[..., 0]
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), compression="jpeg", photometric=photometric, metadata=None)
    assert open_slide(path, reader="tiff").read(WHOLE).shape == (200, 300, 3)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        start, length = page.dataoffsets[3], page.databytecounts[3]
    content = bytearray(path.read_bytes())
    content[start + length // 2 : start + length] = filler * (length - length // 2)
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"slide\.tif: tile 3 cannot be decoded \(its JPEG has no end\)"):
        open_slide(path, reader="tiff").read(WHOLE)


def test_a_tile_of_another_size_than_the_table_says_is_named(tmp_path: Path) -> None:
    small, path = write(tmp_path / "small.tif", tile=(32, 32), compression="jpeg"), tmp_path / "slide.tif"
    write(path, compression="jpeg", compressionargs={"level": 100})
    with tifffile.TiffFile(small) as tiff:
        tiff.filehandle.seek(tiff.pages[0].dataoffsets[0])
        tile = tiff.filehandle.read(tiff.pages[0].databytecounts[0])
    with tifffile.TiffFile(path) as tiff:
        offset, size = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    content = path.read_bytes()
    assert len(tile) <= size
    path.write_bytes(content[:offset] + tile.ljust(size, b"\0") + content[offset + size :])
    for where in (WHOLE, Tile(col=0, row=0, x=5, y=5, width=50, height=50)):
        with open_slide(path) as slide, pytest.raises(FormatError, match="tile 0"):
            slide.read(where)


@pytest.mark.parametrize("compression", [52479, 34892])
def test_an_unknown_compression_is_refused_when_the_slide_is_opened(tmp_path: Path, compression: int) -> None:
    path = write(tmp_path / "slide.tif")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(compression)
    with pytest.raises(FormatError, match=f"TIFF compression {compression} is not known here"):
        open_slide(path, reader="tiff")


@pytest.mark.parametrize(
    ("resolution", "unit", "note"),
    [((72, 72), "INCH", "72 dpi"), ((0, 0), "CENTIMETER", "does not say"), ((20000, 10000), "CENTIMETER", "not square"),
     ((20000, 20000), "NONE", "does not say"), ((1e9, 1e9), "CENTIMETER", "no slide scanner has")],
)  # fmt: skip
def test_a_pixel_size_that_cannot_be_is_none_and_the_note_says_why(
    tmp_path: Path, resolution: tuple[float, float], unit: str, note: str
) -> None:
    path = write(tmp_path / "slide.tif", resolution=resolution, resolutionunit=unit)
    with open_slide(path, reader="tiff") as slide:
        assert slide.info.mpp is None
        assert note in slide.info.mpp_note


@pytest.mark.parametrize("size", ["0", "-1", "nan", "none"])
def test_a_pixel_size_of_nothing_in_ome_xml_is_none(tmp_path: Path, size: str) -> None:
    path = write(tmp_path / "slide.ome.tif", ome=True, metadata={"axes": "YXS", "PhysicalSizeX": 7, "PhysicalSizeY": 7})
    content = path.read_bytes().replace(b'PhysicalSizeX="7"', f'PhysicalSizeX="{size}"'.encode())
    with tifffile.TiffFile(path) as tiff:
        text = tiff.pages[0].description.replace('PhysicalSizeX="7"', f'PhysicalSizeX="{size}"')
    tifffile.tiffcomment(path, text.encode())
    assert content
    with open_slide(path) as slide:
        assert slide.info.mpp is None
        assert slide.info.mpp_note == "the file does not say it"


@pytest.mark.parametrize("tiled", [True, False])
def test_a_map_has_metres_and_no_um(tmp_path: Path, tiled: bool) -> None:
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64} if tiled else {}
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", width=300, height=200, count=3, dtype="uint8", crs="EPSG:32632",
        transform=from_origin(500_000, 5_000_000, 0.25, 0.25), **options,
    ) as target:  # fmt: skip
        target.write(np.moveaxis(picture(), -1, 0))
        target.update_tags(TIFFTAG_XRESOLUTION="20000", TIFFTAG_YRESOLUTION="20000", TIFFTAG_RESOLUTIONUNIT="3")
    with open_slide(tmp_path / "map.tif") as slide:
        assert slide.info.mpp is None
        assert "map" in slide.info.mpp_note
        assert np.array_equal(slide.read(WHOLE), picture())


def test_a_read_larger_than_the_slide_is_white_around_it(tmp_path: Path) -> None:
    with open_slide(write(tmp_path / "slide.tif")) as slide:
        read = slide.read(Tile(col=0, row=0, x=-50, y=-50, width=1000, height=800))
    assert np.array_equal(read[50:250, 50:350], picture())
    read[50:250, 50:350] = 255
    assert (read == 255).all()


def test_a_folder_that_is_no_slide_says_what_it_could_be(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"without \.dcm files and no OME-Zarr"):
        open_slide(tmp_path)


def test_an_openslide_that_has_failed_once_goes_on_failing_in_one_line(shared: Path) -> None:
    slide = open_slide(shared / "data/slides/openslide-python/unreadable.svs", reader="openslide")
    for _ in range(2):
        with pytest.raises(FormatError, match=r"unreadable\.svs: OpenSlide cannot read it"):
            slide.read(Tile(col=0, row=0, x=0, y=0, width=10, height=10))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """A small slide's bytes, and where its tags begin."""
    path = write(tmp_path_factory.mktemp("sound") / "slide.ome.tif", ome=True, metadata={"axes": "YXS"})
    with tifffile.TiffFile(path) as tiff:
        return path.read_bytes(), tiff.pages[0].offset


@pytest.mark.filterwarnings("ignore")  # what tifffile and numpy think of nonsense
@given(st.lists(st.tuples(st.integers(0, 280), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_damaged_table_of_tiles_is_a_format_error_or_nothing(
    sound: tuple[bytes, int], tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    content, tags = bytearray(sound[0]), sound[1]
    for place, value in changes:
        content[place if place < 16 else tags + place - 16] = value
    path = tmp_path_factory.getbasetemp() / "damaged.ome.tif"
    path.write_bytes(bytes(content))
    try:
        reader = TiffReader(path)
        width, height = min(reader.info.width, 100), min(reader.info.height, 100)
        assert reader.read_level(0, x=0, y=0, width=width, height=height).shape == (height, width, 3)
    except FormatError as err:
        assert str(err).startswith(str(path))
