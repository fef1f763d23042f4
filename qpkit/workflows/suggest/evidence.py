"""What predictions say of a square: how unsure they are, what is rare in it, and what correcting it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Region, level_size
from qpkit.errors import ConfigError, ProjectError, listed
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import window_reader
from qpkit.workflows.suggest.candidates import Candidate


@dataclass(frozen=True, slots=True)
class Evidence:
    """What predictions say of one square.

    Args:
        entropy: Mean entropy of the probabilities, 0..1 of what is possible; NaN without probabilities.
        disagreement: Fraction of the px that two runs predict differently; NaN with one run.
        counts: (values,) px of each trained value.
        areas: Predicted areas of classes in it, each a decision.
        outline_mm: Outline of these.
    """

    entropy: float
    disagreement: float
    counts: NDArray[np.int64]
    areas: int
    outline_mm: float


def evidence_of(candidates: Sequence[Candidate], sets: Sequence[PredictionSet]) -> list[Evidence]:
    """Read the rasters below squares of one slide.

    Args:
        candidates: Of one slide.
        sets: One or more predictions of it; the first one is asked for classes and outlines.

    Raises:
        ConfigError: The predictions do not have the same classes.
        ProjectError: The slide was not predicted.
        FormatError: A raster is damaged.
    """
    if not candidates:
        return []
    values = sets[0].label_map.trained_values
    if any(other.label_map.trained_values != values for other in sets[1:]):
        raise ConfigError(
            f"{sets[0].root} and {sets[1].root}: do not have the same classes; compare runs of one label map"
        )
    slides = [_slide_of(each, candidates[0]) for each in sets]
    labels = [_read_all(each, slide, slide.labels, candidates) for each, slide in zip(sets, slides, strict=True)]
    entropies = [_entropies(each, slide, candidates) for each, slide in zip(sets, slides, strict=True)]
    mpp, ignore = slides[0].mpp or math.nan, sets[0].label_map.ignore
    made = []
    for number in range(len(candidates)):
        first = labels[0][number][0]
        known = [row[number] for row in entropies if not math.isnan(row[number])]
        differs = [_differs(first, other[number][0], ignore) for other in labels[1:]]
        made.append(
            Evidence(
                entropy=float(np.mean(known)) if known else math.nan,
                disagreement=float(np.mean(differs)) if differs else math.nan,
                counts=np.array([np.count_nonzero(first == value) for value in values]),
                areas=areas_in(first, sets[0].label_map),
                outline_mm=outline_px(first, sets[0].label_map) * mpp / 1000,
            )
        )
    return made


def _differs(labels: NDArray[np.uint8], others: NDArray[np.uint8], ignore: int) -> float:
    """Fraction of the px that both predict, with other labels."""
    same = _resized(others, labels.shape)
    both = (labels != ignore) & (same != ignore)
    return float(np.mean(labels[both] != same[both])) if both.any() else 0.0


def _slide_of(predictions: PredictionSet, candidate: Candidate) -> SlidePrediction:
    name = candidate.item.source.name
    found = next((slide for slide in predictions.slides if slide.name == name), None)
    if found is None:
        there = listed(slide.name for slide in predictions.slides)
        raise ProjectError(
            f"{predictions.root}: slide {name!r} was not predicted (there: {there}); leave it out by --entry"
        )
    return found


def _read_all(
    predictions: PredictionSet, slide: SlidePrediction, file: str, candidates: Sequence[Candidate]
) -> list[NDArray[np.uint8]]:
    width, height = level_size((slide.width, slide.height), slide.downsample)
    with window_reader(predictions.root / file) as read:
        return [read(*_window(candidate.region, slide.downsample, width, height)) for candidate in candidates]


def _window(region: Region, downsample: float, width: int, height: int) -> tuple[int, int, int, int]:
    x, y = min(int(region.x / downsample), width - 1), min(int(region.y / downsample), height - 1)
    columns, rows = max(1, round(region.width / downsample)), max(1, round(region.height / downsample))
    return x, y, min(columns, width - x), min(rows, height - y)


def _entropies(predictions: PredictionSet, slide: SlidePrediction, candidates: Sequence[Candidate]) -> list[float]:
    """Mean entropy of each square, 0..1, as it was predicted or from the probabilities; NaN where neither is known."""
    if slide.probabilities is not None:
        return [_entropy(bands) for bands in _read_all(predictions, slide, slide.probabilities, candidates)]
    if slide.uncertainty is not None:
        bands = _read_all(predictions, slide, slide.uncertainty, candidates)
        return [float(each[0].mean() / 255) for each in bands]
    return [math.nan] * len(candidates)


def _entropy(bands: NDArray[np.uint8]) -> float:
    """Mean entropy of the px that were predicted, by that of equal probabilities; 0 where nothing was."""
    total = bands.sum(axis=0, dtype=np.float64)
    there = total > 0
    if not there.any() or len(bands) < 2:
        return 0.0
    probability = bands[:, there] / total[there]
    logs = np.log(np.where(probability > 0, probability, 1.0))
    return float(-(probability * logs).sum(axis=0).mean() / math.log(len(bands)))


def _resized(labels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Of a raster with another downsample, nearest px."""
    rows = np.arange(shape[0]) * labels.shape[0] // shape[0]
    columns = np.arange(shape[1]) * labels.shape[1] // shape[1]
    return labels[np.ix_(rows, columns)]


def areas_in(labels: NDArray[np.uint8], label_map: LabelMap) -> int:
    """Count the 4-connected areas of classes in (h, w) labels."""
    nothing = (label_map.background, label_map.ignore)
    return sum(int(ndimage.label(labels == value)[1]) for value in np.unique(labels).tolist() if value not in nothing)


def outline_px(labels: NDArray[np.uint8], label_map: LabelMap) -> float:
    """Length of the borders between labels of (h, w): pixel edges times pi / 4, as of lines in all directions.

    Where something ends in what is not known, nobody draws a line.
    """
    known = labels != label_map.ignore
    edges = sum(
        np.count_nonzero((labels[one] != labels[other]) & known[one] & known[other])
        for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]))
    )
    return int(edges) * math.pi / 4
