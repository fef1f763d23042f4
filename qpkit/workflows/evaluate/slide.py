"""One slide's predictions against its annotations, as counts that can be added up. Memory holds strips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Tile
from qpkit.errors import LabelError
from qpkit.ops.masks.rasterize import count_values
from qpkit.ops.scores.confusion import class_indices, confusion_of, empty_confusion
from qpkit.ops.scores.lesions import LesionCounts, LesionTally
from qpkit.ops.scores.probability_levels import confidence_of, empty_levels, levels_of
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import read_strips
from qpkit.progress import Ticker
from qpkit.workflows.evaluate.drawn_truth import DrawnTruth
from qpkit.workflows.evaluate.objects import ObjectTotals, RasterObjects
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.evaluate.truth import ground_truth
from qpkit.workflows.inputs.slides import SlideInput

STRIP_PX: Final = 512
"""Rows at a time: a row of the rasters' blocks, so that none is decoded twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideCounts:
    """What is counted on a slide, or on several together.

    Args:
        confusion: (classes, classes) int64 pixels, rows true and columns predicted, in the order of trained_values;
            pixels about which nothing is known are left out.
        levels, confidence: As in qpkit.ops.scores.probability_levels; None without probabilities (of all the slides).
        lesions: By class name.
        outside_mm2: Area predicted as each class where nothing is known; None without um per px.
        unannotated_px: Pixels that nobody annotated and that count as background.
        glass_px: Pixels that nobody annotated and that were left out as glass.
        origins: Objects of the truth, and those left out, by where they come from; see `truth.GroundTruth`.
        notes: What the user has to know.
        objects: Where objects were asked for, else None.
    """

    confusion: NDArray[np.int64]
    levels: NDArray[np.int64] | None
    confidence: NDArray[np.int64] | None
    lesions: Mapping[str, LesionCounts]
    outside_mm2: Mapping[str, float] | None
    unannotated_px: int
    glass_px: int
    origins: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    objects: ObjectTotals | None = None

    def __add__(self, other: SlideCounts) -> SlideCounts:
        areas = None
        if self.outside_mm2 is not None and other.outside_mm2 is not None:
            areas = {name: mm2 + other.outside_mm2[name] for name, mm2 in self.outside_mm2.items()}
        return SlideCounts(
            confusion=self.confusion + other.confusion,
            levels=_both(self.levels, other.levels),
            confidence=_both(self.confidence, other.confidence),
            lesions={name: counts + other.lesions[name] for name, counts in self.lesions.items()},
            outside_mm2=areas,
            unannotated_px=self.unannotated_px + other.unannotated_px,
            glass_px=self.glass_px + other.glass_px,
            origins=Counter(self.origins) + Counter(other.origins),
            notes=self.notes + other.notes,
            objects=None if self.objects is None or other.objects is None else self.objects + other.objects,
        )


def add_up(counts: list[SlideCounts]) -> SlideCounts:
    """Pool slides: every pixel and every lesion counts once."""
    return reduce(SlideCounts.__add__, counts)


def _both(first: NDArray[np.int64] | None, second: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    return None if first is None or second is None else first + second


def count_slide(
    predictions: PredictionSet,
    slide: SlidePrediction,
    item: SlideInput,
    rules: LabelMap,
    settings: EvaluateSettings,
    tick: Ticker,
) -> SlideCounts:
    """Compare one slide.

    Args:
        predictions, slide: Whose rasters.
        item: The slide with its annotations.
        rules: How annotations become truth.
        settings: How they are judged.
        tick: Called once per strip.

    Raises:
        LabelError: The raster has a value that the label map does not know.
    """
    truth_objects = ground_truth(item.objects(), rules, run=predictions.run, accepted=settings.accepted)
    truths = DrawnTruth(
        item,
        rules,
        truth_objects,
        name=slide.name,
        downsample=slide.downsample,
        only_tissue=settings.only_tissue,
    )
    values = rules.trained_values
    confusion, outside = empty_confusion(len(values)), np.zeros(256, np.int64)
    levels = confidence = None
    if slide.probabilities is not None:
        levels, confidence = empty_levels(len(values)), empty_levels(1)[0]
    lesions = LesionTally(background=rules.background, ignore=rules.ignore)
    is_drawn = settings.objects == "drawn"
    objects = RasterObjects(rules, truths.instances if is_drawn else None) if settings.objects else None
    for tile, labels, probabilities in _strips(predictions, slide):
        _check(labels, slide, predictions.label_map)
        truth = truths.draw(tile, None if slide.within is None else labels != rules.ignore)
        # A prediction that leaves a pixel open has called no class there.
        predicted = np.where(labels == rules.ignore, np.uint8(rules.background), labels)
        target, answer = class_indices(truth, values), class_indices(predicted, values)
        confusion += confusion_of(target, answer, len(values))
        if levels is not None and confidence is not None and probabilities is not None:
            levels += levels_of(target, probabilities, len(values))
            confidence += confidence_of(target, answer, probabilities)
        outside += np.bincount(predicted[truth == rules.ignore], minlength=256)
        lesions.add(truth, predicted)
        if objects is not None:
            objects.add(truth, predicted, truths.numbers(tile) if is_drawn else None)
        tick(slide.name)
    min_px = 0.0 if slide.mpp is None else settings.min_lesion_um2 / slide.mpp**2
    found = lesions.count([c.value for c in rules.classes], overlap=settings.lesion_overlap, min_px=min_px)
    totals = None if objects is None else objects.totals()
    hidden = _hidden_notes(slide.name, len(truths.instances), totals) if is_drawn else ()
    areas = None if slide.mpp is None else {c.name: int(outside[c.value]) * slide.mpp**2 / 1e6 for c in rules.classes}
    return SlideCounts(
        confusion=confusion,
        levels=levels,
        confidence=confidence,
        lesions={c.name: found[c.value] for c in rules.classes},
        outside_mm2=areas,
        unannotated_px=truths.unannotated_px,
        glass_px=truths.glass_px,
        origins=truth_objects.origins,
        notes=truths.notes + _size_notes(slide, item, settings) + hidden + _within_notes(slide, truths.not_judged_px),
        objects=totals,
    )


def _strips(
    predictions: PredictionSet, slide: SlidePrediction
) -> Iterator[tuple[Tile, NDArray[np.uint8], NDArray[np.uint8] | None]]:
    """The place, (h, w) labels and (bands, h, w) probabilities of strips from the top."""
    root, probabilities = predictions.root, slide.probabilities
    strips = None if probabilities is None else read_strips(root / probabilities, rows=STRIP_PX)
    for row, (y, bands) in enumerate(read_strips(root / slide.labels, rows=STRIP_PX)):
        height, width = bands.shape[1:]
        tile = Tile(col=0, row=row, x=0, y=y, width=width, height=height, downsample=slide.downsample)
        yield tile, bands[0], None if strips is None else next(strips)[1]


def _check(labels: NDArray[np.uint8], slide: SlidePrediction, known: LabelMap) -> None:
    try:
        count_values(labels, known.values)
    except ValueError as err:
        raise LabelError(f"{slide.name}: {slide.labels}: {err}; predict again") from err


def _hidden_notes(name: str, drawn: int, totals: ObjectTotals | None) -> tuple[str, ...]:
    hidden = 0 if totals is None else drawn - totals.every.total
    return (f"{name}: {hidden:,} true objects are hidden under others or where nothing is known",) if hidden else ()


def _within_notes(slide: SlidePrediction, px: int) -> tuple[str, ...]:
    if not px:
        return ()
    return (f"{slide.name}: {px:,} annotated px were not predicted (only --within {slide.within}) and do not count",)


def _size_notes(slide: SlidePrediction, item: SlideInput, settings: EvaluateSettings) -> tuple[str, ...]:
    notes = []
    if slide.mpp is None and settings.min_lesion_um2:
        notes.append(f"{slide.name}: without um per px no predicted lesion is too small; all count")
    if item.info.mpp is not None and item.info.mpp_note:
        notes.append(f"{slide.name}: its um/px is {item.info.mpp_note}")
    return tuple(notes)
