"""Who reads: a project, what one name in a project's metadata drew, or the rasters of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.labels import LabelMap, default_label_map
from qpkit.core.review import is_mark
from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError, ProjectError, listed
from qpkit.ops.masks.rasterize import Painting
from qpkit.predictions import PredictionSet, SlidePrediction, read_predictions
from qpkit.predictions.store import read_window
from qpkit.qupath import open_project
from qpkit.settings import words_of
from qpkit.workflows.compare.settings import CompareSettings
from qpkit.workflows.evaluate.truth import ground_truth
from qpkit.workflows.inputs.paths import expanded, is_project
from qpkit.workflows.inputs.slides import SlideInput, slide_inputs

Draw = Callable[[Tile], NDArray[np.uint8]]
"""Gives the (h, w) label values of a tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One of those who are compared.

    Args:
        name: As tables call it.
        path: A project, or a predictions folder.
        items: The slides of a project, by name; empty for a model.
        predictions: Of a model, else None.
        key, value: Whose objects count, if metadata say it.
    """

    name: str
    path: Path
    items: Mapping[str, SlideInput]
    predictions: PredictionSet | None = None
    key: str | None = None
    value: str = ""

    @property
    def slides(self) -> list[str]:
        """Names of the slides that were read."""
        return [s.name for s in self.predictions.slides] if self.predictions is not None else list(self.items)

    def objects(self, slide: str) -> list[Annotation]:
        """The objects that this reader drew, and those of nobody; none of a model."""
        found = self.items[slide].objects() if slide in self.items else []
        return found if self.key is None else [o for o in found if o.metadata.get(self.key, self.value) == self.value]

    def drawing(self, slide: str, item: SlideInput, labels: LabelMap, downsample: float) -> Draw:
        """How a slide is drawn.

        Args:
            slide: Its name.
            item: The slide itself.
            labels: What is drawn with which value.
            downsample: Slide px per px.

        Raises:
            LabelError, GeometryError: As for Painting.
        """
        if self.predictions is not None:
            return _raster(self.predictions, next(s for s in self.predictions.slides if s.name == slide))
        truth = ground_truth(self.objects(slide), labels, run="", accepted="truth")
        size = item.info.width, item.info.height
        painting = Painting(
            truth.objects,
            labels,
            downsample=downsample,
            slide_size=size,
            mpp=item.info.mpp,
            unknown=truth.unknown,
            over_regions=True,
        )
        return painting.draw


def _raster(predictions: PredictionSet, slide: SlidePrediction) -> Draw:
    return lambda tile: read_window(predictions.root / slide.labels, tile, raster_downsample=slide.downsample)


def readers_of(sources: Sequence[str], settings: CompareSettings) -> list[Reader]:
    """Open those who are to be compared.

    Args:
        sources: PATH, or NAME=PATH.
        settings: Which slides; with `by` one project is enough.

    Raises:
        ConfigError: There are fewer than two readers, or two of one name.
        ProjectError, FormatError: One cannot be opened.
    """
    sources = words_of(sources)
    if settings.by is not None and len(sources) != 1:
        raise ConfigError(f"--by {settings.by}: names the readers of one project; give one project, not {len(sources)}")
    if settings.by is not None:
        return _by_key(Path(sources[0]), settings.by, settings)
    named = [_named(source) for source in sources]
    expanded([path for _, path in named])  # for its error
    if len(sources) < 2:
        raise ConfigError("one reader alone cannot be compared; give a second project, or --by KEY")
    names = [name for name, _ in named]
    if twice := sorted(name for name in set(names) if names.count(name) > 1):
        raise ConfigError(f"several readers are called {listed(twice)}; say NAME=PATH")
    return [_reader(name, path, settings) for name, path in named]


def _named(source: str) -> tuple[str, Path]:
    name, is_named, path = source.partition("=")
    if is_named and not Path(source).exists():
        return name, Path(path)
    given = Path(source).resolve()
    return (given.parent if given.suffix == ".qpproj" else given).name, Path(source)


def _reader(name: str, path: Path, settings: CompareSettings) -> Reader:
    if is_project(path):
        return Reader(name=name, path=path, items={i.source.name: i for i in slide_inputs([path], settings)})
    return Reader(name=name, path=path, items={}, predictions=read_predictions(path))


def _by_key(path: Path, key: str, settings: CompareSettings) -> list[Reader]:
    items = {item.source.name: item for item in slide_inputs([path], settings)}
    values = sorted({o.metadata[key] for item in items.values() for o in item.objects() if key in o.metadata})
    if len(values) < 2:
        raise ProjectError(f"{path}: objects have {len(values)} values of the metadata key {key!r}; two are needed")
    return [Reader(name=value, path=path, items=items, key=key, value=value) for value in values]


def common_label_map(readers: Sequence[Reader], given: LabelMap | None) -> LabelMap:
    """What the classes of all readers mean: what was given, a model's, or the classes of all projects.

    Raises:
        ConfigError: Two models do not have the same classes.
    """
    models = [reader for reader in readers if reader.predictions is not None]
    maps = [reader.predictions.label_map for reader in models if reader.predictions is not None]
    meanings = [{c.name: c.value for c in labels.classes} for labels in [*([given] if given else []), *maps]]
    if any(meaning != meanings[0] for meaning in meanings[1:]):
        who = listed([*(["--labels"] if given else []), *(reader.name for reader in models)])
        raise ConfigError(f"{who}: not the same classes and values; compare runs of one label map")
    if given is not None or maps:
        return given or maps[0]
    classes = [c for reader in readers for c in open_project(reader.path).classes]
    objects = [o for reader in readers for slide in reader.items for o in reader.objects(slide) if not is_mark(o)]
    classes += [o.path_class for o in objects if o.path_class is not None]
    return default_label_map(list({str(c): c for c in reversed(classes)}.values())[::-1])
