"""The layers of tiles as files: what is written is read, and a damaged file says so in one line."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qpkit.dataset.stores.layers import ImageFormat, decode, encode, suffix_of
from qpkit.errors import FormatError

_NUMBERS = np.random.default_rng(0)
LAYERS = {
    "image": _NUMBERS.integers(0, 256, (16, 12, 3), np.uint8),
    "mask": _NUMBERS.integers(0, 4, (16, 12), np.uint8),
    "mask_x4": _NUMBERS.integers(0, 2, (3, 16, 12), np.uint8),
    "instances": _NUMBERS.integers(0, 1 << 20, (16, 12), np.uint32),
}
FILES = {layer: encode(pixels, suffix_of(layer, pixels, ImageFormat("png"))) for layer, pixels in LAYERS.items()}
NAMES = {layer: f"tile{suffix_of(layer, pixels, ImageFormat('png'))}" for layer, pixels in LAYERS.items()}


@pytest.mark.parametrize("layer", LAYERS)
def test_what_is_written_is_read(layer: str) -> None:
    found = decode(FILES[layer], layer, NAMES[layer])
    assert found.dtype == LAYERS[layer].dtype
    assert np.array_equal(found, LAYERS[layer])


@pytest.mark.filterwarnings("ignore")
@given(st.sampled_from(list(LAYERS)), st.data())
def test_a_damaged_layer_is_read_or_named(layer: str, data: st.DataObject) -> None:
    content = bytearray(FILES[layer])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        decode(bytes(content), layer, NAMES[layer])
    except FormatError as err:
        assert str(err).startswith(f"{NAMES[layer]}: tile cannot be read")


@pytest.mark.parametrize("guard", [Image.MAX_IMAGE_PIXELS, None])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_that_claims_to_be_huge_is_refused(guard: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", guard)  # None once somebody has opened a large picture
    content = bytearray(FILES["image"])
    struct.pack_into(">II", content, 16, 65535, 65535)  # width and height of a PNG
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    with pytest.raises(FormatError, match="cannot be read"):
        decode(bytes(content), "image", "tile.png")


@pytest.mark.parametrize("bits", [1, 8])
def test_a_picture_of_one_value_is_read_however_small_its_file_is(bits: int) -> None:
    content = io.BytesIO()
    Image.new("1" if bits == 1 else "L", (2048, 2048), 1).save(content, "PNG", optimize=True)
    assert decode(content.getvalue(), "mask", "tile.png").shape == (2048, 2048)


def test_a_header_that_promises_more_than_the_file_can_hold_takes_no_memory() -> None:
    content = bytearray(FILES["instances"])
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        tags = tiff.pages[0].aspage().tags
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            # Type 4 is a 32-bit number, in the tag's own entry.
            struct.pack_into("<HIi", content, tags[name].offset + 2, 4, 1, 1 << 16)
    with pytest.raises(FormatError, match="17,179,869,184 bytes of pixels are not in"):
        decode(bytes(content), "instances", "tile.tif")
