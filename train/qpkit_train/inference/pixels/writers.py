"""The files of one slide's rasters, opened to be written side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from qpkit.core.labels import LabelMap, label_colors
from qpkit.core.tiles import level_size
from qpkit.predictions import RasterWriter, SlidePrediction, create_raster
from qpkit_train.inference.pixels.uncertainty import BANDS


class Writers(NamedTuple):
    """Of labels, and of what else is wanted."""

    labels: RasterWriter
    probabilities: RasterWriter | None = None
    uncertainty: RasterWriter | None = None


@contextmanager
def open_writers(labels: LabelMap, slide: SlidePrediction, root: Path, *, looks: int = 1) -> Iterator[Writers]:
    """Create the rasters of a slide.

    Args:
        labels: Of the model.
        slide: What they are called, and how large they are.
        root: Where they are made.
        looks: How often each pixel is predicted: several have a spread.

    Raises:
        OutputError: They cannot be written.
    """
    width, height = level_size((slide.width, slide.height), slide.downsample)
    create = partial(create_raster, width=width, height=height, downsample=slide.downsample, mpp=slide.mpp)
    # Outside the area that was asked for nothing is known.
    fill = labels.background if slide.within is None else labels.ignore
    with ExitStack() as stack:

        def opened(name: str | None, **how: Any) -> RasterWriter | None:
            return None if name is None else stack.enter_context(create(root / name, nearest=False, **how))

        yield Writers(
            labels=stack.enter_context(create(root / slide.labels, colors=label_colors(labels), fill=fill)),
            probabilities=opened(slide.probabilities, bands=len(labels.trained_values)),
            uncertainty=opened(slide.uncertainty, bands=min(looks, len(BANDS))),
        )
