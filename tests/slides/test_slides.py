from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qpkit.core.pixel_size import PixelSize
from qpkit.core.tiles import SlideInfo, Tile
from qpkit.errors import FormatError, ProjectError
from qpkit.slides import ArrayReader, Slide, open_slide
from qpkit.slides.openslide import OpenSlideReader
from qpkit.slides.pixel_size import nominal_downsamples, ome_pixel_size, with_pixel_size
from qpkit.slides.raster import RasterReader
from qpkit.slides.tiff import TiffReader


def picture(width: int = 97, height: int = 61, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tile(x: int, y: int, width: int, height: int, downsample: float = 1.0) -> Tile:
    return Tile(col=0, row=0, x=x, y=y, width=width, height=height, downsample=downsample)


@given(st.integers(-20, 110), st.integers(-20, 70), st.integers(1, 40), st.integers(1, 40))
def test_at_full_resolution_pixels_are_the_slides_and_white_outside(x: int, y: int, width: int, height: int) -> None:
    pixels = picture()
    padded = np.full((61 + 200, 97 + 200, 3), 255, dtype=np.uint8)
    padded[100:161, 100:197] = pixels
    read = Slide(ArrayReader([pixels])).read(tile(x, y, width, height))
    assert np.array_equal(read, padded[y + 100 : y + 100 + height, x + 100 : x + 100 + width])


@given(st.sampled_from([1.25, 1.5, 2.0, 2.7, 3.0, 0.5]), st.integers(1, 9), st.integers(1, 9))
def test_resampled_tiles_agree_with_the_whole(downsample: float, x: int, y: int) -> None:
    slide = Slide(ArrayReader([picture()]))
    whole = slide.read(tile(0, 0, 30, 18, downsample))
    part = slide.read(tile(x, y, 30 - x, 18 - y, downsample))
    assert np.array_equal(part, whole[y:, x:])


def test_area_resampling_is_the_mean_over_the_area() -> None:
    pixels = picture(40, 40)
    read = Slide(ArrayReader([pixels])).read(tile(2, 3, 5, 4, 4.0))
    blocks = pixels[12:28, 8:28].reshape(4, 4, 5, 4, 3).mean(axis=(1, 3))
    assert np.array_equal(read, np.floor(blocks + 0.5).astype(np.uint8))
    half = Slide(ArrayReader([pixels])).read(tile(0, 0, 2, 1, 1.5))
    row = pixels[0].astype(float) * 2 / 3 + pixels[1] / 3
    assert np.array_equal(half[0, 0], np.floor(row[0] * 2 / 3 + row[1] / 3 + 0.5).astype(np.uint8))


def test_the_nearest_finer_level_is_read() -> None:
    big = np.full((64, 64, 3), 10, dtype=np.uint8)
    levels = [big, np.full((32, 32, 3), 20, dtype=np.uint8), np.full((16, 16, 3), 30, dtype=np.uint8)]
    slide = Slide(ArrayReader(levels))
    assert slide.info.downsamples == (1.0, 2.0, 4.0)
    for downsample, value in [(1.0, 10), (1.9, 10), (2.0, 20), (3.9, 20), (4.0, 30), (7.5, 30)]:
        assert (slide.read(tile(0, 0, 2, 2, downsample)) == value).all()


def test_a_thumbnail_covers_the_whole_slide_and_is_read_in_bands() -> None:
    ramp = np.repeat(np.linspace(0, 255, 3000).astype(np.uint8)[:, np.newaxis], 2000, axis=1)
    slide = Slide(ArrayReader([np.stack([ramp] * 3, axis=-1)]))
    thumbnail = slide.thumbnail(300)
    assert thumbnail.shape == (300, 200, 3)
    assert np.abs(thumbnail[:, 0, 0].astype(float) - np.linspace(0, 255, 300)).max() < 2


@pytest.mark.parametrize(
    ("stated", "taken"),
    [((0.25, 0.25), 0.25), ((0.25001, 0.24999), 0.25), ((352.8, 352.8), None), ((0.25, 0.5), None), ((0, 0), None),
     ((None, None), None), ((float("nan"), 1), None), ((0.25, 0.0), None), ((400, 0.25), None)],
)  # fmt: skip
def test_pixel_sizes_are_believed_only_where_they_can_be(stated: tuple[float, float], taken: float | None) -> None:
    info = with_pixel_size(SlideInfo(width=1000, height=1000), *stated)
    assert info.mpp == (None if taken is None else pytest.approx(taken))
    assert bool(info.mpp_note) == (taken is None) == (info.pixel_size is None)


def test_pixels_that_are_nearly_square_are_averaged_and_the_note_says_so() -> None:
    info = with_pixel_size(SlideInfo(width=51_200, height=38_144), 0.456413, 0.455063)
    assert info.mpp == pytest.approx(0.455738)
    assert info.pixel_size == PixelSize(0.456413, 0.455063)
    assert info.mpp_note == (
        "the mean of 0.45641 x 0.45506 um: over the slide, lengths are 76 px in x and 56 px in y off"
    )
    assert with_pixel_size(SlideInfo(width=900, height=900), 0.2501, 0.2499).mpp_note == ""


@pytest.mark.parametrize(
    ("value", "unit", "um"),
    [("2500", "\u00c5", 0.25), ("0.25", "µm", 0.25), ("250", "nm", 0.25), ("0.00025", "mm", 0.25),
     ("250000", "pm", 0.25), ("0.00001", "in", 0.254), ("1", "pixel", None), ("1", "reference frame", None)],
)  # fmt: skip
def test_units_of_the_ome_schema_are_known(value: str, unit: str, um: float | None) -> None:
    pixels = f'<Pixels PhysicalSizeX="{value}" PhysicalSizeXUnit="{unit}" PhysicalSizeY="0.25"/>'
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    found = ome_pixel_size(f'<OME xmlns="{schema}"><Image>{pixels}</Image></OME>')
    assert found == (None if um is None else pytest.approx(um), 0.25)


def test_downsamples_are_whole_numbers_where_sizes_allow_it() -> None:
    assert nominal_downsamples([(14200, 9400), (7100, 4700), (221, 146)]) == (1.0, 2.0, 64.0)
    assert nominal_downsamples([(1000, 1000), (300, 300)])[1] == pytest.approx(10 / 3)


def write_pyramid(path: Path, pixels: NDArray[np.uint8]) -> None:
    with tifffile.TiffWriter(path) as tiff:
        for level in range(3):
            step = 2**level
            resolution = (1e4 / (0.5 * step),) * 2
            options = {"tile": (64, 64), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
            tiff.write(
                pixels[::step, ::step], subfiletype=min(level, 1), resolution=resolution, metadata=None, **options
            )


@pytest.mark.parametrize("reader", [OpenSlideReader, TiffReader, RasterReader])
def test_every_reader_gives_the_same_pixels(reader: type, tmp_path: Path) -> None:
    pixels = picture(300, 200)
    write_pyramid(tmp_path / "slide.tif", pixels)
    slide = Slide(reader(tmp_path / "slide.tif"))
    assert (slide.info.width, slide.info.height) == (300, 200)
    for where in [tile(0, 0, 300, 200), tile(250, 150, 100, 100), tile(-30, -30, 64, 64), tile(60, 60, 5, 70)]:
        assert np.array_equal(slide.read(where), Slide(ArrayReader([pixels])).read(where))
    slide.close()


def test_pyramids_and_pixel_sizes_are_read_from_tiff_tags(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "slide.tif", picture(300, 200))
    with open_slide(tmp_path / "slide.tif") as slide:
        assert slide.info.downsamples == (1.0, 2.0, 4.0)
        assert slide.info.mpp == pytest.approx(0.5)
    with open_slide(tmp_path / "slide.tif", mpp=0.3) as slide:
        assert slide.info.mpp == 0.3


def test_levels_of_sizes_that_are_no_multiples_do_not_shift(tmp_path: Path) -> None:
    """OpenSlide maps positions with its own downsample (4.003 here), qpkit with the nominal one."""
    coarse = np.repeat(np.repeat(picture(94, 71, seed=5), 8, axis=0), 8, axis=1)[:562, :750]
    fine = np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1)
    fine = np.pad(fine, ((0, 2), (0, 3), (0, 0)), mode="edge")
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as tiff:
        for number, pixels in enumerate((fine, coarse)):
            tiff.write(pixels, tile=(256, 256), photometric="rgb", subfiletype=number, metadata=None)
    with open_slide(path) as slide:
        assert slide.info.downsamples == (1.0, 4.0)
        read = slide.read(tile(600, 400, 150, 160, 4.0))
    wanted = coarse[400:560, 600:750]
    shifted = coarse[400:560, 599:749]
    near = np.abs(read[:160].astype(int) - wanted).mean()
    assert near < 0.5 * np.abs(read[:160].astype(int) - shifted).mean()


def test_ome_tiff_pyramids_in_sub_ifds_are_seen(tmp_path: Path) -> None:
    pixels = picture(256, 192)
    path = tmp_path / "slide.ome.tif"
    options = {"tile": (64, 64), "photometric": "rgb"}
    meta = {
        "axes": "YXS",
        "PhysicalSizeX": 0.25,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 250,
        "PhysicalSizeYUnit": "nm",
    }
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(pixels, subifds=1, metadata=meta, **options)
        tiff.write(pixels[::2, ::2], subfiletype=1, **options)
    with open_slide(path) as slide:
        assert isinstance(slide.reader, TiffReader)
        assert slide.info.downsamples == (1.0, 2.0)
        assert slide.info.mpp == pytest.approx(0.25)
        assert np.array_equal(slide.read(tile(10, 20, 30, 40)), pixels[20:60, 10:40])


class FakeOpenSlide:
    """What OpenSlide gives for a slide whose scanned area starts at (100, 40) of its canvas."""

    def __init__(self, path: Path) -> None:
        self.canvas = np.zeros((300, 400, 4), dtype=np.uint8)
        self.canvas[40:240, 100:350, :3] = picture(250, 200, seed=3)
        self.canvas[40:240, 100:350, 3] = 255
        self.dimensions = (400, 300)
        self.level_dimensions = ((400, 300),)
        self.level_downsamples = (1.0,)
        bounds = {"x": "100", "y": "40", "width": "250", "height": "200"}
        self.properties = {f"openslide.bounds-{k}": v for k, v in bounds.items()}

    def read_region(self, corner: tuple[int, int], level: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        return self.canvas[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]]

    def close(self) -> None:
        pass


def test_slides_with_bounds_start_at_the_bounds_as_in_qupath(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qpkit.slides.openslide.openslide.OpenSlide", FakeOpenSlide)
    slide = Slide(OpenSlideReader(Path("slide.mrxs")))
    assert slide.info == SlideInfo(width=250, height=200, mpp=None, mpp_note="the file does not say it")
    assert np.array_equal(slide.read(tile(0, 0, 250, 200)), picture(250, 200, seed=3))


def test_bounds_can_be_left_out_as_in_quPaths_no_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qpkit.slides.openslide.openslide.OpenSlide", FakeOpenSlide)
    slide = Slide(OpenSlideReader(Path("slide.mrxs"), to_bounds=False))
    assert (slide.info.width, slide.info.height) == (400, 300)
    assert np.array_equal(slide.read(tile(100, 40, 250, 200)), picture(250, 200, seed=3))


def test_transparent_pixels_are_white(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qpkit.slides.openslide.openslide.OpenSlide", FakeOpenSlide)
    monkeypatch.setattr("qpkit.slides.openslide._bounds", lambda properties, size: (0, 0, 400, 300))
    assert (Slide(OpenSlideReader(Path("slide.mrxs"))).read(tile(0, 0, 50, 30)) == 255).all()


@pytest.mark.parametrize("content", [b"", b"not a slide", b"II*\0" + b"\0" * 100])
def test_files_that_are_no_slides_are_refused_with_one_reason(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "slide.svs"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"slide\.svs: cannot be opened as a slide"):
        open_slide(path)


def test_a_truncated_slide_is_a_format_error(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    write_pyramid(path, picture(300, 200))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5])
    with pytest.raises(FormatError), open_slide(path) as slide:
        slide.read(tile(0, 0, 300, 200))


def test_a_missing_slide_is_a_project_error(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no such slide"):
        open_slide(tmp_path / "gone.svs")


def test_16_bit_pictures_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "deep.tif", np.zeros((100, 100), dtype=np.uint16))
    with pytest.raises(FormatError, match="8-bit"):
        open_slide(tmp_path / "deep.tif")


SLIDES = [
    ("openslide-testdata/CMU-1-Small-Region.svs", 2220, 2967, 0.499),
    ("napari-wsi/CMU-1-Small-Region-dicom", 2220, 2967, 0.499),
    ("2022-qupath-cell-detection/OS-1-detail.ome.tif", 1101, 1101, 0.2271),
    ("slideio-tutorial/test3-TRITC 2 (560).ndpi", 3968, 4864, 0.228),
    ("pathology-whole-slide-packer/example.tif", 1472, 690, 0.987),
    ("histoprep/slide.jpeg", 2500, 2500, None),
    ("openslide-python/boxes.tiff", 300, 250, None),
]


@pytest.mark.parametrize(("name", "width", "height", "mpp"), SLIDES)
def test_real_slides_open_with_their_size_and_pixel_size(
    shared: Path, name: str, width: int, height: int, mpp: float | None
) -> None:
    with open_slide(shared / "data/slides" / name) as slide:
        assert (slide.info.width, slide.info.height) == (width, height)
        assert slide.info.mpp == (None if mpp is None else pytest.approx(mpp, abs=6e-4))
        assert slide.thumbnail(200).max() > 30


@pytest.mark.parametrize("name", ["unreadable.svs", "unopenable.tiff"])
def test_broken_slides_are_format_errors(shared: Path, name: str) -> None:
    with pytest.raises(FormatError), open_slide(shared / "data/slides/openslide-python" / name) as slide:
        slide.thumbnail(100)
