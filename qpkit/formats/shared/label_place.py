"""Where a label image lies on its slide: said by the user, by its name, or by its size.

Source: names as BCSS (..._xmin57214_ymin25940_MPP-0.2500.png), TIGER (NAME_[x1, y1, x2, y2].png), HistomicsTK
(..._left-59206_top-33505_mag-BASE.png) and QuPath's tile exporter (NAME [d=2,x=0,y=0,w=512,h=512].png) give them, all
in slide px.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qpkit.core.tiles import downsample_for
from qpkit.errors import ConfigError
from qpkit.formats.shared.drawing import Choices, ImageFacts

FROM_FILE: Final = "place on the slide taken from what the file itself says"
FROM_NAME: Final = "place on the slide taken from the file's name"
FROM_SIZE: Final = "downsample worked out from the slide's size"
ASSUMED: Final = "taken to begin at 0,0 with downsample 1 (state --offset and --downsample if not)"

PLACE_KEY: Final = "qpkit place"
"""The text of a PNG, or the beginning of a TIFF's description, under which we write the place."""

_NUMBER: Final = r"(-?\d+(?:\.\d+)?)"
_TIGER: Final = re.compile(rf"\[ *{_NUMBER} *, *{_NUMBER} *, *{_NUMBER} *, *{_NUMBER} *\]")
_BCSS: Final = re.compile(rf"xmin{_NUMBER}_ymin{_NUMBER}_.*MPP-{_NUMBER}", re.IGNORECASE)
_HISTOMICS: Final = re.compile(rf"left-{_NUMBER}_top-{_NUMBER}_.*mag-BASE")
_WRITTEN: Final = re.compile(r"x=(\S+) y=(\S+) downsample=(\S+)")
_QUPATH: Final = re.compile(rf"\[(?:d={_NUMBER},)?x={_NUMBER},y={_NUMBER},w={_NUMBER},h={_NUMBER}")


@dataclass(frozen=True, slots=True)
class Place:
    """Slide px of the image's top left corner, and slide px per px of the image."""

    x: float
    y: float
    downsample: float


def place_text(place: Place) -> str:
    """Write a place so that `place_of` reads it."""
    return f"x={place.x!r} y={place.y!r} downsample={place.downsample!r}"


def place_of(
    path: Path, *, width: int, height: int, image: ImageFacts, choices: Choices, written: str, notes: Counter[str]
) -> Place:
    """Find where a label image of width x height px lies.

    What the user said comes first, then what is written in the file, then its name, then (for a mask of the whole
    slide) its size.

    Raises:
        ConfigError: The name gives um per px, and those of the slide are not known.
    """
    told = choices.offset is not None and choices.downsample is not None
    own = _own(written)
    named = None if own else _named(path.name, width, image, choices)
    notes[FROM_FILE if own else FROM_NAME] += (own or named) is not None and not told
    found = own or named or _sized(width, height, image, choices, notes)
    x, y = choices.offset or (found.x, found.y)
    return Place(x, y, choices.downsample or found.downsample)


def _own(written: str) -> Place | None:
    match = _WRITTEN.search(written)
    try:
        place = Place(*(float(text) for text in match.groups())) if match else None
    except ValueError:
        return None
    return place if place is not None and place.downsample > 0 and math.isfinite(place.x + place.y) else None


def _named(name: str, width: int, image: ImageFacts, choices: Choices) -> Place | None:
    if match := _QUPATH.search(name):
        _, x, y, across, _ = match.groups()
        return Place(float(x), float(y), float(match[1]) if match[1] else float(across) / width)
    if match := _TIGER.search(name):
        x, y, x2, _ = (float(text) for text in match.groups())
        return Place(x, y, (x2 - x) / width) if x2 > x else None
    if match := _HISTOMICS.search(name):
        return Place(float(match[1]), float(match[2]), 1.0)
    if match := _BCSS.search(name):
        mpp = float(match[3])
        if choices.downsample is None and image.mpp is None:
            raise ConfigError(
                f"{name}: is of {mpp:g} um/px; state those of the slide with --mpp or --image, or the --downsample"
            )
        return Place(float(match[1]), float(match[2]), 1.0 if image.mpp is None else downsample_for(mpp, image.mpp))
    return None


def _sized(width: int, height: int, image: ImageFacts, choices: Choices, notes: Counter[str]) -> Place:
    if choices.offset is None and choices.downsample is None and image.width is not None and image.height is not None:
        ratio = image.width / width
        if math.ceil(image.height / ratio - 0.5) <= height + 1 and abs(image.height / ratio - height) <= 1:
            notes[FROM_SIZE] += ratio != 1
            whole = round(ratio)
            return Place(0.0, 0.0, float(whole) if whole and abs(image.width / whole - width) < 1 else ratio)
    notes[ASSUMED] += choices.offset is None and choices.downsample is None
    return Place(0.0, 0.0, 1.0)
