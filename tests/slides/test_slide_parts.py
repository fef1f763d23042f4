"""The parts of the door to slides one by one: arrays, views, levels of a TIFF, OME-Zarr, which reader opens what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.annotation import Plane
from qpkit.core.tiles import SlideInfo, Tile
from qpkit.errors import ConfigError, FormatError, ProjectError
from qpkit.slides.array import ArrayReader
from qpkit.slides.base import NotRgbError, Slide, SlideSource, on_background, require_plane
from qpkit.slides.opening import READERS, is_zarr, open_slide, open_source, require_reader
from qpkit.slides.tiff_levels import read_tiff_image
from qpkit.slides.views import Crop, Flip, Turn, View, parse_step
from qpkit.slides.zarr import ZarrReader

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
pictures = sizes.flatmap(lambda size: hnp.arrays(np.uint8, (*size, 3)))


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Arrays


@given(pictures, st.data())
def test_an_array_is_read_as_numpy_slices_it_and_stays_as_it_is(pixels: NDArray[np.uint8], data: st.DataObject) -> None:
    before = pixels.copy()
    height, width = pixels.shape[:2]
    reader = ArrayReader([pixels], mpp=0.5)
    assert (reader.info.width, reader.info.height, reader.info.mpp) == (width, height, 0.5)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(0, width - x)), data.draw(st.integers(0, height - y))
    read = reader.read_level(0, x=x, y=y, width=w, height=h)
    assert np.array_equal(read, before[y : y + h, x : x + w])
    read[:] = 7
    assert np.array_equal(pixels, before)


def test_levels_of_arrays_have_their_downsamples_and_no_other_plane() -> None:
    levels = [np.zeros((64, 100, 3), np.uint8), np.zeros((16, 25, 3), np.uint8), np.zeros((8, 12, 3), np.uint8)]
    slide = Slide(ArrayReader(levels))
    assert slide.levels == [(1.0, 100, 64), (4.0, 25, 16), (8.0, 12, 8)]
    with pytest.raises(FormatError, match="the array: there is no plane z 1, t 0; it has 1 z and 1 t"):
        slide.read(Tile(col=0, row=0, x=0, y=0, width=2, height=2, plane=Plane(z=1)))


@given(st.integers(-1, 4), st.integers(-1, 4), st.integers(1, 3), st.integers(1, 3))
def test_a_plane_is_there_or_it_is_refused(z: int, t: int, size_z: int, size_t: int) -> None:
    info = SlideInfo(width=1, height=1, size_z=size_z, size_t=size_t)
    if 0 <= z < size_z and 0 <= t < size_t:
        require_plane(Plane(z=z, t=t), info, "here")
    else:
        with pytest.raises(FormatError, match=f"^here: there is no plane z {z}, t {t};"):
            require_plane(Plane(z=z, t=t), info, "here")


@given(hnp.arrays(np.uint8, (3, 4, 4)))
def test_transparent_pixels_lie_on_background(rgba: NDArray[np.uint8]) -> None:
    alpha = rgba[..., 3:].astype(np.float64) / 255
    expected = np.floor(rgba[..., :3] * alpha + 255 * (1 - alpha) + 0.5)
    assert np.abs(on_background(rgba).astype(float) - expected).max() <= 1
    opaque = rgba.copy()
    opaque[..., 3] = 255
    assert np.array_equal(on_background(opaque), rgba[..., :3])


# Views


turns_and_flips = st.builds(Turn, st.integers(-5, 5)) | st.builds(Flip, st.booleans(), st.booleans())


@given(pictures, st.lists(turns_and_flips, max_size=4), st.data())
def test_a_rectangle_of_a_view_lies_where_its_pixels_come_from(
    pixels: NDArray[np.uint8], steps: list[Turn | Flip], data: st.DataObject
) -> None:
    view = View(x=0, y=0, width=pixels.shape[1], height=pixels.shape[0])
    for step in steps:
        view = view.then(step)
    shown = view.show(pixels)
    assert shown.shape[:2] == (view.shown_height, view.shown_width)
    x, y = data.draw(st.integers(0, view.shown_width - 1)), data.draw(st.integers(0, view.shown_height - 1))
    w, h = data.draw(st.integers(1, view.shown_width - x)), data.draw(st.integers(1, view.shown_height - y))
    fx, fy, fw, fh = map(int, view.in_file(x, y, w, h))
    assert np.array_equal(view.show(pixels[fy : fy + fh, fx : fx + fw]), shown[y : y + h, x : x + w])
    cropped = view.then(Crop(x, y, w, h))
    assert (cropped.x, cropped.y, cropped.width, cropped.height) == (fx, fy, fw, fh)


@given(st.integers(-9, 9), st.booleans(), st.booleans())
def test_four_quarters_and_two_mirrors_are_nothing(quarters: int, across: bool, down: bool) -> None:
    view = View(x=3, y=4, width=20, height=10).then(Turn(quarters))
    assert view.then(Turn(-quarters)) == View(x=3, y=4, width=20, height=10)
    assert view.then(Flip(across, down)).then(Flip(across, down)) == view
    assert parse_step(str(Turn(quarters))) == Turn(quarters)


# TIFF


def write_levels(path: Path, levels: list[NDArray[np.uint8]], **options: Any) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for number, pixels in enumerate(levels):
            reduced = {"subfiletype": 1} if number else {}
            tiff.write(pixels, tile=(16, 16), photometric="rgb", metadata=None, **reduced, **options)
    return path


def decoded(page: Any, content: bytes) -> NDArray[np.uint8]:
    """A whole level out of its tiles."""
    rows = -(-page.height // page.tile_height)
    whole = np.zeros((rows * page.tile_height, page.columns * page.tile_width, 3), np.uint8)
    for index, (offset, size) in enumerate(zip(page.offsets, page.sizes, strict=True)):
        y, x = index // page.columns * page.tile_height, index % page.columns * page.tile_width
        pixels = page.decode([content[offset : offset + size]], index, None)
        whole[y : y + len(pixels), x : x + page.tile_width] = pixels
    return whole[: page.height, : page.width]


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
def test_tiles_of_every_level_are_those_that_tifffile_wrote(tmp_path: Path, compression: str | None) -> None:
    levels = [picture(50, 70), picture(25, 35, 1), picture(13, 18, 2)]
    path = write_levels(tmp_path / "a.tif", levels, compression=compression, resolution=(20000, 40000),
                        resolutionunit="CENTIMETER")  # fmt: skip
    found = read_tiff_image(path)
    assert (found.mpp_x, found.mpp_y, found.size_z, found.size_t, found.is_map) == (0.5, 0.25, 1, 1, False)
    assert [(p.width, p.height) for (p,) in found.levels] == [(70, 50), (35, 25), (18, 13)]
    for (page,), pixels in zip(found.levels, levels, strict=True):
        assert np.array_equal(decoded(page, path.read_bytes()), pixels)


def test_pages_that_are_not_reduced_are_no_levels(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        for height in (50, 40):
            tiff.write(picture(height, 70), tile=(16, 16), photometric="rgb", metadata=None)
    assert len(read_tiff_image(path).levels) == 1
    with pytest.raises(FormatError, match="image 1 of it is asked for; only OME-TIFF"):
        read_tiff_image(path, 1)


def test_what_is_too_large_or_no_rgb_is_left_to_others(tmp_path: Path) -> None:
    large, deep, none = tmp_path / "large.tif", tmp_path / "deep.tif", tmp_path / "none.tif"
    tifffile.imwrite(large, np.zeros((5000, 5000), np.uint8), compression="deflate", rowsperstrip=5000)
    with pytest.raises(FormatError, match="5000 x 5000 px are too large to be unpacked whole"):
        read_tiff_image(large)
    tifffile.imwrite(deep, np.zeros((40, 40), np.uint16), tile=(16, 16))
    with pytest.raises(NotRgbError, match="1 channel of uint16 cannot be shown"):
        read_tiff_image(deep)
    none.write_bytes(b"no TIFF")
    with pytest.raises(FormatError, match=r"none\.tif: not a TIFF that can be read"):
        read_tiff_image(none)
    grey = tmp_path / "grey.tif"
    tifffile.imwrite(grey, picture(40, 40)[..., 0], tile=(16, 16))
    ((page,),) = read_tiff_image(grey).levels
    assert np.array_equal(decoded(page, grey.read_bytes()), np.repeat(picture(40, 40)[..., :1], 3, axis=2))


# OME-Zarr


def write_zarr(path: Path, pixels: NDArray[np.uint8], axes: str, changes: Mapping[str, Any] | None = None) -> Path:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=pixels, chunks=tuple(min(n, 16) for n in pixels.shape))
    scale = [{"type": "scale", "scale": [1.0] * (len(axes) - 2) + [500.0, 500.0]}]
    named = [{"name": axis, **({"unit": "nanometer"} if axis in "yx" else {})} for axis in axes]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs.update({"multiscales": [{"axes": named, "datasets": datasets, **(changes or {})}]})
    return path


@given(sizes, st.sampled_from(["yx", "cyx", "tczyx", "zyx"]), st.data())
def test_a_plane_of_an_ome_zarr_is_the_array_that_was_stored(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], axes: str, data: st.DataObject
) -> None:
    lengths = {"t": 2, "c": data.draw(st.sampled_from([1, 3])), "z": 3, "y": size[0], "x": size[1]}
    pixels = data.draw(hnp.arrays(np.uint8, tuple(lengths[axis] for axis in axes)))
    reader = ZarrReader(write_zarr(tmp_path_factory.mktemp("zarr") / "a.zarr", pixels, axes))
    assert (reader.info.width, reader.info.height, reader.info.mpp) == (size[1], size[0], 0.5)
    assert (reader.info.size_z, reader.info.size_t) == (3 if "z" in axes else 1, 2 if "t" in axes else 1)
    z, t = reader.info.size_z - 1, reader.info.size_t - 1
    at = tuple({"t": t, "z": z}.get(axis, slice(None)) for axis in axes)
    plane = pixels[at] if "c" in axes else pixels[at][np.newaxis]
    read = reader.read_level(0, x=0, y=0, width=size[1], height=size[0], plane=Plane(z=z, t=t))
    assert np.array_equal(read, np.broadcast_to(np.moveaxis(plane, 0, -1), (*size, 3)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"axes": [{"name": "y"}, {"name": "y"}]}, "are not those of a picture"),
        ({"axes": [{"name": "x"}, {"name": "y"}]}, "are not those of a picture"),
        ({"axes": "cyx"}, "a level has 2 dimensions"),
        ({"datasets": []}, r"without levels \(datasets\)"),
        ({"datasets": [{"path": "9"}]}, "the level .* is not there"),
    ],
)
def test_a_zarr_that_is_no_picture_says_why(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write_zarr(tmp_path / "a.zarr", np.zeros((20, 30), np.uint8), "yx", change)
    with pytest.raises(FormatError, match=said):
        ZarrReader(path)


# Opening


def test_a_reader_is_chosen_by_what_a_file_is(tmp_path: Path) -> None:
    pixels = picture(40, 60)
    tiled, plain = write_levels(tmp_path / "a.tif", [pixels], compression="zlib"), tmp_path / "a.png"
    Image.fromarray(pixels).save(plain)
    folder = write_zarr(tmp_path / "a.zarr", np.moveaxis(pixels, -1, 0), "cyx")
    assert is_zarr(folder) and not is_zarr(tmp_path)
    whole = Tile(col=0, row=0, x=0, y=0, width=60, height=40)
    for path, name in ((tiled, "tiff"), (plain, "raster"), (folder, "zarr")):
        for reader in ("auto", name):
            with open_slide(path, reader=reader, mpp=0.7) as slide:
                assert (slide.reader.name, slide.info.mpp) == (name, 0.7)
                assert np.array_equal(slide.read(whole), pixels)
    with pytest.raises(FormatError, match=r"a\.png: cannot be opened as a slide: .*not a TIFF"):
        open_slide(plain, reader="tiff")
    assert set(READERS) == {"auto", "tiff", "openslide", "raster", "zarr"}
    with pytest.raises(ConfigError, match="--reader 'x': has to be auto, tiff, openslide, raster or zarr"):
        require_reader("x")


def test_what_is_no_slide_says_what_was_tried(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").write_bytes(b"")
    with pytest.raises(FormatError, match="the file is empty"):
        open_slide(tmp_path / "empty.svs")
    with pytest.raises(ProjectError, match="no such slide"):
        open_slide(tmp_path / "gone.svs")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProjectError, match=r"a folder without \.dcm files"):
        open_slide(tmp_path / "folder")
    (tmp_path / "text.svs").write_bytes(b"hello")
    with pytest.raises(FormatError, match="cannot be opened as a slide") as caught:
        open_slide(tmp_path / "text.svs")
    assert str(caught.value).count("; ") == 2 and str(caught.value).startswith(f"{tmp_path / 'text.svs'}: ")


def test_a_source_says_how_a_slide_is_shown_and_what_of_its_pixel_size_is_believed(tmp_path: Path) -> None:
    pixels = picture(40, 60)
    path = write_levels(tmp_path / "a.tif", [pixels], resolution=(20000, 20000), resolutionunit="CENTIMETER")
    steps = (Crop(10, 5, 30, 20), Turn(1))
    with open_source(SlideSource(name="a", path=path, steps=steps)) as slide:
        assert (slide.info.width, slide.info.height, slide.info.mpp) == (20, 30, 0.5)
        shown = slide.read(Tile(col=0, row=0, x=0, y=0, width=20, height=30))
        assert np.array_equal(shown, np.rot90(pixels[5:25, 10:40], -1))
    for mpp in (None, 0.3):
        with open_source(SlideSource(name="a", path=path, mpp=mpp, mpp_note="said")) as slide:
            assert (slide.info.mpp, slide.info.mpp_note) == (mpp, "said")
