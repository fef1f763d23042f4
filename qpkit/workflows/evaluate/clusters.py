"""Clusters without names against annotations, under the assignment that fits best: chosen here, or elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import PathClass
from qpkit.core.labels import LabelMap, default_label_map
from qpkit.core.provenance import drawn_by_people
from qpkit.core.tiles import Tile, level_size
from qpkit.ops.scores.assignment import assigned, best_assignment
from qpkit.ops.scores.confusion import ClassScore, class_indices, class_scores, score_of
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import read_window
from qpkit.workflows.evaluate.drawn_truth import DrawnTruth
from qpkit.workflows.evaluate.truth import ground_truth
from qpkit.workflows.inputs.slides import SlideInput

_ROWS: Final = 512


@dataclass(frozen=True, slots=True)
class ClusterCounts:
    """What clusters and annotations share on one slide.

    Args:
        slide: Its name.
        px: (clusters + 1, classes) int64; the first row is what is in no cluster. Px of unknown class are left out.
    """

    slide: str
    px: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClusterScores:
    """How well clusters fit the classes of one slide.

    Args:
        slide: Its name.
        elsewhere: Scores where all other slides have chosen the class of each cluster; empty of a single slide.
        here: Scores where the slide has chosen itself, as is often published: its annotations have been seen.
        one_class: Of each class, everything called that.
    """

    slide: str
    elsewhere: tuple[ClassScore, ...]
    here: tuple[ClassScore, ...]
    one_class: tuple[ClassScore, ...]


@dataclass(frozen=True, slots=True)
class ClusterResult:
    """All slides with annotations.

    Args:
        classes: Names, in the order of the scores.
        slides: In the order of the predictions.
        assignment: Class of each cluster, chosen by all slides together.
    """

    classes: tuple[str, ...]
    slides: tuple[ClusterScores, ...]
    assignment: tuple[str, ...]

    def mean_of(self, which: str, metric: str) -> float | None:
        """Mean over slides of the mean over the classes that a slide has.

        Args:
            which: "elsewhere", "here" or "one_class" (of the class that scores best).
            metric: "dice" or "iou".
        """
        each = []
        for slide in self.slides:
            scores = [s for s in getattr(slide, which) if s.support]
            values = [float(getattr(s, metric) or 0) for s in scores]
            if values:
                each.append(max(values) / len(values) if which == "one_class" else mean(values))
        return mean(each) if each else None


def label_map_of(inputs: Sequence[SlideInput]) -> LabelMap | None:
    """The classes that people drew, one label each; None where nobody drew any."""
    classes: dict[str, PathClass] = {}
    for item in inputs:
        objects = item.objects()
        for one in drawn_by_people(objects):
            if one.path_class is not None:
                classes.setdefault(str(one.path_class), one.path_class)
    found = default_label_map(list(classes.values()))
    return found if found.classes else None


def count_clusters(
    predictions: PredictionSet, inputs: Sequence[SlideInput], rules: LabelMap, *, mpp: float
) -> Iterator[ClusterCounts]:
    """Count what clusters and classes share, slide by slide; slides where nothing is known are left out.

    Args:
        predictions: Clusters as labels from 1.
        inputs: The slides with their annotations.
        rules: How annotations become truth.
        mpp: um per px at which truth is drawn.
    """
    by_name = {item.source.name: item for item in inputs}
    for slide in predictions.slides:
        found = _count(predictions, slide, by_name[slide.name], rules, mpp)
        if found.any():
            yield ClusterCounts(slide.name, found)


def _count(
    predictions: PredictionSet, slide: SlidePrediction, item: SlideInput, rules: LabelMap, mpp: float
) -> NDArray[np.int64]:
    clusters = len(predictions.label_map.classes)
    values = rules.trained_values
    truth = ground_truth(item.objects(), rules, run=predictions.run)
    counts = np.zeros((clusters + 1, len(values)), np.int64)
    if not truth.objects:
        return counts
    downsample = max(1.0, mpp / item.info.mpp) if item.info.mpp else slide.downsample
    drawn = DrawnTruth(item, rules, truth, name=slide.name, downsample=downsample, only_tissue=True)
    columns, rows = level_size((slide.width, slide.height), downsample)
    for number in range(math.ceil(rows / _ROWS)):
        height = min(_ROWS, rows - number * _ROWS)
        tile = Tile(col=0, row=number, x=0, y=number * _ROWS, width=columns, height=height, downsample=downsample)
        target = class_indices(drawn.draw(tile), values)
        known = target < len(values)
        if known.any():
            proposed = read_window(predictions.root / slide.labels, tile, raster_downsample=slide.downsample)
            codes = proposed[known].astype(np.int64) * len(values) + target[known]
            counts += np.bincount(codes, minlength=counts.size).reshape(counts.shape)
    return counts


def score_clusters(counts: Sequence[ClusterCounts], rules: LabelMap) -> ClusterResult:
    """Score every slide under an assignment that the others have chosen, and under its own.

    What is in no cluster is background, which clusters may be, too.
    """
    values = rules.trained_values
    names = tuple(rules.name_of(value) for value in values)
    background = values.index(rules.background) if rules.background in values else None
    total = np.sum([one.px for one in counts], axis=0)
    slides = []
    for one in counts:
        others = total - one.px
        slides.append(
            ClusterScores(
                one.slide,
                _scores(one.px, others, names, background) if others.any() else (),
                _scores(one.px, one.px, names, background),
                tuple(_everything(one.px.sum(axis=0), names)),
            )
        )
    chosen = best_assignment(total[1:]) if counts else []
    return ClusterResult(names, tuple(slides), tuple(names[number] for number in chosen))


def _scores(
    px: NDArray[np.int64], chosen_on: NDArray[np.int64], names: Sequence[str], background: int | None
) -> tuple[ClassScore, ...]:
    confusion = assigned(px[1:], best_assignment(chosen_on[1:]))
    if background is not None:
        confusion[:, background] += px[0]
        return class_scores(confusion, names)
    # Without a background what is in no cluster is no class's: missed.
    wide = np.zeros((len(names) + 1, len(names) + 1), np.int64)
    wide[:-1, :-1], wide[:-1, -1] = confusion, px[0]
    return class_scores(wide, [*names, ""])[:-1]


def _everything(support: NDArray[np.int64], names: Sequence[str]) -> Iterator[ClassScore]:
    whole = int(support.sum())
    for name, px in zip(names, support.tolist(), strict=True):
        yield score_of(name, tp=px, fp=whole - px, fn=0, tn=0)


def score_rows(result: ClusterResult) -> list[Mapping[str, str | float]]:
    """One row for each slide and class: Dice and IoU, chosen on the other slides and on the slide itself."""
    rows: list[Mapping[str, str | float]] = []
    for slide in result.slides:
        for number, name in enumerate(result.classes):
            here = slide.here[number]
            if not here.support:
                continue
            other = slide.elsewhere[number] if slide.elsewhere else None
            rows.append(
                {
                    "slide": slide.slide,
                    "class": name,
                    "dice": _shown(other.dice if other else None),
                    "iou": _shown(other.iou if other else None),
                    "dice (chosen on this slide)": _shown(here.dice),
                    "iou (chosen on this slide)": _shown(here.iou),
                    "dice of all this class": _shown(slide.one_class[number].dice),
                }
            )
    return rows


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
