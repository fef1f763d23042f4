"""What the user may state of a conversion."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from qpkit.core.pixel_size import PixelSize
from qpkit.errors import ConfigError
from qpkit.formats.shared.drawing import Segmentation
from qpkit.settings import Flag, Range, Settings, Where


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[x,](\d+)", text)
    if match is None:
        raise ConfigError(f"--size {text!r}: has to be WIDTHxHEIGHT in px, like 40000x30000")
    return int(match[1]), int(match[2])


def _pixel_size(text: str) -> PixelSize:
    x, y = _pair(text, "--mpp-xy")
    if not (0 < x < math.inf and 0 < y < math.inf):
        raise ConfigError(f"--mpp-xy {text!r}: has to be two positive numbers, um per px along x and y")
    return PixelSize(x, y)


def _offset_nm(text: str) -> tuple[float, float]:
    return _pair(text, "--offset-nm")


def _offset(text: str) -> tuple[float, float]:
    return _pair(text, "--offset")


def _pair(text: str, option: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as err:
        raise ConfigError(f"{option} {text!r}: has to be X,Y") from err
    return x, y


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertSettings(Settings):
    """What the user may state.

    Args:
        source_format: Format of A, if not clear by ending and content.
        target_format: Format of B, if not clear.
        image: The slide: size, um/px, and the place on the glass (NDPA).
        mpp: um per px of the slide.
        mpp_xy: um per px of the slide along x and along y, where they differ.
        size: Size of the slide in px.
        centre_nm: NDPA: the image's centre from the glass's, nm.
        offset: Label image: its corner in slide px.
        downsample: Label image: slide px per px.
        labels: What a label image's values mean: labels.toml, CSV, TSV or tiger-codes.
        instances: Each number of a label image is one object: the class of all of them, or a CSV or TSV of numbers and
            classes (such as the instances/SLIDE.csv of an export).
        entries: Only this entry of the project (name or id; repeatable); of a project as target the one to add to.
        where: Only entries with this metadata, such as Split=test; * and ? stand for any text (repeatable: all of it).
        segmentation: COCO: auto, polygon or rle.
        overwrite: Replace files and folders that convert made (never .qpdata, never objects).
    """

    source_format: Annotated[str | None, Flag(name="--from", metavar="NAME")] = None
    target_format: Annotated[str | None, Flag(name="--to", metavar="NAME")] = None
    image: Path | None = None
    mpp: Annotated[float | None, Range(above=0)] = None
    mpp_xy: Annotated[PixelSize | None, Flag(parse=_pixel_size, metavar="X,Y")] = None
    size: Annotated[tuple[int, int] | None, Flag(parse=_size, metavar="WxH")] = None
    centre_nm: Annotated[tuple[float, float] | None, Flag(name="--offset-nm", parse=_offset_nm, metavar="X,Y")] = None
    offset: Annotated[tuple[float, float] | None, Flag(parse=_offset, metavar="X,Y")] = None
    downsample: Annotated[float | None, Range(above=0)] = None
    labels: Path | None = None
    instances: Annotated[str | None, Flag(metavar="CLASS|TABLE")] = None
    entries: Annotated[tuple[str, ...], Flag(name="--entry")] = ()
    where: Where = field(default_factory=dict)
    segmentation: Segmentation = "auto"
    overwrite: bool = False

    def faults(self) -> Iterator[str]:
        """Name a size that no image has, and two meanings of one number."""
        if self.labels is not None and self.instances is not None:
            yield "--labels and --instances exclude each other: a number is a class or an object; give one"
        if self.mpp is not None and self.mpp_xy is not None:
            yield "--mpp and --mpp-xy exclude each other: give --mpp-xy where um per px differ along x and y"
        if self.size is not None and min(self.size) < 1:
            yield f"--size {self.size[0]}x{self.size[1]}: has to be at least 1x1 px"
