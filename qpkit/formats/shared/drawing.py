"""What is exchanged with every format: the objects of one image, and what is known about that image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from qpkit.core.annotation import Annotation
from qpkit.core.labels import LabelMap
from qpkit.core.pixel_size import PixelSize
from qpkit.errors import ConfigError

Segmentation = Literal["auto", "polygon", "rle"]
"""How COCO holds areas: polygons, run lengths, or (auto) run lengths only for what has holes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What is known about an image; None where nobody said it.

    Args:
        name: The image's or entry's name.
        width, height: Level-0 px.
        mpp: um per level-0 px.
        pixel_size: The same along x and along y, where they are not one number.
        centre_nm: Where the image's centre lies from the slide's centre, (x, y) in nm (Hamamatsu's
            XOffsetFromSlideCentre and YOffsetFromSlideCentre).
        dicom: The slide's file, or folder of files, if it is a DICOM slide: what is written may refer to it.
    """

    name: str | None = None
    width: int | None = None
    height: int | None = None
    mpp: float | None = None
    pixel_size: PixelSize | None = None
    centre_nm: tuple[float, float] | None = None
    dicom: Path | None = None

    @classmethod
    def stated(cls, name: object, width: object, height: object) -> ImageFacts:
        """Take what a file states where it is of the right type."""
        return cls(
            name=name if isinstance(name, str) else None,
            width=width if isinstance(width, int) else None,
            height=height if isinstance(height, int) else None,
        )

    def filled(self, other: ImageFacts) -> ImageFacts:
        """Take from `other` what is not known here; an mpp that is stated here holds along both axes."""
        missing = {f.name: getattr(other, f.name) for f in fields(self) if getattr(self, f.name) is None}
        if self.mpp is not None:
            missing.pop("pixel_size", None)
        return replace(self, **missing)

    def size(self, why: str) -> tuple[int, int]:
        """(width, height) in level-0 px.

        Raises:
            ConfigError: They are not known; the message says `why` they are needed and how to state them.
        """
        if self.width is None or self.height is None:
            raise ConfigError(f"{why} needs the image's size in px; state it with --size WxH or --image SLIDE")
        return self.width, self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The objects of one image.

    Args:
        objects: Slide frame; `parent` counts in this tuple.
        image: What is known about the image.
        notes: What the reader mended, skipped or could not tell: a sentence and how often.
        downsample: Slide px per px of the raster that the objects were traced from; formats of pixels take it where
            none is stated. None if there was none.
    """

    objects: tuple[Annotation, ...]
    image: ImageFacts = ImageFacts()
    notes: Mapping[str, int] = field(default_factory=Counter)
    downsample: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the user can choose about a format.

    Args:
        downsample: Slide px per px of a label image; None where it was not stated.
        offset: Place of a label image's corner in slide px; None where it was not stated.
        labels: What the values of a label image mean.
        instances: Each number of a label image is one object: its class by number, where a table said it (-1: of all
            others); None where numbers are classes.
        segmentation: How COCO holds areas.
    """

    downsample: float | None = None
    offset: tuple[float, float] | None = None
    labels: LabelMap | None = None
    instances: Mapping[int, str] | None = None
    segmentation: Segmentation = "auto"
