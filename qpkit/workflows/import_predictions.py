"""qpkit import-predictions: label rasters to valid polygons in the QuPath project they came from."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import shapely

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelMap
from qpkit.core.provenance import (
    RUN_KEY,
    is_prediction,
    is_untouched,
    prediction_id,
    prediction_name,
    provenance,
)
from qpkit.errors import ConfigError, ProjectError, listed
from qpkit.files import new_folder, pretty_json, safe_names
from qpkit.ops.masks.rasterize import count_values
from qpkit.ops.vectors.merge import merge, simplify_together, to_slide
from qpkit.ops.vectors.vectorize import mean_inside, vectorize
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import read_strips, strip_count
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project, write_geojson
from qpkit.settings import Flag, Range, Settings
from qpkit.workflows.inputs.entry_view import unsupported_view

AREA: Final = "Area µm^2"
"""QuPath's own name for an area measurement."""

INFO_NAME: Final = "import.json"
"""Beside GeoJSON files: which run they are of, which slide each belongs to, and the report."""

STRIP_PX: Final = 1024
"""Raster rows read at once: memory does not grow with the slide."""


def _kind(text: str) -> Literal["annotation", "detection"]:
    if text in ("annotations", "detections"):
        return "annotation" if text == "annotations" else "detection"
    raise ConfigError(f"--as {text!r}: has to be annotations or detections")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSettings(Settings):
    """How rasters become objects.

    Args:
        kind: annotations or detections: QuPath's object type.
        min_area_um2: Leave out smaller polygons; they are counted.
        simplify_um: Smooth outlines by about this much, without gaps between classes; 0 keeps every pixel corner.
    """

    kind: Annotated[Literal["annotation", "detection"], Flag(name="--as", parse=_kind, shown="annotations")] = (
        "annotation"
    )
    min_area_um2: Annotated[float, Range(at_least=0)] = 0.0
    simplify_um: Annotated[float, Range(at_least=0)] = 0.0


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
        added, removed, unchanged: Objects in the project.
        kept_edited: Objects of earlier imports that a person has changed since; they stay.
        recognised: Predictions in the project that have lost their metadata, known by their ids or names.
        notes: What the user has to know about the rasters of all slides.
        seconds: Wall time.
    """

    name: str
    objects: Mapping[str, int]
    area_mm2: Mapping[str, float] | None
    raster_mm2: Mapping[str, float] | None
    too_small: int
    mended: int
    added: int = 0
    removed: int = 0
    unchanged: int = 0
    kept_edited: int = 0
    recognised: int = 0
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Polygons:
    """Polygons of one slide, ready for QuPath, and how many raster px each class had."""

    objects: list[Annotation]
    raster_px: Mapping[str, int]
    too_small: int
    mended: int


def import_predictions(
    predictions: PredictionSet,
    project: Project,
    settings: ImportSettings,
    *,
    on_progress: OnProgress = no_progress,
) -> list[SlideImport]:
    """Put the objects of a predictions folder into the project's .qpdata files.

    What an earlier import put there and nobody has touched since is replaced; human objects, and predictions that a
    person has edited, stay. The same run imported twice changes no byte.

    Raises:
        ProjectError: A slide of the predictions is not in the project, or is of another size there.
        FormatError: A .qpdata cannot be read or must not be rewritten; entries before it are done.
    """
    entries = [_entry_of(slide, project) for slide in predictions.slides]
    predictions = replace(predictions, label_map=_with_known_colors(predictions.label_map, project))
    tick = _ticker(predictions, on_progress)
    reports = []
    for slide, entry in zip(predictions.slides, entries, strict=True):
        start = time.perf_counter()
        shapes = _shapes(predictions, slide, settings, tick)
        reports.append(_report(predictions, slide, shapes, _replace(entry, shapes.objects), start))
    return reports


def predictions_to_geojson(
    predictions: PredictionSet,
    out: Path,
    settings: ImportSettings,
    *,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> list[SlideImport]:
    """Write one GeoJSON file per slide instead of touching a project.

    Raises:
        OutputError: `out` holds something.
    """
    tick = _ticker(predictions, on_progress)
    reports = []
    names = [f"{stem}.geojson" for stem in safe_names([s.name for s in predictions.slides])]
    with new_folder(out, marker=INFO_NAME, overwrite=overwrite) as root:
        for slide, name in zip(predictions.slides, names, strict=True):
            start = time.perf_counter()
            shapes = _shapes(predictions, slide, settings, tick)
            write_geojson(root / name, shapes.objects)
            reports.append(_report(predictions, slide, shapes, {"added": len(shapes.objects)}, start))
        record = {
            "run": predictions.run,
            "model": predictions.model,
            "files": [_file(slide, name) for slide, name in zip(predictions.slides, names, strict=True)],
            "slides": msgspec.to_builtins(reports),
        }
        (root / INFO_NAME).write_bytes(pretty_json(record) + b"\n")
    return reports


def _file(slide: SlidePrediction, name: str) -> dict[str, str | int]:
    """What groovy/import_predictions.groovy finds the entry of a file by, as `_entry_of` does."""
    place = {"slide": slide.name, "image": slide.image, "entry": slide.entry}
    return {"file": name, **place, "width": slide.width, "height": slide.height}


def _ticker(predictions: PredictionSet, on_progress: OnProgress) -> Ticker:
    """One step per strip of the label rasters and one per slide for the rest."""
    return Ticker(sum(strip_count(s, rows=STRIP_PX) + 1 for s in predictions.slides), on_progress)


def _report(
    predictions: PredictionSet, slide: SlidePrediction, shapes: _Polygons, change: Mapping[str, int], start: float
) -> SlideImport:
    mm2: dict[str, float] = {}
    for item in shapes.objects:
        name = item.class_name or ""
        mm2[name] = mm2.get(name, 0.0) + item.measurements.get(AREA, 0.0) / 1e6
    return SlideImport(
        name=slide.name,
        objects=Counter(o.class_name or "" for o in shapes.objects),
        area_mm2=None if slide.mpp is None else mm2,
        raster_mm2=None
        if slide.mpp is None
        else {name: px * slide.mpp**2 / 1e6 for name, px in shapes.raster_px.items()},
        notes=predictions.notes,
        too_small=shapes.too_small,
        mended=shapes.mended,
        seconds=time.perf_counter() - start,
        **change,
    )


def _replace(entry: Entry, new: Sequence[Annotation]) -> dict[str, int]:
    """Bring one entry's predictions up to date."""
    made = {o.id: o for o in new}
    # Of an object without metadata and with another name the id still tells that it was predicted.
    there = [o for o in entry.objects() if is_prediction(o) or o.id in made] if entry.has_data else []
    # Without an id nothing tells that it is the same object: it counts as edited, and stays.
    untouched = {o.id: o for o in there if o.id is not None and _is_untouched(o, made.get(o.id))}
    edited = {o.id for o in there if o.id not in untouched}
    recognised = sum(not o.metadata.get(RUN_KEY) for o in there)
    unchanged = {o.id for o in new if o.id in untouched and _alike(o, untouched[o.id])}
    remove = set(untouched) - unchanged
    add = [o for o in new if o.id not in unchanged and o.id not in edited]
    if remove or add:
        entry.replace_objects(remove=remove, add=add)
    return {
        "added": len(add),
        "removed": len(remove),
        "unchanged": len(unchanged),
        "kept_edited": len(edited),
        "recognised": recognised,
    }


def _is_untouched(old: Annotation, new: Annotation | None) -> bool:
    """Whether nobody has changed an object since it was imported; `new` is the prediction with its id."""
    if RUN_KEY in old.metadata or new is None:
        return is_untouched(old)
    return is_untouched(replace(new, geometry=old.geometry, path_class=old.path_class, locked=old.locked))


def _alike(new: Annotation, old: Annotation) -> bool:
    """Whether an object of the same id says the same: its kind and its measurements."""
    same_names = new.measurements.keys() == old.measurements.keys()
    return (
        new.kind == old.kind
        and RUN_KEY in old.metadata
        and same_names
        # QuPath may have saved the measurements again, as floats.
        and all(math.isclose(value, old.measurements[name], rel_tol=1e-5) for name, value in new.measurements.items())
    )


def _entry_of(slide: SlidePrediction, project: Project) -> Entry:
    """The project's entry of a predicted slide: by name, else by the image file's name, with the id if need be."""
    named = [e for e in project.entries if e.name == slide.name]
    same = named or [e for e in project.entries if e.image_name == Path(slide.image).name]
    same = [e for e in same if str(e.id) == slide.entry] or same
    if len(same) != 1:
        there = listed(repr(e.name) for e in project.entries)
        why = "several entries" if same else "no entry"
        raise ProjectError(f"{project.path}: {why} for predicted slide {slide.name!r} (entries: {there})")
    reason = unsupported_view(same[0])
    if reason:
        raise ProjectError(f"entry {same[0].name!r}: QuPath {reason}, so predictions would not fit")
    size = same[0].image_size
    if size is not None and size != (slide.width, slide.height):
        raise ProjectError(
            f"entry {same[0].name!r}: is {size[0]} x {size[1]} px, the predicted slide was "
            f"{slide.width} x {slide.height}; predict the project's own image"
        )
    return same[0]


def _shapes(predictions: PredictionSet, slide: SlidePrediction, settings: ImportSettings, tick: Ticker) -> _Polygons:
    labels = predictions.label_map
    skip = {labels.background, labels.ignore}
    pieces = []
    found: Counter[int] = Counter()
    for y, values in read_strips(predictions.root / slide.labels, rows=STRIP_PX):
        found.update(count_values(values[0], labels.values))
        pieces.append(vectorize(values[0], skip=skip, y=y))
        tick(slide.name)
    by_value = merge(pieces)
    flat = [(value, polygon) for value, polygons in by_value.items() for polygon in polygons]
    um2_per_px = math.nan if slide.mpp is None else slide.mpp**2
    if settings.min_area_um2 or settings.simplify_um:
        _require_mpp(slide)
    # Not ">=": without um per px the area is NaN, and all polygons stay.
    large = [(v, p) for v, p in flat if not p.area * um2_per_px < settings.min_area_um2]
    # Before the outlines are simplified: until then they follow the pixels and do not overlap.
    means = _mean_probabilities(predictions, slide, large)
    tolerance = settings.simplify_um / slide.mpp if slide.mpp and settings.simplify_um else 0.0
    outlines = simplify_together([p for _, p in large], tolerance)
    objects: list[Annotation] = []
    mended = vanished = 0
    numbers: Counter[int] = Counter()
    for (value, _), outline, mean in zip(large, outlines, means, strict=True):
        parts, was_mended = to_slide(outline, slide.downsample)
        mended += was_mended
        vanished += not parts
        for part in parts:
            numbers[value] += 1
            objects.append(_object(predictions, slide, settings, value, part, mean, numbers[value]))
    tick(slide.name)
    raster_px = {str(PathClass.parse(c.name)): found[c.value] for c in labels.classes if found[c.value]}
    return _Polygons(objects=objects, raster_px=raster_px, too_small=len(flat) - len(large) + vanished, mended=mended)


def _require_mpp(slide: SlidePrediction) -> None:
    if slide.mpp is None:
        raise ConfigError(f"{slide.name}: no um/px known; leave --min-area-um2 and --simplify-um out")


def _mean_probabilities(
    predictions: PredictionSet, slide: SlidePrediction, polygons: Sequence[tuple[int, shapely.Polygon]]
) -> list[float | None]:
    """Mean probability of each polygon's own class, 0..1; None without a probability raster."""
    if slide.probabilities is None:
        return [None] * len(polygons)
    bands = {value: band for band, value in enumerate(predictions.label_map.trained_values)}
    means: list[float | None] = [None] * len(polygons)
    for value in {v for v, _ in polygons}:
        own = [i for i, (v, _) in enumerate(polygons) if v == value]
        raster = predictions.root / slide.probabilities
        strips = ((y, probabilities[bands[value]]) for y, probabilities in read_strips(raster, rows=STRIP_PX))
        for i, mean in zip(own, mean_inside([polygons[i][1] for i in own], strips), strict=True):
            means[i] = float(mean) / 255
    return means


def _object(
    predictions: PredictionSet,
    slide: SlidePrediction,
    settings: ImportSettings,
    value: int,
    polygon: shapely.Polygon,
    mean: float | None,
    number: int,
) -> Annotation:
    name = predictions.label_map.name_of(value)
    path_class = PathClass.parse(name, color_of(predictions.label_map, value))
    measurements = {}
    if mean is not None:
        measurements["Mean probability"] = round(mean, 4)
    if slide.mpp is not None:
        # The polygon is in slide px, mpp are um per raster px.
        measurements[AREA] = round(polygon.area * (slide.mpp / slide.downsample) ** 2, 2)
    return Annotation(
        geometry=polygon,
        shape="polygon" if not polygon.interiors else "geometry",
        path_class=path_class,
        kind=settings.kind,
        id=prediction_id(predictions.run, slide.name, str(path_class), polygon),
        name=prediction_name(name, number, predictions.run),
        measurements=measurements,
        metadata=provenance(predictions.run, predictions.model, str(path_class), polygon),
    )


def _with_known_colors(labels: LabelMap, project: Project) -> LabelMap:
    """The classes in the colours that they have in the project; the others keep theirs."""
    names = {item.name: str(PathClass.parse(item.name)) for item in labels.classes}
    known = project.known_classes(set(names.values()))
    colors = {name: known[full].color for name, full in names.items() if full in known}
    return replace(labels, classes=tuple(replace(c, color=colors.get(c.name) or c.color) for c in labels.classes))


def color_of(labels: LabelMap, value: int) -> int | None:
    """Signed ARGB of a label value, or None if its class has no colour."""
    return next((c.color for c in labels.classes if c.value == value), None)
