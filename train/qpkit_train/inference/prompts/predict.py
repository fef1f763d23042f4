"""Points of slides into a folder of predictions: labels, and a raster in which every object has its number."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from qpkit.core.annotation import PathClass
from qpkit.core.labels import LabelMap, default_label_map, label_colors
from qpkit.core.points import SlidePrompts
from qpkit.core.tiles import TileGrid
from qpkit.files import new_folder, safe_names
from qpkit.predictions import PredictionSet, SlidePrediction, create_raster, write_predictions
from qpkit.predictions.store import INFO_NAME
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.slides import SlideSource, open_source
from qpkit_train.inference.prompts.models import PromptModel, open_prompt_model
from qpkit_train.inference.prompts.objects import FoundObject, SlideObjects
from qpkit_train.inference.prompts.painting import painted
from qpkit_train.inference.prompts.settings import PromptSettings
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.slide import tile_grid

DEFAULT_PROMPTS: Final = PromptSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptedSlide:
    """What became of a slide's points.

    Args:
        name: Of the slide.
        points: On objects.
        outside: Points that say no.
        objects: In the rasters, by class.
        merged: Points on an object on which another point is, too.
        empty: Points on nothing, as far as the model knows.
        cut: Objects that reach the edge of the most that was shown.
        hidden: Objects all of whose pixels others are surer of.
        seconds: Wall time.
    """

    name: str
    points: int
    outside: int
    objects: Mapping[str, int]
    merged: int
    empty: int
    cut: int
    hidden: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptReport:
    """What became of all points.

    Args:
        root: The folder.
        run, model, device: What answered, and on what it ran.
        slides: In the order of the sources.
    """

    root: Path
    run: str
    model: str
    device: str
    slides: tuple[PromptedSlide, ...]


def predict_points(
    name: Path,
    sources: Sequence[SlideSource],
    prompts: Mapping[str, SlidePrompts],
    out: Path,
    settings: PromptSettings = DEFAULT_PROMPTS,
    *,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> PromptReport:
    """Answer the points of slides.

    What nobody clicked on is background.

    Args:
        name: Run folder, .onnx file, or "sam:FOLDER".
        sources: Slides; names have to differ.
        prompts: Their points, by name.
        out: Folder to make: for each slide a raster of labels and one of objects.
        settings: How much of the slide is shown.
        overwrite: Replace a folder that is there.
        on_progress: Called with (points answered, points in all, slide).

    Raises:
        ConfigError: The model takes no clicks.
        FormatError: Model or slide cannot be read, or a slide's um/px are not known.
        OutputError: `out` is taken or cannot be written.
    """
    model = open_prompt_model(name, settings)
    labels = labels_of(prompts)
    tick = Ticker(sum(len(own.inside) for own in prompts.values()), on_progress)
    stems = safe_names([source.name for source in sources])
    with new_folder(out, marker=INFO_NAME, overwrite=overwrite) as root:
        found = [
            _slide(model, source, prompts[source.name], root, stem, labels, settings, tick)
            for source, stem in zip(sources, stems, strict=True)
        ]
        report = PromptReport(
            root=out,
            run=model.card.run,
            model=model.card.name,
            device=model.device_name,
            slides=tuple(told for told, _ in found),
        )
        info = {
            "settings": {"prompts": asdict(settings)},
            "device": model.device_name,
            "versions": model.card.versions,
            "trained": model.card.trained,
            "slides": [asdict(told) for told in report.slides],
        }
        rows = tuple(row for _, row in found)
        write_predictions(
            PredictionSet(root=root, run=report.run, model=report.model, label_map=labels, slides=rows, info=info)
        )
    return report


def labels_of(prompts: Mapping[str, SlidePrompts]) -> LabelMap:
    """One label per class of the points of all slides, in alphabetical order."""
    classes: dict[str, PathClass] = {}
    for own in prompts.values():
        for point in own.inside:
            classes.setdefault(str(point.path_class), point.path_class)
    return default_label_map([classes[key] for key in sorted(classes)])


def _slide(
    model: PromptModel,
    source: SlideSource,
    prompts: SlidePrompts,
    root: Path,
    stem: str,
    labels: LabelMap,
    settings: PromptSettings,
    tick: Ticker,
) -> tuple[PromptedSlide, SlidePrediction]:
    started = time.perf_counter()
    with open_source(source) as slide:
        grid = tile_grid(model.card, source.name, slide.info, PredictSettings())

        def told(points: int) -> None:
            for _ in range(points):
                tick(source.name)

        asked = SlideObjects(model, slide, prompts, grid.downsample, settings, told)
        objects = asked.found()
        mpp = None if slide.info.mpp is None else slide.info.mpp * grid.downsample
    row = SlidePrediction(
        name=source.name,
        image=str(source.path),
        entry=source.entry,
        width=grid.slide_width,
        height=grid.slide_height,
        downsample=grid.downsample,
        mpp=mpp,
        labels=f"{stem}.labels.tif",
        instances=f"{stem}.instances.tif",
    )
    there = [item for item in objects if not item.is_empty]
    shown = _write(there, row, root, labels, grid)
    report = PromptedSlide(
        name=source.name,
        points=len(prompts.inside),
        outside=len(prompts.outside),
        objects=dict(sorted(Counter(str(there[number - 1].path_class) for number in shown).items())),
        merged=sum(len(item.points) - 1 for item in objects),
        empty=sum(len(item.points) for item in objects if item.is_empty),
        cut=sum(item.is_cut for item in there),
        hidden=len(there) - len(shown),
        seconds=round(time.perf_counter() - started, 3),
    )
    return report, row


def _write(
    objects: Sequence[FoundObject], row: SlidePrediction, root: Path, labels: LabelMap, grid: TileGrid
) -> set[int]:
    """Write the rasters of a slide; gives the numbers of the objects in them."""
    values = {source: item.value for item in labels.classes for source in item.sources}
    value_of = np.array([0, *(values[str(item.path_class)] for item in objects)], np.uint8)
    shown: set[int] = set()
    create = partial(
        create_raster, width=grid.level_width, height=grid.level_height, downsample=row.downsample, mpp=row.mpp
    )
    with ExitStack() as stack:
        kinds = stack.enter_context(create(root / row.labels, colors=label_colors(labels)))
        assert row.instances is not None
        numbers = stack.enter_context(create(root / row.instances, dtype="int32"))
        for x, y, block in painted(objects):
            shown.update(np.unique(block).tolist())
            kinds.write(value_of[block], x=x, y=y)
            numbers.write(block, x=x, y=y)
    return shown - {0}
