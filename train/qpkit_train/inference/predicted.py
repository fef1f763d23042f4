"""What is told of a slide that was predicted, in reports and in predictions.json."""

from __future__ import annotations

from dataclasses import dataclass, field

from qpkit.slides import AS_IN_FILE, Colors
from qpkit_train.inference.distance import Distance
from qpkit_train.inference.pipeline import Stage
from qpkit_train.inference.pixels.seams import SeamMeasure


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Where the time of a slide went.

    Args:
        readers: Threads that read in the end.
        loop_seconds: From the first tile to the last; without the choice of tiles and the overviews.
        reading_seconds: Of all threads that read, added up.
        predicting_seconds, writing_seconds: In which the device, and the writing thread, were busy.
        slowest: The stage that holds the others up.
        device_busy_in_loop, device_busy: Fraction of the loop, and of all of the slide's time, 0..1.
        tiles_per_second, megapixels_per_second, mm2_per_second: Of predicted tiles in the loop, without halo.
    """

    readers: int
    loop_seconds: float
    reading_seconds: float
    predicting_seconds: float
    writing_seconds: float
    slowest: Stage
    device_busy_in_loop: float
    device_busy: float
    tiles_per_second: float
    megapixels_per_second: float
    mm2_per_second: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedSlide:
    """The result of predicting one slide.

    Args:
        name: Of the slide.
        tiles, predicted: In the grid, and those with tissue.
        tissue: Fraction of the slide that is tissue, 0..1.
        seconds: Reading and writing included.
        mm2_per_second: Of predicted tiles; None without um/px.
        pixels: Raster pixels by class name, in predicted tiles.
        uncertainty: Mean entropy, and mean spread of several looks, over predicted tiles, 0..1.
        distance: From the training slides, where the model knows what they look like.
        not_predicted: Raster pixels outside the annotations that were asked for.
        broken: Tiles that could not be read, which are background: the "x, y" of their corner (slide px), and why.
        kept: Tiles that a process had predicted before it was killed.
        device, precision: What it ran on.
        notes: What the user has to know.
        colors: In which colours the slide was shown.
        speed: Where the time went.
        seams: How far probabilities jump at the borders of tiles; None where no probabilities were asked for.
    """

    name: str
    tiles: int
    predicted: int
    tissue: float
    seconds: float
    mm2_per_second: float | None
    pixels: dict[str, int]
    notes: tuple[str, ...]
    colors: Colors = AS_IN_FILE
    speed: Speed | None = None
    seams: SeamMeasure | None = None
    uncertainty: dict[str, float] = field(default_factory=dict)
    distance: Distance | None = None
    not_predicted: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    kept: int = 0
    device: str = ""
    precision: str = ""
