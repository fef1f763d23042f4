"""Which slides a verb looks at, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

from qpkit.settings import Flag, Range, Settings, Where
from qpkit.slides import ReaderName

NO_PROFILE: Final = "none"
"""Of --icc: the colours of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideSettings(Settings):
    """Which of the slides that are pointed at, and how they are read.

    Args:
        entries: Only this entry of the project (name or id; repeatable).
        where: Only entries with this metadata, such as Split=test; * and ? stand for any text (repeatable: all of it).
        slide_mpp: um per px of the slides that do not state theirs, neither in the project nor in the file.
        reader: auto, tiff (fast), openslide, raster or zarr: what reads the pixels.
        icc: Show slides in sRGB by the ICC profile in their file (embedded) or in the file PATH, or as they are (none).
            Default: as the project's images say; none for a slide alone.
    """

    entries: Annotated[tuple[str, ...], Flag(name="--entry")] = ()
    where: Where = field(default_factory=dict)
    slide_mpp: Annotated[float | None, Range(above=0)] = None
    reader: ReaderName = "auto"
    icc: Annotated[str | None, Flag(metavar="none|embedded|PATH")] = None

    @property
    def chooses_entries(self) -> bool:
        """Whether entries of a project are chosen."""
        return bool(self.entries or self.where)


ALL_SLIDES = SlideSettings()
