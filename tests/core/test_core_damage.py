"""Pictures with a byte or an end gone: whatever their decoders raise is on the list, and nothing else is needed."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qpkit.core.damage import DAMAGED_IMAGE
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
    (pillow("jpeg"), read_pillow),
)


@settings(max_examples=300)
@given(
    st.sampled_from(SOUND),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3),
    st.floats(0, 1) | st.just(1.0),
)
def test_a_damaged_picture_is_read_or_refused_with_an_error_of_the_list(
    sound: tuple[bytes, Callable[[bytes], None]], flips: list[tuple[float, int]], kept: float
) -> None:
    content, read = sound
    damaged = bytearray(content)
    for place, bits in flips:
        damaged[int(place * len(damaged))] ^= bits
    logging.disable(logging.CRITICAL)
    try:
        read(bytes(damaged[: round(kept * len(damaged))]))
    except Exception as err:  # noqa: BLE001
        assert isinstance(err, DAMAGED_IMAGE), type(err)
    finally:
        logging.disable(logging.NOTSET)


def test_our_own_refusal_is_on_the_list_and_a_wish_to_stop_is_not() -> None:
    assert issubclass(FormatError, DAMAGED_IMAGE)
    assert not any(issubclass(kind, DAMAGED_IMAGE) for kind in (KeyboardInterrupt, SystemExit, AssertionError))
