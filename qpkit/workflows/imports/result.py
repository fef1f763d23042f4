"""What became of one slide's prediction."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from qpkit.core.lazy_annotations import measured_of, path_classes_of
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.workflows.imports.objects import AREA, SlideObjects


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideImport:
    """What became of one slide's prediction.

    Args:
        name: Slide or entry name.
        objects: Objects of the prediction, by class.
        area_mm2: Their area by class; None without um per px.
        raster_mm2: Area of the raster's pixels by class, that of what is too small included; None without um per px.
        too_small: Polygons under the minimum area, or of which QuPath's precision left nothing.
        mended: Polygons that rounding to QuPath's precision had made invalid, and that were mended.
        cut: How many objects more there are because those of too many vertices were cut.
        added, removed, unchanged: Objects in the project.
        kept_edited: Objects of earlier imports that a person has changed since; they stay.
        recognised: Predictions in the project that have lost their metadata, known by their ids or names.
        deleted: Objects left out because a reviewer has deleted them.
        outside_parents: Objects that lie in no annotation of `ImportSettings.parent`, and so below the root.
        notes: What the user has to know about the rasters of all slides.
        seconds: Wall time.
    """

    name: str
    objects: Mapping[str, int]
    area_mm2: Mapping[str, float] | None
    raster_mm2: Mapping[str, float] | None
    too_small: int
    mended: int
    cut: int = 0
    added: int = 0
    removed: int = 0
    unchanged: int = 0
    kept_edited: int = 0
    recognised: int = 0
    deleted: int = 0
    outside_parents: int = 0
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def report(
    predictions: PredictionSet, slide: SlidePrediction, shapes: SlideObjects, change: Mapping[str, int], start: float
) -> SlideImport:
    """What was made of a slide and what changed in the project, since `start` (of `time.perf_counter`)."""
    names = list(map(str, path_classes_of(shapes.objects)))
    counts, mm2 = Counter(names), dict.fromkeys(names, 0.0)
    if slide.mpp is not None:
        for name, um2 in zip(names, measured_of(shapes.objects, AREA), strict=True):
            mm2[name] += (um2 or 0.0) / 1e6
    return SlideImport(
        name=slide.name,
        objects=counts,
        area_mm2=None if slide.mpp is None else mm2,
        raster_mm2=None
        if slide.mpp is None
        else {name: px * slide.mpp**2 / 1e6 for name, px in shapes.raster_px.items()},
        notes=predictions.notes,
        too_small=shapes.too_small,
        mended=shapes.mended,
        cut=shapes.cut,
        seconds=time.perf_counter() - start,
        **change,
    )
