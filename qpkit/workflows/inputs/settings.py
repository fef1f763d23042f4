"""Which slides a verb looks at, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from qpkit.settings import Flag, Range, Settings
from qpkit.slides import ReaderName


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideSettings(Settings):
    """Which of the slides that are pointed at, and how they are read.

    Args:
        entries: Only this entry of the project (name or id; repeatable).
        slide_mpp: um per px of the slides that do not state theirs, neither in the project nor in the file.
        reader: auto, tiff (fast), openslide, raster or zarr: what reads the pixels.
    """

    entries: Annotated[tuple[str, ...], Flag(name="--entry")] = ()
    slide_mpp: Annotated[float | None, Range(above=0)] = None
    reader: ReaderName = "auto"


ALL_SLIDES = SlideSettings()
