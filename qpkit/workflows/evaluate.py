"""qpkit evaluate: label rasters against what the pathologist drew, pixel by pixel and lesion by lesion."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.core.provenance import drawn_by_people
from qpkit.core.tiles import Tile
from qpkit.errors import LabelError, ProjectError
from qpkit.files import new_folder, require_free, safe_names
from qpkit.ops.compare import ClassScore, class_indices, class_scores, confusion_of, empty_confusion
from qpkit.ops.merge import merge
from qpkit.ops.rasterize import Painting, count_values
from qpkit.ops.vectorize import mean_inside, vectorize
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import read_strips, strip_count
from qpkit.workflows import OnProgress, Ticker, no_progress
from qpkit.workflows.overlay import write_overlay
from qpkit.workflows.sources import SlideInput

STRIP_PX: Final = 1024

INFO_NAME: Final = "evaluation.json"

LESION_OVERLAP: Final = 0.5
"""A lesion counts as found if at least this share of its pixels is predicted as its class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesions:
    """Connected areas of one class: how many there are and how many were found."""

    total: int
    found: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideScores:
    """One slide (or all of them pooled).

    Args:
        name: Slide name, or "all".
        confusion: Pixels, rows true and columns predicted, in the order of `values`; unknown pixels left out.
        scores: By class name, background included.
        lesions: By class name.
        outside_mm2: Area predicted as each class where the truth is unknown; None without um per px.
        seconds: Wall time.
    """

    name: str
    confusion: list[list[int]]
    scores: Mapping[str, ClassScore]
    lesions: Mapping[str, Lesions]
    outside_mm2: Mapping[str, float] | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What qpkit evaluate found; `values` orders every confusion matrix."""

    run: str
    values: tuple[int, ...]
    slides: tuple[SlideScores, ...]
    pooled: SlideScores


@dataclass(frozen=True, slots=True)
class _Counts:
    matrix: NDArray[np.int64]
    lesions: dict[str, Lesions]
    outside: dict[str, int]


def evaluate(
    predictions: PredictionSet,
    inputs: Sequence[SlideInput],
    *,
    labels: LabelMap | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Evaluation:
    """Compare predictions with the annotations of the same slides.

    Pixels that the label map leaves unknown (outside regions, ignored classes) count neither way; what is predicted
    there is reported as an area of its own.

    Args:
        predictions: Opened predictions folder.
        inputs: Slides with their annotations; those without a prediction are left out.
        labels: Other rules than the run's own label map (it has to have the same classes and values).
        out: Folder for evaluation.json and one overlay PNG per slide; None writes nothing.

    Raises:
        ProjectError: No slide has a prediction.
        LabelError: The label maps do not have the same classes and values, or a raster has others.
        OutputError: `out` holds something.
    """
    if out is not None:
        require_free(out, marker=INFO_NAME, overwrite=overwrite)
    rules = labels or predictions.label_map
    if _meaning(rules) != _meaning(predictions.label_map):
        raise LabelError(f"label map has {_meaning(rules)}, the predictions have {_meaning(predictions.label_map)}")
    pairs = _pairs(predictions, inputs)
    rows: list[SlideScores] = []
    counts: list[_Counts] = []
    tick = Ticker(sum(strip_count(slide, rows=STRIP_PX) + 1 for slide, _ in pairs), on_progress)
    for slide, item in pairs:
        start = time.perf_counter()
        counts.append(_compare(predictions, slide, item, rules, tick))
        rows.append(_scores(slide.name, rules, counts[-1], _mm2(slide), time.perf_counter() - start))
    pooled = _pooled(rows, _scores("all", rules, _sum(counts), None, sum(r.seconds for r in rows)))
    result = Evaluation(run=predictions.run, values=rules.trained_values, slides=tuple(rows), pooled=pooled)
    if out is not None:
        with new_folder(out, marker=INFO_NAME, overwrite=overwrite) as root:
            _write(result, root)
            for (slide, item), stem in zip(pairs, safe_names([s.name for s, _ in pairs]), strict=True):
                write_overlay(predictions, slide, item, rules, root / f"{stem}.png")
    return result


def _pairs(predictions: PredictionSet, inputs: Sequence[SlideInput]) -> list[tuple[SlidePrediction, SlideInput]]:
    found = [(_prediction_of(item, predictions), item) for item in inputs]
    pairs = [(slide, item) for slide, item in found if slide is not None]
    if not pairs:
        names = ", ".join(slide.name for slide in predictions.slides)
        raise ProjectError(f"{predictions.root}: none of its slides ({names}) is among those given")
    return pairs


def _prediction_of(item: SlideInput, predictions: PredictionSet) -> SlidePrediction | None:
    """The prediction of a slide: by name, else by path, else by the file's name.

    Raises:
        ProjectError: Several fit, or its slide was of another size.
    """
    source, every = item.source, predictions.slides
    same_name = [s for s in every if s.name == source.name]
    same_path = [s for s in every if Path(s.image).resolve() == source.path.resolve()]
    same_file = [s for s in every if Path(s.image).name == source.path.name]
    both = [s for s in same_name if s in same_path]
    fits = both or same_name or same_path or same_file
    if len(fits) > 1:
        names = ", ".join(s.name for s in fits)
        raise ProjectError(f"{predictions.root}: several predictions fit slide {source.name!r}: {names}")
    if fits and (fits[0].width, fits[0].height) != (item.info.width, item.info.height):
        raise ProjectError(
            f"slide {source.name!r} is {item.info.width} x {item.info.height} px, the predicted one was "
            f"{fits[0].width} x {fits[0].height}"
        )
    return fits[0] if fits else None


def _meaning(labels: LabelMap) -> dict[int, str]:
    return {value: labels.name_of(value) for value in labels.trained_values}


def _compare(
    predictions: PredictionSet, slide: SlidePrediction, item: SlideInput, rules: LabelMap, tick: Ticker
) -> _Counts:
    painting = Painting(
        drawn_by_people(item.objects(), rules),
        rules,
        downsample=slide.downsample,
        slide_size=(item.info.width, item.info.height),
        mpp=item.info.mpp,
    )
    values = rules.trained_values
    matrix = empty_confusion(len(values))
    outside = np.zeros(256, dtype=np.int64)
    lesions = []
    for y, predicted, truth in _strip_pairs(predictions, slide, painting):
        said = np.where(predicted == predictions.label_map.ignore, rules.background, predicted)
        matrix += confusion_of(class_indices(truth, values), class_indices(said, values), len(values))
        outside += np.bincount(predicted[truth == rules.ignore], minlength=256)
        lesions.append(vectorize(truth, skip={rules.background, rules.ignore}, y=y))
        tick(slide.name)
    polygons = merge(lesions)
    found = {}
    for cls in rules.classes:
        hits = (
            (y, (predicted == cls.value).astype(np.uint8))
            for y, predicted in ((y, p[0]) for y, p in read_strips(predictions.root / slide.labels, rows=STRIP_PX))
        )
        shares = mean_inside(polygons.get(cls.value, []), hits)
        found[cls.name] = Lesions(total=len(shares), found=int((shares >= LESION_OVERLAP).sum()))
    tick(slide.name)
    return _Counts(matrix, found, {c.name: int(outside[c.value]) for c in rules.classes})


def _strip_pairs(
    predictions: PredictionSet, slide: SlidePrediction, painting: Painting
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]]:
    """(y, predicted, truth) strips from the top."""
    for row, (y, bands) in enumerate(read_strips(predictions.root / slide.labels, rows=STRIP_PX)):
        height, width = bands.shape[1:]
        tile = Tile(col=0, row=row, x=0, y=y, width=width, height=height, downsample=slide.downsample)
        count_values(bands[0], predictions.label_map.values)
        yield y, bands[0], painting.draw(tile)


def _scores(name: str, rules: LabelMap, counts: _Counts, mm2: float | None, seconds: float) -> SlideScores:
    names = [rules.name_of(value) for value in rules.trained_values]
    return SlideScores(
        name=name,
        confusion=counts.matrix.tolist(),
        scores={score.name: score for score in class_scores(counts.matrix, names)},
        lesions=counts.lesions,
        outside_mm2=None if mm2 is None else {k: round(v * mm2, 5) for k, v in counts.outside.items()},
        seconds=round(seconds, 2),
    )


def _pooled(rows: Sequence[SlideScores], pixels: SlideScores) -> SlideScores:
    """Add the slides' areas (their pixels may differ in size) to what follows from all pixels together."""
    areas = [row.outside_mm2 for row in rows]
    if any(area is None for area in areas):
        return pixels
    names = areas[0] or {}
    return replace(pixels, outside_mm2={n: round(sum((a or {})[n] for a in areas), 5) for n in names})


def _mm2(slide: SlidePrediction) -> float | None:
    """Area of a raster pixel in mm2."""
    return None if slide.mpp is None else slide.mpp**2 / 1e6


def _sum(counts: Sequence[_Counts]) -> _Counts:
    names = counts[0].lesions
    return _Counts(
        np.sum([c.matrix for c in counts], axis=0),
        {
            n: Lesions(total=sum(c.lesions[n].total for c in counts), found=sum(c.lesions[n].found for c in counts))
            for n in names
        },
        {n: sum(c.outside[n] for c in counts) for n in names},
    )


def evaluation_to_builtins(result: Evaluation) -> dict[str, Any]:
    """Plain values for evaluation.json and --json."""
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return {**plain, "lesion_overlap": LESION_OVERLAP}


def _write(result: Evaluation, root: Path) -> None:
    text = msgspec.json.format(msgspec.json.encode(evaluation_to_builtins(result)), indent=2)
    (root / INFO_NAME).write_bytes(text + b"\n")
