"""How far a slide, and each of its stripes, is from what the model has learned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import TileGrid
from qpkit_train.appearance import Appearance
from qpkit_train.models.card import ModelCard

_FAR: Final = 3.0
"""Of few training slides the farthest is near by chance: nearer than this none is called unlike them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """Mahalanobis distances from the training slides, as `qpkit_train.appearance` has them.

    Args:
        slide: Of the mean of all tiles.
        stripes: Of the means of rows of tiles, by the y of their upper edge, slide px.
        training: Smallest and largest distance of a training slide from the others; None of a single one.
        strangest: In which feature the slide differs most.
        odd_size: How many times as large structures are as on the training slides, where that is odd.
    """

    slide: float
    stripes: dict[int, float]
    training: tuple[float, float] | None
    strangest: str
    odd_size: float | None = None

    @property
    def is_far(self) -> bool:
        """Whether the slide is farther than every training slide, and more than three standard deviations away."""
        return self.slide > max(_FAR, self.training[1] if self.training is not None else 0.0)


def appearance_in(card: ModelCard) -> Appearance | None:
    """What a model's training tiles looked like; models of earlier versions do not say."""
    found = card.trained.get("appearance")
    return None if found is None else msgspec.convert(found, Appearance)


def distance_of(
    appearance: Appearance, looks: Mapping[tuple[int, int], NDArray[np.float64]], grid: TileGrid
) -> Distance | None:
    """Measure how far a slide is; None if none of its tiles shows tissue.

    Args:
        appearance: Of the training tiles.
        looks: Of tiles of the slide, by (col, row).
        grid: Of the slide.
    """
    if not looks:
        return None
    # Sorted: sums of floats depend on their order, and tiles come in any.
    places = sorted(looks, key=lambda place: place[::-1])
    mean = np.mean([looks[place] for place in places], axis=0)
    stripes = {}
    for row in sorted({row for _, row in places}):
        own = np.mean([looks[place] for place in places if place[1] == row], axis=0)
        stripes[round(grid.tile(0, row).slide_region.y)] = round(appearance.distance(own), 3)
    training, size = appearance.left_out(), appearance.odd_size(mean)
    return Distance(
        slide=round(appearance.distance(mean), 3),
        stripes=stripes,
        training=training and (round(training[0], 3), round(training[1], 3)),
        strangest=appearance.strangest(mean),
        odd_size=size and round(size, 2),
    )


def warnings_of(
    distance: Distance | None,
    appearance: Appearance | None,
    downsample: float,
    pixels: Mapping[str, int],
    *,
    background: str,
    in_regions: bool,
) -> Iterator[str]:
    """Say where predictions may be worse than they were on slides like those of the training.

    Args:
        distance: Of the slide.
        appearance: Of the training tiles.
        downsample: At which the slide was read.
        pixels: Predicted, by class.
        background: The class of the background.
        in_regions: Whether only regions like those that people annotated were predicted.
    """
    if distance is not None and distance.odd_size is not None:
        yield (
            f"nuclei and the like are {distance.odd_size:.1f} times as large as on the training slides: look whether "
            "its um/px are right, and whether it is in focus"
        )
    if distance is not None and distance.is_far:
        theirs = "" if distance.training is None else " (theirs {:.1f} to {:.1f})".format(*distance.training)
        yield (
            f"UNLIKE the training slides: at a distance of {distance.slide:.1f}{theirs}, most in {distance.strangest}; "
            "predictions may be worse"
        )
    if appearance is not None:
        low, high = appearance.downsamples
        if downsample > 2 * high or downsample < low / 2:
            yield f"read at downsample {downsample:g}, the training slides at {low:g} to {high:g}"
        for name, (own, low, high) in appearance.odd_classes(
            pixels, background=background, in_regions=in_regions
        ).items():
            yield f"{name}: {own:.1%} of what was predicted, {low:.1%} to {high:.1%} of the labels of training slides"
