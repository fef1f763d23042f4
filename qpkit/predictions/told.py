"""What predictions.json tells of how its slides were predicted: speed, distance from the training slides, seams.

Earlier versions and label images of other programs tell less, or nothing: every field may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from qpkit.errors import FormatError
from qpkit.predictions.store import INFO_NAME, PredictionSet


class ToldSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of a slide went; seconds, and fractions 0..1 (see `qpkit_train.inference.predicted.Speed`)."""

    readers: int
    loop_seconds: float
    reading_seconds: float
    predicting_seconds: float
    writing_seconds: float
    slowest: str
    device_busy_in_loop: float
    device_busy: float
    tiles_per_second: float
    megapixels_per_second: float
    mm2_per_second: float | None = None


class ToldDistance(msgspec.Struct, frozen=True, kw_only=True):
    """Distance from the training slides: of the slide, of its stripes by their upper edge (slide px), of training."""

    slide: float
    stripes: dict[int, float]
    training: tuple[float, float] | None = None
    strangest: str = ""


class ToldSeams(msgspec.Struct, frozen=True, kw_only=True):
    """Mean jump of probabilities, 0..1."""

    at_borders: float
    elsewhere: float


class ToldSlide(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of one slide.

    Args:
        name: Of the slide.
        tiles, predicted: In the grid, and those with tissue; None where nothing is told.
        tissue: Fraction of the slide that is tissue, 0..1.
        seconds: Of all of it.
        notes: What the user has to know.
        broken: Why tiles could not be read, by their corner.
        uncertainty: Means by name, 0..1.
        speed, distance, seams: None where they were not measured.
    """

    name: str
    tiles: int | None = None
    predicted: int | None = None
    tissue: float | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    broken: dict[str, str] = {}
    uncertainty: dict[str, float] = {}
    speed: ToldSpeed | None = None
    distance: ToldDistance | None = None
    seams: ToldSeams | None = None


class ToldSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Of the settings: the side of a tile without its halo, raster px; 0 where nothing is told."""

    tile_px: int = 0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a prediction.

    Args:
        device, precision: What it ran on; "" where nothing is told.
        seconds: In all.
        device_busy: Fraction of them in which the device worked, 0..1.
        settings: Of the settings.
        slides: What is told of each slide.
        skipped: (name, reason) of slides that could not be predicted.
    """

    device: str = ""
    precision: str = ""
    seconds: float | None = None
    device_busy: float | None = None
    settings: ToldSettings = ToldSettings()
    slides: tuple[ToldSlide, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def by_slide(self) -> Mapping[str, ToldSlide]:
        """The slides by their names."""
        return {slide.name: slide for slide in self.slides}


def told_of(predictions: PredictionSet) -> Told:
    """Read what predictions.json tells beside its rasters.

    Raises:
        FormatError: It is damaged.
    """
    info: dict[str, Any] = dict(predictions.info)
    try:
        return msgspec.convert(info, Told, strict=False)
    except msgspec.ValidationError as err:
        raise FormatError(f"{predictions.root / INFO_NAME}: damaged: {err}") from err
