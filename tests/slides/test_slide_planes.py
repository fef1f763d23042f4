from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from qpkit.core.annotation import Plane
from qpkit.core.tiles import Tile
from qpkit.errors import FormatError, MissingExtraError
from qpkit.slides import Slide, open_slide


def stack(size_t: int, size_z: int, height: int = 60, width: int = 90) -> NDArray[np.uint8]:
    """(t, z, y, x, rgb), no two planes alike."""
    return np.random.default_rng(0).integers(0, 256, (size_t, size_z, height, width, 3), dtype=np.uint8)


def tile(plane: Plane, width: int = 40, height: int = 30) -> Tile:
    return Tile(col=0, row=0, x=20, y=10, width=width, height=height, plane=plane)


def write_ome(path: Path, pixels: NDArray[Any], axes: str, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, ome=True, tile=(32, 32), metadata={"axes": axes}, **options)
    return path


@pytest.mark.parametrize("axes", ["TZYXS", "ZTYXS"])
def test_every_plane_of_an_ome_tiff_is_read(tmp_path: Path, axes: str) -> None:
    planes = stack(2, 3)
    stored = planes if axes == "TZYXS" else planes.swapaxes(0, 1)
    path = write_ome(tmp_path / "stack.ome.tif", np.ascontiguousarray(stored), axes, photometric="rgb")
    with open_slide(path) as slide:
        assert (slide.info.size_z, slide.info.size_t) == (3, 2)
        for t in range(2):
            for z in range(3):
                assert np.array_equal(slide.read(tile(Plane(z=z, t=t))), planes[t, z, 10:40, 20:60])
        assert np.array_equal(slide.thumbnail(90, plane=Plane(z=1, t=1)), planes[1, 1])


@pytest.mark.parametrize("plane", [Plane(z=3), Plane(t=2), Plane(z=-1)])
def test_a_plane_that_is_not_there_is_refused(tmp_path: Path, plane: Plane) -> None:
    path = write_ome(tmp_path / "stack.ome.tif", stack(2, 3), "TZYXS", photometric="rgb")
    with open_slide(path) as slide, pytest.raises(FormatError, match="it has 3 z and 2 t"):
        slide.read(tile(plane))


@pytest.mark.parametrize("reader", ["tiff", "openslide", "raster"])
def test_slides_of_one_plane_have_no_other(shared: Path, reader: str) -> None:
    path = shared / "data/slides/openslide-testdata/CMU-1-Small-Region.svs"
    with open_slide(path, reader=reader) as slide, pytest.raises(FormatError, match="it has 1 z and 1 t"):
        slide.read(tile(Plane(z=1)))


def test_the_image_of_an_ome_tiff_is_chosen_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    images = [stack(1, 1)[0, 0], stack(1, 1, 50, 70)[0, 0]]
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for number, pixels in enumerate(images):
            tiff.write(
                pixels, tile=(32, 32), photometric="rgb",
                metadata={"axes": "YXS", "PhysicalSizeX": 0.5 + number, "PhysicalSizeY": 0.5 + number},
            )  # fmt: skip
    for number, pixels in enumerate(images):
        with open_slide(path, series=number) as slide:
            assert slide.info.mpp == 0.5 + number
            assert np.array_equal(slide.read(tile(Plane())), pixels[10:40, 20:60])
    with pytest.raises(FormatError, match="no image 2 in it, only 2"):
        open_slide(path, series=2)


@pytest.mark.parametrize(("axes", "shape", "dtype", "channels"), [
    ("CYX", (5, 60, 90), np.uint8, 5), ("CZYX", (2, 3, 60, 90), np.uint8, 2), ("CYX", (3, 60, 90), np.uint16, 3),
    ("YX", (60, 90), np.uint16, 1),
])  # fmt: skip
def test_channels_without_colours_are_refused_by_their_number(
    tmp_path: Path, axes: str, shape: tuple[int, ...], dtype: type, channels: int
) -> None:
    path = write_ome(tmp_path / "if.ome.tif", np.zeros(shape, dtype), axes, photometric="minisblack")
    with pytest.raises(FormatError, match=f"{channels} channels? of {np.dtype(dtype)} cannot be shown as 8-bit RGB"):
        open_slide(path)


def test_quPaths_own_channel_stack_is_refused_by_its_number(shared: Path) -> None:
    path = shared / "fixtures/qupath/v0.5.1/project/images/zct.ome.tif"
    with pytest.raises(FormatError, match="3 channels of uint8"):
        open_slide(path)


def write_zarr(
    path: Path, levels: list[NDArray[Any]], axes: str, version: str, unit: str | None = "micrometer"
) -> Path:
    """An OME-Zarr folder as the specification has it: 0.4 on Zarr 2, 0.5 on Zarr 3."""
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for number, pixels in enumerate(levels):
        chunks = tuple(min(size, 32) for size in pixels.shape)
        array = group.create_array(str(number), shape=pixels.shape, chunks=chunks, dtype=pixels.dtype)
        array[...] = pixels
        scale = [0.25 * 2**number if axis in "yx" else 1.0 for axis in axes]
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    named = [{"name": a, "type": "space", **({"unit": unit} if unit and a in "yx" else {})} for a in axes]
    image = {"axes": named, "datasets": datasets}
    group.attrs.update({"multiscales": [image | {"version": "0.4"}]} if version == "0.4" else
                       {"ome": {"version": "0.5", "multiscales": [image]}})  # fmt: skip
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["tczyx", "czyx", "cyx"])
def test_ome_zarr_is_read_plane_by_plane_and_level_by_level(tmp_path: Path, version: str, axes: str) -> None:
    planes = stack(2 if "t" in axes else 1, 3 if "z" in axes else 1)
    levels = []
    for step in (1, 2):
        ordered = planes[:, :, ::step, ::step].transpose(0, 4, 1, 2, 3)
        levels.append(ordered.reshape([n for a, n in zip("tczyx", ordered.shape, strict=True) if a in axes]))
    with open_slide(write_zarr(tmp_path / "slide.zarr", levels, axes, version)) as slide:
        assert slide.reader.name == "zarr"
        assert slide.info.downsamples == (1.0, 2.0)
        assert slide.info.mpp == pytest.approx(0.25)
        for t in range(planes.shape[0]):
            for z in range(planes.shape[1]):
                assert np.array_equal(slide.read(tile(Plane(z=z, t=t))), planes[t, z, 10:40, 20:60])
        coarse = slide.reader.read_level(1, x=5, y=7, width=11, height=13)
        assert np.array_equal(coarse, planes[0, 0, 14:40:2, 10:32:2])


def test_the_images_that_bioformats2raw_writes_are_chosen_by_their_number(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    zarr.open_group(tmp_path / "many.zarr", mode="w", zarr_format=2).attrs.update({"bioformats2raw.layout": 3})
    for number in range(2):
        pixels = np.full((40, 50 + number), 10 + number, np.uint8)
        write_zarr(tmp_path / "many.zarr" / str(number), [pixels], "yx", "0.4")
    for number in range(2):
        with open_slide(tmp_path / "many.zarr", reader="zarr", series=number) as slide:
            assert slide.info.width == 50 + number
            assert (slide.read(tile(Plane(), width=20, height=20)) == 10 + number).all()
    with pytest.raises(FormatError, match="there is no image 2 in it"):
        open_slide(tmp_path / "many.zarr", series=2)


def test_ome_zarr_equals_the_same_picture_in_tiff(tmp_path: Path) -> None:
    pixels = stack(1, 1)[0, 0]
    tifffile.imwrite(tmp_path / "slide.tif", pixels, tile=(32, 32), photometric="rgb", metadata=None)
    written = write_zarr(tmp_path / "slide.zarr", [pixels.transpose(2, 0, 1)], "cyx", "0.5")
    whole = Tile(col=0, row=0, x=-3, y=-3, width=60, height=50, downsample=1.7)
    with open_slide(written) as a, open_slide(tmp_path / "slide.tif") as b:
        assert np.array_equal(a.read(whole), b.read(whole))


def test_ome_zarr_of_channels_of_no_image_and_without_unit(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="5 channels of uint8"):
        open_slide(write_zarr(tmp_path / "if.zarr", [np.zeros((5, 40, 40), np.uint8)], "cyx", "0.4"))
    bare = write_zarr(tmp_path / "bare.zarr", [np.zeros((40, 40), np.uint8)], "yx", "0.4", unit=None)
    with open_slide(bare) as slide:
        assert slide.info.mpp is None
        assert isinstance(slide, Slide)
    (bare / ".zattrs").write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(FormatError, match="without OME multiscales"):
        open_slide(bare)
    shutil.rmtree(tmp_path / "if.zarr/0")
    with pytest.raises(FormatError, match="is not there"):
        open_slide(tmp_path / "if.zarr")


def test_without_zarr_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_zarr(tmp_path / "slide.zarr", [np.zeros((40, 40), np.uint8)], "yx", "0.5")
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'qpkit\[zarr\]'"):
        open_slide(written)
