"""Pictures with a byte or an end gone: whatever their decoders raise is on the list, and nothing else is needed."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qpkit.core.pictures import DAMAGED_IMAGE
from qpkit.errors import FormatError

pytestmark = pytest.mark.filterwarnings("ignore")

PIXELS = np.random.default_rng(0).integers(0, 99, (8, 8, 3), dtype=np.uint8)
"""Few, so that a flipped byte often hits the header."""


def tiff(**options: Any) -> bytes:
    with io.BytesIO() as file:
        tifffile.imwrite(file, PIXELS, photometric="rgb", metadata=None, **options)
        return file.getvalue()


def pillow(kind: str) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(PIXELS).save(file, kind)
        return file.getvalue()


def png_in_parts() -> bytes:
    """A PNG whose pixels are in two chunks: Pillow meets the second one long after the header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = PIXELS.shape
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in PIXELS))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = chunk(b"IDAT", rows[:40]) + chunk(b"IDAT", rows[40:])
    return b"\x89PNG\r\n\x1a\n" + head + parts + chunk(b"IEND", b"")


def read_tiff(content: bytes) -> None:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        # A header that promises gigabytes is for the readers to refuse before this.
        if page.size < 1 << 20:
            page.asarray()


def read_pillow(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        if image.width * image.height < 1 << 20:
            image.load()


SOUND: tuple[tuple[bytes, Callable[[bytes], None]], ...] = (
    (tiff(), read_tiff),
    (tiff(compression="zlib", predictor=True), read_tiff),
    (tiff(compression="zlib", tile=(16, 16)), read_tiff),
    (pillow("png"), read_pillow),
    (png_in_parts(), read_pillow),
    (pillow("jpeg"), read_pillow),
)


def kinds_raised(content: bytes, read: Callable[[bytes], None]) -> set[type[Exception]]:
    """What reading raises, if anything; those that are not on the list go on."""
    logging.disable(logging.CRITICAL)
    try:
        read(content)
    except DAMAGED_IMAGE as err:
        return {type(err)}
    finally:
        logging.disable(logging.NOTSET)
    return set()


def test_a_picture_with_any_byte_changed_is_read_or_refused_with_an_error_of_the_list() -> None:
    kinds: set[type[Exception]] = set()
    for content, read in SOUND:
        for place in range(len(content)):
            for bits in (0xFF, 0x80, 0x01):
                damaged = bytearray(content)
                damaged[place] ^= bits
                kinds |= kinds_raised(bytes(damaged), read)
    # Decoders do raise all of these, so the list has to be as long as it is.
    for wanted in (ValueError, OSError, LookupError, TypeError, ArithmeticError, RuntimeError, SyntaxError):
        assert any(issubclass(kind, wanted) for kind in kinds), wanted


@settings(max_examples=200)
@given(
    st.sampled_from(SOUND),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=2, max_size=4),
    st.floats(0, 1) | st.just(1.0),
)
def test_a_picture_that_is_damaged_and_cut_off_is_refused_likewise(
    sound: tuple[bytes, Callable[[bytes], None]], flips: list[tuple[float, int]], kept: float
) -> None:
    content, read = sound
    damaged = bytearray(content)
    for place, bits in flips:
        damaged[int(place * len(damaged))] ^= bits
    kinds_raised(bytes(damaged[: round(kept * len(damaged))]), read)


def test_what_is_sound_is_read() -> None:
    for content, read in SOUND:
        read(content)
    with Image.open(io.BytesIO(png_in_parts())) as image:
        assert np.array_equal(np.asarray(image), PIXELS)


def test_our_own_refusal_is_on_the_list_and_a_wish_to_stop_is_not() -> None:
    assert issubclass(FormatError, DAMAGED_IMAGE)
    assert not any(issubclass(kind, DAMAGED_IMAGE) for kind in (KeyboardInterrupt, SystemExit, AssertionError))
