"""The rasters of a slide to objects, in the slide frame."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import PathClass
from qpkit.core.annotation_fields import AnnotationFields
from qpkit.core.labels import LabelMap
from qpkit.core.lazy_annotations import AnnotationColumns, LazyAnnotations
from qpkit.core.provenance import prediction_ids, prediction_name, provenance_columns
from qpkit.core.shape_columns import ShapeColumns
from qpkit.errors import ConfigError, or_else
from qpkit.memory import give_back
from qpkit.ops.vectors.shape_features import shape_features
from qpkit.ops.vectors.sweep import trace, trace_parts
from qpkit.ops.vectors.vectorize import Outlines, outlines_of
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.progress import Ticker
from qpkit.workflows.imports.rasters import NO_OBJECT, areas, instances, watershed_objects
from qpkit.workflows.imports.settings import ImportSettings

AREA: Final = "Area µm^2"
"""QuPath's own name for an area measurement."""

_RATIOS: Final = ("Mean probability", "Circularity", "Solidity")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideObjects:
    """Objects of one slide, ready for QuPath.

    Args:
        objects: The objects.
        raster_px: How many px of the raster each class had.
        too_small, mended: As SlideImport has them.
        cut: How many objects more there are because large ones were cut.
    """

    objects: LazyAnnotations
    raster_px: Mapping[str, int]
    too_small: int
    mended: int
    cut: int


def slide_objects(
    predictions: PredictionSet, slide: SlidePrediction, settings: ImportSettings, tick: Ticker
) -> SlideObjects:
    """Make the objects of one slide.

    Raises:
        ConfigError: A setting in um, and the slide has no um per px.
        FormatError: A raster cannot be read, or holds unknown values.
    """
    found: Counter[int] = Counter()
    made = _outlines(predictions, slide, settings, found, tick)
    too_small = made.too_small
    if _are_objects(slide, settings):
        made = made.joined() if slide.instances is not None else made
        is_small = made.areas < settings.min_area_um2 / (slide.mpp or math.inf) ** 2
        too_small += int(is_small.sum())
        made = made.chosen(np.flatnonzero(~is_small))
    whole = len(made.polygons)
    if settings.max_vertices:
        made = made.split(settings.max_vertices, slide.downsample)
    measured = _measurements(made, slide, settings)
    objects = _objects(predictions, slide, settings, made, measured)
    tick(slide.name)
    raster_px = {str(PathClass.parse(c.name)): found[c.value] for c in predictions.label_map.classes if found[c.value]}
    return SlideObjects(
        objects=objects,
        raster_px=raster_px,
        too_small=too_small,
        mended=made.mended,
        cut=len(objects) - whole,
    )


def _are_objects(slide: SlidePrediction, settings: ImportSettings) -> bool:
    return settings.objects != "areas" or slide.instances is not None


def _outlines(
    predictions: PredictionSet, slide: SlidePrediction, settings: ImportSettings, found: Counter[int], tick: Ticker
) -> Outlines:
    """Trace what was asked for; values are labels, or those of numbered objects. Counts the labels in `found`."""
    _require_mpp(slide, settings)
    mpp, labels = slide.mpp or math.inf, predictions.label_map
    if slide.instances is not None:
        strips, ground = instances(predictions, slide, found, tick), NO_OBJECT
    elif settings.objects == "watershed":
        strips, ground = watershed_objects(predictions, slide, settings.marker_um / mpp, found, tick), NO_OBJECT
    else:
        strips = areas(predictions, slide, found, tick, gap_px=settings.merge_gap_um / mpp)
        ground = labels.background
    # Holes are areas of the background, which is not traced unless they are asked for.
    skip = {labels.ignore} if settings.fill_holes_um2 else {labels.ignore, ground}
    tolerance, reach = settings.simplify_um / mpp, settings.smooth_um / mpp
    # An outline is simplified with an eye on all that is around it, so that all has to be known.
    parts = [trace(strips, skip=skip)] if tolerance or reach else trace_parts(strips, skip=skip)
    made = [
        outlines_of(
            part,
            tolerance=tolerance,
            reach=reach,
            # An object that is too small is none; an area that is too small is its surroundings.
            least_px=0.0 if _are_objects(slide, settings) else settings.min_area_um2 / mpp**2,
            ground=ground,
            holes_px=settings.fill_holes_um2 / mpp**2,
            has_weights=slide.probabilities is not None,
            downsample=slide.downsample,
        )
        for part in parts
    ]
    return Outlines.together(made)


def _require_mpp(slide: SlidePrediction, settings: ImportSettings) -> None:
    asked = [f"--{field.name.replace('_', '-')}" for field in fields(settings) if field.name.endswith(("_um", "_um2"))]
    asked = [option for option in asked if getattr(settings, option[2:].replace("-", "_"))]
    if settings.objects != "watershed":
        asked.remove("--marker-um")
    if asked and slide.mpp is None:
        raise ConfigError(f"{slide.name}: no um/px known; {', '.join(asked)} cannot be used: leave out, or set um/px")


def _objects(
    predictions: PredictionSet,
    slide: SlidePrediction,
    settings: ImportSettings,
    made: Outlines,
    measured: Mapping[str, NDArray[np.float64]],
) -> LazyAnnotations:
    """The outlines of a slide as objects, with what they measure; the polygons move out of `made` into columns."""
    labels, run = predictions.label_map, predictions.run
    values = made.values % 256
    names = {value: labels.name_of(value) for value in np.unique(values).tolist()}
    classes = {value: PathClass.parse(name, color_of(labels, value)) for value, name in names.items()}
    path_classes = [classes[value] for value in values.tolist()]
    full_names = {value: str(path_class) for value, path_class in classes.items()}
    shapes = ShapeColumns.taken_from(made.polygons)
    ids = prediction_ids(run, slide.name, [full_names[value] for value in values.tolist()], shapes)
    in_class = _numbers_in_class(values)
    columns = AnnotationColumns(
        numbers=np.arange(len(values)),
        ids=np.array(ids, object),
        path_classes=np.array(path_classes, object),
        kind=settings.kind or ("detection" if _are_objects(slide, settings) else "annotation"),
        shapes=shapes,
        measurements=measured,
    )
    give_back()

    def make(some: AnnotationColumns) -> AnnotationFields:
        polygons, own = some.shapes.take(some.numbers), values[some.numbers].tolist()
        is_plain = shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON
        is_plain &= shapely.get_num_interior_rings(polygons) == 0
        class_names = [full_names[value] for value in own]
        return AnnotationFields(
            geometries=polygons,
            shapes=["polygon" if plain else "geometry" for plain in is_plain.tolist()],
            path_classes=some.path_classes.tolist(),
            ids=some.ids.tolist(),
            names=[
                prediction_name(names[value], number, run)
                for value, number in zip(own, in_class[some.numbers].tolist(), strict=True)
            ],
            colors=[settings.colors.get(names[value]) for value in own],
            measurements={name: column[some.numbers] for name, column in measured.items()},
            metadata=provenance_columns(run, predictions.model, class_names, polygons, locked=settings.locked),
            kind=some.kind,
            locked=settings.locked,
        )

    return LazyAnnotations(columns, make)


def _numbers_in_class(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count 1, 2, ... for each value."""
    numbers = np.empty(len(values), np.int64)
    for value in np.unique(values):
        own = np.flatnonzero(values == value)
        numbers[own] = np.arange(1, len(own) + 1)
    return numbers


def _measurements(made: Outlines, slide: SlidePrediction, settings: ImportSettings) -> dict[str, NDArray[np.float64]]:
    """What each object is told to measure, by name; means are of 0..255, NaN without probabilities."""
    # The polygons are in slide px, mpp are um per raster px.
    um = None if slide.mpp is None else slide.mpp / slide.downsample
    columns = {"Mean probability": made.means / 255}
    if um is not None:
        columns[AREA] = shapely.area(made.polygons) * um**2
    if _are_objects(slide, settings):
        columns |= shape_features(made.polygons, um)
    return {name: np.round(column, 4 if name in _RATIOS else 2) for name, column in columns.items()}


def renamed(labels: LabelMap, settings: ImportSettings) -> LabelMap:
    """The map with the names that the user wants.

    Raises:
        ConfigError: A name or a colour is for a class that is not there.
    """
    names, known = settings.classes, [item.name for item in labels.classes]
    made = replace(labels, classes=tuple(replace(c, name=names.get(c.name, c.name)) for c in labels.classes))
    for option, stated, there in (
        ("--map", names, known),
        ("--color", settings.colors, [item.name for item in made.classes]),
    ):
        for name in stated:
            if name not in there:
                raise ConfigError(f"{option} {name}=...: there is no class {name!r}, {or_else(name, there)}")
    return made


def color_of(labels: LabelMap, value: int) -> int | None:
    """Signed ARGB of a label value, or None if its class has no colour."""
    return next((c.color for c in labels.classes if c.value == value), None)
