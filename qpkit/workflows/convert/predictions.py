"""The areas of a folder of predictions as drawings, for qpkit convert: traced along pixel edges, nothing simplified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import shapely
from shapely.affinity import scale

from qpkit.core.annotation import Annotation
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.provenance import provenance
from qpkit.errors import ConfigError, listed
from qpkit.formats.shared.class_names import read_class
from qpkit.formats.shared.drawing import Drawing, ImageFacts
from qpkit.formats.shared.outlines import area_shape
from qpkit.ops.vectors.sweep import trace
from qpkit.ops.vectors.vectorize import outlines_of
from qpkit.predictions.store import INFO_NAME, PredictionSet, SlidePrediction, read_predictions, read_strips
from qpkit.workflows.convert.project import slide_facts

WITHIN: Final = "slides predicted only inside of annotations: what lies outside is no area of a class"
GONE: Final = "slides that are no more where they were predicted: taken for no DICOM"

_STRIP_PX: Final = 1024


def is_predictions(path: Path) -> bool:
    """Say whether a path is a folder of predictions."""
    return (path / INFO_NAME).is_file()


def prediction_drawings(root: Path, wanted: Sequence[str], facts: ImageFacts) -> tuple[list[Drawing], LabelMap]:
    """Trace the label rasters of a folder of predictions.

    Args:
        root: The folder.
        wanted: Only these slides, by name; all if empty.
        facts: What the user said; for a single slide it comes first.

    Returns:
        A drawing a slide, and the labels as they were predicted, for formats of pixels.

    Raises:
        ConfigError: There is no slide of a name.
        FormatError: The folder is damaged.
    """
    predictions = read_predictions(root)
    there = {slide.name: slide for slide in predictions.slides}
    missing = [name for name in wanted if name not in there]
    if missing or not there:
        raise ConfigError(f"{root}: no slide {listed(missing)} among these predictions; there are {listed(there)}")
    chosen = [there[name] for name in wanted] if wanted else list(predictions.slides)
    drawings = [_drawing(predictions, slide, facts if len(chosen) == 1 else ImageFacts()) for slide in chosen]
    return drawings, _as_predicted(predictions.label_map)


def _drawing(predictions: PredictionSet, slide: SlidePrediction, facts: ImageFacts) -> Drawing:
    labels = predictions.label_map
    mpp = None if slide.mpp is None else slide.mpp / slide.downsample
    image = facts.filled(ImageFacts(name=slide.name, width=slide.width, height=slide.height, mpp=mpp))
    is_there = bool(slide.image) and Path(slide.image).exists()
    if is_there and not slide.entry:  # an entry may show its slide turned or cropped
        image = image.filled(slide_facts(Path(slide.image)))
    strips = ((y, bands[0], None) for y, bands in read_strips(predictions.root / slide.labels, rows=_STRIP_PX))
    found = outlines_of(trace(strips, skip={labels.background, labels.ignore})).by_value()
    objects = [_object(predictions, slide, value, polygon) for value, areas in found.items() for polygon in areas]
    return Drawing(
        objects=tuple(objects),
        image=image,
        downsample=slide.downsample,
        notes={WITHIN: int(slide.within is not None), GONE: int(not is_there)},
    )


def _object(predictions: PredictionSet, slide: SlidePrediction, value: int, polygon: shapely.Polygon) -> Annotation:
    labels = predictions.label_map
    area = scale(polygon, slide.downsample, slide.downsample, origin=(0, 0))
    color = next((item.color for item in labels.classes if item.value == value), None)
    path_class = read_class(labels.name_of(value), color)
    return Annotation(
        geometry=area,
        shape=area_shape(area),
        path_class=path_class,
        metadata=provenance(predictions.run, predictions.model, str(path_class), area),
    )


def _as_predicted(labels: LabelMap) -> LabelMap:
    """The same values, each drawn with the class that it was predicted as."""
    named = [(item, str(read_class(item.name, item.color))) for item in labels.classes]
    classes = tuple(LabelClass(name, item.value, (name,), item.color) for item, name in named)
    return LabelMap(classes=classes, background=labels.background, ignore=labels.ignore)
