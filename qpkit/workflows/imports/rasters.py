"""What is traced: a slide's rasters strip by strip, as areas of one label or as numbered objects.

A numbered object has the value 256 * number + label, so that an area's label is its value modulo 256.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import level_size
from qpkit.ops.masks.rasterize import count_values
from qpkit.ops.vectors.gaps import closed_rows
from qpkit.ops.vectors.watershed import split_strips
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import read_strips, strip_count, window_reader
from qpkit.progress import OnProgress, Ticker

STRIP_PX: Final = 1024
"""Raster rows read at once, of a wide raster half as many."""

NO_OBJECT: Final = 0
"""The value of pixels without an object; those that mean ignore have a negative one."""

Strips = Iterator[tuple[int, NDArray[Any], NDArray[np.uint8] | None]]
"""(first row, (h, w) values, (h, w) 0..255 probability of each pixel's own class or None), from the top."""


def ticker(predictions: PredictionSet, on_progress: OnProgress) -> Ticker:
    """One step per strip of the label rasters and one per slide for the rest."""
    return Ticker(sum(strip_count(s, rows=_rows(s)) + 1 for s in predictions.slides), on_progress)


def _rows(slide: SlidePrediction) -> int:
    return STRIP_PX if slide.width / slide.downsample < 1 << 14 else STRIP_PX // 2


def areas(
    predictions: PredictionSet, slide: SlidePrediction, found: Counter[int], tick: Ticker, *, gap_px: float = 0.0
) -> Strips:
    """The labels, counted in `found`; then gaps narrower than `gap_px` are closed."""
    labels = predictions.label_map
    strips = read_strips(predictions.root / slide.labels, rows=_rows(slide))
    if slide.probabilities is None:
        pairs: Iterator[tuple[tuple[int, NDArray[Any]], NDArray[Any] | None]] = ((strip, None) for strip in strips)
    else:
        others = read_strips(predictions.root / slide.probabilities, rows=_rows(slide))
        pairs = ((strip, bands) for strip, (_, bands) in zip(strips, others, strict=True))
    size = level_size((slide.width, slide.height), slide.downsample)
    with window_reader(predictions.root / slide.labels) as read:
        close = functools.partial(
            closed_rows,
            lambda x, y, width, height: read(x, y, width, height)[0],
            *size,
            radius=gap_px / 2,
            skip={labels.background, labels.ignore},
            ground=labels.background,
        )
        for (y, stack), bands in pairs:
            values = stack[0]
            found.update(count_values(values, labels.values))
            if gap_px:
                values = close(y=y, rows=len(values))
            own = None
            if bands is not None:
                own = np.zeros_like(values)
                for band, value in enumerate(labels.trained_values):
                    np.copyto(own, bands[band], where=values == value)
            yield y, values, own
            tick(slide.name)


def instances(predictions: PredictionSet, slide: SlidePrediction, found: Counter[int], tick: Ticker) -> Strips:
    """The objects that the slide's raster of instances numbers, by the label that each pixel has."""
    assert slide.instances is not None
    numbers = read_strips(predictions.root / slide.instances, rows=_rows(slide), dtype="int32")
    for (y, labels, weights), (_, bands) in zip(areas(predictions, slide, found, tick), numbers, strict=True):
        yield y, _values(bands[0].astype(np.int64), labels, predictions), weights


def watershed_objects(
    predictions: PredictionSet, slide: SlidePrediction, distance_px: float, found: Counter[int], tick: Ticker
) -> Strips:
    """Areas cut where objects touch; markers are at least `distance_px` apart."""
    labels = predictions.label_map
    size = level_size((slide.width, slide.height), slide.downsample)
    with window_reader(predictions.root / slide.labels) as read:
        cut = split_strips(
            lambda x, y, width, height: read(x, y, width, height)[0],
            *size,
            skip={labels.background, labels.ignore},
            distance_px=distance_px,
            rows=_rows(slide),
        )
        for numbers, (y, values, weights) in zip(cut, areas(predictions, slide, found, tick), strict=True):
            yield y, _values(numbers, values, predictions), weights


def _values(numbers: NDArray[np.int64], labels: NDArray[np.uint8], predictions: PredictionSet) -> NDArray[np.int64]:
    """Give numbers their labels, in place."""
    is_object = (numbers > 0) & (labels != predictions.label_map.background)
    numbers *= 256
    numbers += labels
    numbers[~is_object] = NO_OBJECT
    numbers[labels == predictions.label_map.ignore] = -1
    return numbers
