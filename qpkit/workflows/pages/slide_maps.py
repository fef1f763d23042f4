"""Where on a slide the model was unsure, and where the slide is unlike those of the training."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import read_window
from qpkit.predictions.told import Told, ToldSlide
from qpkit.report.figures.maps import number_map
from qpkit.report.pages.html import picture
from qpkit.workflows.pages.slide_pictures import Thumbnail

_LEAST_SCALE: Final = 3.0
"""The brightest distance is at least this: three standard deviations."""


def uncertainty_map(
    predictions: PredictionSet, slide: SlidePrediction, said: ToldSlide, ground: Thumbnail
) -> list[dict[str, Any]]:
    """Picture and caption of the entropy of the probabilities; none where no such raster was written."""
    if slide.uncertainty is None:
        return []
    values = read_window(predictions.root / slide.uncertainty, ground.tile, raster_downsample=slide.downsample) / 255
    means = ", ".join(f"mean {name} {mean:.3f}" for name, mean in said.uncertainty.items())
    shown = number_map(ground.pixels, np.where(values > 0, values, np.nan))
    caption = "Uncertainty: entropy of the probabilities, dark 0, bright 1 (all classes alike probable)"
    return [{"picture": picture(shown), "caption": f"{caption}; {means}." if means else f"{caption}."}]


def distance_map(slide: SlidePrediction, said: ToldSlide, told: Told, ground: Thumbnail) -> list[dict[str, Any]]:
    """Picture and caption of the distance from the training slides; none where the model does not know them.

    The scale is the same for all slides of a page.
    """
    if said.distance is None or not told.settings.tile_px:
        return []
    every = [value for other in told.slides if other.distance for value in other.distance.stripes.values()]
    brightest = max([_LEAST_SCALE, *every])
    rows = np.full((len(ground.pixels), 1), np.nan)
    side = told.settings.tile_px * slide.downsample
    for y, value in said.distance.stripes.items():
        rows[round(y / ground.downsample) : round((y + side) / ground.downsample)] = value / brightest
    training = said.distance.training
    theirs = "" if training is None else " (training slides {:.1f} to {:.1f} from each other)".format(*training)
    caption = (
        f"Distance from the training slides, stripe by stripe: dark 0, bright {brightest:.1f}; of the slide "
        f"{said.distance.slide:.1f}{theirs}, most in {said.distance.strangest}."
    )
    return [{"picture": picture(number_map(ground.pixels, rows)), "caption": caption}]
