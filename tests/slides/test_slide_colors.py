"""Colours by ICC profiles, and backgrounds: what is shown, by every reader alike, and what is said if it cannot be."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from profiles_made_up import SCANNER, WILD, picture, table_profile, write_slide
from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError
from qpkit.slides import AS_IN_FILE, EMBEDDED, ArrayReader, Colors, Slide, SlideSource, open_slide, open_source
from qpkit.slides import icc as icc_module
from qpkit.slides.icc import IccTransform, icc_transform, profile_name, srgb_profile

BY_ITS_OWN = Colors(icc=EMBEDDED)

JAVA = {
    WILD: (0x000000, 0xFFFFFF, 0x7322EC, 0xFF0069, 0x00FF29, 0x7FAEC9, 0x929292, 0xE1FAF2),
    SCANNER: (0x000000, 0xFFFFFF, 0xFF190E, 0x00FE00, 0x0D00FF, 0xDA8CA7, 0x929292, 0xF4EBF7),
    table_profile("scnr"): (0x000000, 0xFFFDFF, 0xA6205D, 0x00BB41, 0x002B6E, 0xBD8FA7, 0x898B8A, 0xF5E9F2),
    table_profile("prtr"): (0x000000, 0xFFFDFF, 0x850042, 0x00A127, 0x001B5A, 0xA2768D, 0x6D706F, 0xEEE3EB),
}
"""What ColorConvertOp of Java 17.0.15 and 25.0.2 makes of ASKED, by the source profile; the target is CS_sRGB."""

ASKED = (0x000000, 0xFFFFFF, 0xFF0000, 0x00FF00, 0x0000FF, 0xC87896, 0x808080, 0xF0E6F5)


def row(colors: tuple[int, ...]) -> NDArray[np.uint8]:
    """(1, n, 3) of 0xrrggbb."""
    return np.array([[(c >> 16, c >> 8 & 255, c & 255) for c in colors]], np.uint8)


def whole(slide: Slide) -> NDArray[np.uint8]:
    info = slide.info
    return slide.read(Tile(col=0, row=0, x=0, y=0, width=info.width, height=info.height, downsample=1.0))


@pytest.mark.parametrize("profile", JAVA, ids=["wild", "scanner", "tables", "printer"])
def test_colors_are_those_of_java_to_which_qupath_leaves_them(profile: bytes) -> None:
    assert np.array_equal(IccTransform(profile)(row(ASKED)), row(JAVA[profile]))


def test_colors_are_those_of_the_formulas() -> None:
    pixels = picture()
    columns = np.array(((32768, 17039, 1311), (20972, 44564, 5898), (9450, 3933, 46852))) / 65536
    to_xyz = np.array(((28564, 14574, 912), (25253, 46992, 6366), (9373, 3971, 46782))) / 65536
    linear = (pixels / 255.0) ** 1.8 @ columns @ np.linalg.inv(to_xyz)
    clipped = linear.clip(0, 1)
    shown = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055) * 255
    assert np.abs(IccTransform(SCANNER)(pixels) - shown).max() < 2.5


def test_the_profile_of_srgb_changes_nothing() -> None:
    every = np.arange(1 << 24, dtype=np.uint32)[::251]
    pixels = np.stack([every >> 16, every >> 8, every], axis=-1).astype(np.uint8)[None]
    assert np.array_equal(IccTransform(srgb_profile())(pixels), pixels)
    theirs = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # type: ignore[no-untyped-call]
    assert np.abs(IccTransform(theirs)(pixels).astype(int) - pixels).max() == 1
    assert profile_name(srgb_profile()) == "sRGB"


def test_the_table_of_all_colors_says_what_the_transform_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = picture()
    before = IccTransform(WILD)(pixels)
    monkeypatch.setattr(icc_module, "_TABLE_AFTER_PX", 10)
    transform = IccTransform(WILD)
    assert np.array_equal(transform(pixels), before)
    assert transform._table is not None
    assert np.array_equal(transform(pixels[::-1, ::2]), before[::-1, ::2])
    assert transform(pixels[:0]).shape == (0, 210, 3)


@given(st.sampled_from([1.0, 1.5, 2.0, 2.7]), st.integers(1, 9), st.integers(1, 9))
def test_tiles_in_other_colors_agree_with_the_whole(downsample: float, x: int, y: int) -> None:
    slide = Slide(ArrayReader([picture(90, 120)]), recolor=icc_transform(WILD))
    place = Tile(col=0, row=0, x=0, y=0, width=40, height=30, downsample=downsample)
    part = slide.read(replace(place, x=x, y=y, width=40 - x, height=30 - y))
    assert np.array_equal(part, slide.read(place)[y:, x:])


def test_colors_change_before_pixels_are_averaged_and_not_outside_the_slide() -> None:
    pixels = picture(64, 64)
    slide = Slide(ArrayReader([pixels]), recolor=icc_transform(WILD))
    plain = Slide(ArrayReader([icc_transform(WILD)(pixels)]))
    place = Tile(col=0, row=0, x=-3, y=-2, width=30, height=30, downsample=2.5)
    assert np.array_equal(slide.read(place), plain.read(place))
    assert (slide.read(place)[:2] == 255).all()
    assert np.array_equal(slide.thumbnail(16), plain.thumbnail(16))


@pytest.mark.parametrize("reader", ["tiff", "openslide"])
def test_a_tiff_is_shown_by_the_profile_in_it(tmp_path: Path, reader: str) -> None:
    pixels = picture()
    path = write_slide(tmp_path / "slide.tif", pixels)
    with open_slide(path, reader=reader, colors=BY_ITS_OWN) as slide:
        assert slide.reader.name == reader and slide.reader.icc_profile() == WILD
        assert np.array_equal(whole(slide), icc_transform(WILD)(pixels))
        half = Tile(col=0, row=0, x=0, y=0, width=100, height=70, downsample=2.0)
        assert np.array_equal(slide.read(half), icc_transform(WILD)(pixels[::2, ::2])[:70, :100])
    with open_slide(path, reader=reader) as slide:
        assert np.array_equal(whole(slide), pixels)


def test_other_files_are_shown_by_the_profile_in_them(tmp_path: Path) -> None:
    pixels = picture()
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=WILD)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, tile=(64, 64), photometric="rgb", iccprofile=WILD)
    for name in ("a.png", "a.ome.tif"):
        with open_slide(tmp_path / name, colors=BY_ITS_OWN) as slide:
            assert np.array_equal(whole(slide), icc_transform(WILD)(pixels)), name


def test_a_profile_and_what_it_is_shown_in_may_be_files(tmp_path: Path) -> None:
    pixels = picture()
    path = write_slide(tmp_path / "slide.tif", pixels, profile=None)
    for name, profile in (("wild.icc", WILD), ("scanner.icc", SCANNER)):
        (tmp_path / name).write_bytes(profile)
    named = Colors(icc=str(tmp_path / "wild.icc"), target=str(tmp_path / "scanner.icc"))
    with open_slide(path, colors=named) as slide:
        assert np.array_equal(whole(slide), icc_transform(WILD, SCANNER)(pixels))
        assert slide.reader.icc_profile() is None
    assert named.files == [tmp_path / "wild.icc", tmp_path / "scanner.icc"]
    assert BY_ITS_OWN.files == AS_IN_FILE.files == []


def test_a_source_is_the_same_after_pickling(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.tif", picture())
    source = SlideSource(name="s", path=path, colors=Colors(icc=EMBEDDED, background=(1, 2, 3)))
    with open_source(source) as slide, open_source(pickle.loads(pickle.dumps(source))) as other:
        assert np.array_equal(whole(slide), whole(other))


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (None, "it has none"),
        (b"no profile at all" * 20, "the profile is damaged"),
        (WILD[:300], "the profile"),
        (WILD.replace(b"RGB XYZ ", b"GRAYXYZ "), "one of GRAY, not of RGB"),
    ],
)
def test_a_profile_that_cannot_be_used_is_one_clear_line(tmp_path: Path, profile: bytes | None, said: str) -> None:
    path = write_slide(tmp_path / "slide.tif", picture(), profile=profile)
    with pytest.raises(ConfigError, match=said) as caught:
        open_slide(path, colors=BY_ITS_OWN)
    message = str(caught.value)
    assert message.startswith("slide.tif cannot be shown in sRGB by the file's own ICC profile: ")
    assert message.endswith("give a profile with --icc PATH, or take the file's colours with --icc none")
    assert len(message) < 200 and "\n" not in message
    with open_slide(path) as slide:  # nobody asks
        assert slide.info.width == 210


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_transparent_pixels_lie_on_the_background_that_is_asked_for(tmp_path: Path, kind: str) -> None:
    alpha = np.repeat(np.arange(256, dtype=np.uint8)[None], 64, 0)
    pixels = np.dstack([np.zeros((64, 256, 3), np.uint8), alpha])
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(64, 64), photometric="rgb", extrasamples=[kind], metadata=None)
    wanted = (255 - alpha[..., None].astype(float)) * (200, 100, 0) / 255
    for reader, near in (("tiff", 1), ("openslide", 2)):
        with open_slide(tmp_path / "a.tif", reader=reader, colors=Colors(background=(200, 100, 0))) as slide:
            assert np.abs(whole(slide) - wanted).max() <= near
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png", colors=Colors(background=(200, 100, 0))) as slide:
        assert np.abs(whole(slide) - wanted).max() <= 1


def test_tiles_that_were_never_written_are_background_before_any_profile(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiles = (picture(64, 64) if number < 3 else None for number in range(4))
        tiff.write(
            tiles, shape=(128, 128, 3), dtype=np.uint8, tile=(64, 64), photometric="rgb", iccprofile=WILD, metadata=None
        )
    pink = Colors(background=(0xC8, 0x78, 0x96))
    for reader in ("tiff", "openslide"):
        with open_slide(path, reader=reader, colors=pink) as slide:
            assert (whole(slide)[64:, 64:] == (0xC8, 0x78, 0x96)).all(), reader
        with open_slide(path, reader=reader, colors=replace(pink, icc=EMBEDDED)) as slide:
            assert (whole(slide)[64:, 64:] == (0x7F, 0xAE, 0xC9)).all(), reader
        with open_slide(path, reader=reader) as slide:
            assert (whole(slide)[64:, 64:] == 255).all(), reader


def test_real_files_hold_profiles(shared: Path) -> None:
    slides = shared / "data/slides"
    dicom, boxes = slides / "napari-wsi/CMU-1-Small-Region-dicom", slides / "openslide-python/boxes.tiff"
    if not boxes.is_file():
        pytest.skip("the shared slides are not here")
    for path in (dicom, boxes):
        with open_slide(path, colors=BY_ITS_OWN) as slide, open_slide(path) as plain:
            profile = slide.reader.icc_profile()
            assert profile is not None and profile_name(profile) == "sRGB built-in"
            shown, before = slide.thumbnail(512).astype(int), plain.thumbnail(512)
            assert np.abs(shown - before).max() <= 1


def test_colors_say_what_they_are() -> None:
    assert str(AS_IN_FILE) == "as in the file"
    assert str(Colors(background=(0, 0, 0))) == "as in the file, on #000000"
    assert str(BY_ITS_OWN) == "in sRGB by the file's own ICC profile"
    assert str(Colors(icc="/a.icc", target="/b.icc")) == "in the colours of /b.icc by the ICC profile /a.icc"
