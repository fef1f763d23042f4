"""Pixels of predicted rasters as areas: inside regions, and on whole slides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile
from qpkit.errors import listed
from qpkit.ops.masks.rasterize import Painting
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import read_strips
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.workflows.tables.places import Measured, MeasureReport, Place, rows_of, sum_of, together

_STRIP_PX: Final = 1024


def measure_rasters(predictions: PredictionSet, *, on_progress: OnProgress = no_progress) -> MeasureReport:
    """Measure predicted rasters without a project: whole slides, and all of them.

    Args:
        predictions: Their um per px are those at which they were predicted.
        on_progress: Called for each slide.

    Raises:
        FormatError: A raster cannot be read.
    """
    tick = Ticker(len(predictions.slides), on_progress)
    rows: list[Measured] = []
    places: list[Place] = []
    unknown: list[str] = []
    for slide in predictions.slides:
        um2 = 0.0 if slide.mpp is None else (slide.mpp / slide.downsample) ** 2
        unknown += [slide.name] if slide.mpp is None else []
        _, place = places_of_raster(predictions, slide, {}, um2)
        places.append(place)
        rows += rows_of(
            "slide", place, slide=slide.name, entry=slide.entry or "", known=slide.mpp is not None, counted=False
        )
        tick(slide.name)
    rows += rows_of("all", together(places), known=not unknown, counted=False)
    notes = (f"no um/px is known for {listed(unknown)}: areas in px2 only",) if unknown else ()
    return MeasureReport(tuple(rows), notes)


def places_of_raster(
    rasters: PredictionSet, slide: SlidePrediction, regions: Mapping[str, BaseGeometry], um2: float
) -> tuple[dict[str, Place], Place]:
    """Count the pixels of each class inside each region, and on the whole raster.

    Args:
        rasters: The predictions.
        slide: One of them.
        regions: Areas by name, slide px.
        um2: Of a slide px; 0 where it is not known.
    """
    names = list(regions)
    labels = LabelMap(classes=tuple(LabelClass(f"region {k}", k + 1, (f"region {k}",)) for k in range(len(names))))
    drawn = [Annotation(geometry=regions[name], path_class=PathClass((f"region {k}",))) for k, name in enumerate(names)]
    painting = Painting(drawn, labels, downsample=slide.downsample)
    counts = np.zeros((len(names) + 1, 256), np.int64)
    for y, bands in read_strips(rasters.root / slide.labels, rows=_STRIP_PX):
        rows, columns = bands[0].shape
        tile = Tile(col=0, row=0, x=0, y=y, width=columns, height=rows, downsample=slide.downsample)
        counts += _counts(painting.draw(tile), bands[0], len(names))
    if slide.within is not None:  # what was not predicted is not part of any whole
        counts[:, rasters.label_map.ignore] = 0
    px2 = slide.downsample**2
    of = [counts[k + 1] for k in range(len(names))]
    places = {name: _raster_place(own, rasters.label_map, px2, um2) for name, own in zip(names, of, strict=True)}
    slide_place = _raster_place(counts.sum(axis=0), rasters.label_map, px2, um2)
    if names:
        inside = _raster_place(counts[1:].sum(axis=0), rasters.label_map, px2, um2)
        for name, own in slide_place.classes.items():
            own.inside_px2 = inside.classes[name].px2
        return places, Place(slide_place.classes, inside.whole)
    return places, slide_place


def _counts(regions: NDArray[np.uint8], labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """(regions + 1, 256) pixels by region (0 is none) and value."""
    both = regions.astype(np.int64).ravel() * 256 + labels.ravel()
    return np.bincount(both, minlength=(count + 1) * 256).reshape(count + 1, 256)


def _raster_place(counts: NDArray[np.int64], labels: LabelMap, px2: float, um2: float) -> Place:
    classes = {item.name: sum_of(int(counts[item.value]) * px2, um2) for item in labels.classes}
    return Place(classes, sum_of(int(counts.sum()) * px2, um2))
