"""qpkit import-predictions: label rasters to valid polygons in the QuPath project they came from."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelMap
from qpkit.core.provenance import (
    RUN_KEY,
    is_prediction,
    is_untouched,
    prediction_ids,
    prediction_name,
    provenances,
)
from qpkit.errors import ConfigError, ProjectError, listed
from qpkit.files import new_folder, pretty_json, safe_names
from qpkit.ops.masks.rasterize import count_values
from qpkit.ops.vectors.for_qupath import to_slide
from qpkit.ops.vectors.vectorize import outlines_of, trace
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
        min_area_um2: Smaller areas become their surroundings; they are counted.
        simplify_um: How far outlines may move in simplifying, without gaps between classes; 0 keeps every pixel corner.
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
    if settings.min_area_um2 or settings.simplify_um:
        _require_mpp(slide)
    mpp = slide.mpp or math.nan
    found: Counter[int] = Counter()
    arcs = trace(_strips(predictions, slide, found, tick), skip={labels.background, labels.ignore})
    made = outlines_of(
        arcs,
        tolerance=settings.simplify_um / mpp if settings.simplify_um else 0.0,
        least_px=settings.min_area_um2 / mpp**2 if settings.min_area_um2 else 0.0,
        has_weights=slide.probabilities is not None,
    )
    parts, of, mended = to_slide(made.polygons, slide.downsample, follow_pixels=not settings.simplify_um)
    objects = _objects(predictions, slide, settings, parts, made.values[of], made.means[of])
    tick(slide.name)
    raster_px = {str(PathClass.parse(c.name)): found[c.value] for c in labels.classes if found[c.value]}
    vanished = len(made.polygons) - len(np.unique(of))
    return _Polygons(objects=objects, raster_px=raster_px, too_small=made.too_small + vanished, mended=mended)


def _require_mpp(slide: SlidePrediction) -> None:
    if slide.mpp is None:
        raise ConfigError(f"{slide.name}: no um/px known; leave --min-area-um2 and --simplify-um out")


def _strips(
    predictions: PredictionSet, slide: SlidePrediction, found: Counter[int], tick: Ticker
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8] | None]]:
    """Labels, and where there are probabilities that of each pixel's own class, strip by strip; counts the labels."""
    strips = read_strips(predictions.root / slide.labels, rows=STRIP_PX)
    if slide.probabilities is None:
        pairs: Iterator[tuple[tuple[int, NDArray[np.uint8]], NDArray[np.uint8] | None]] = ((s, None) for s in strips)
    else:
        others = read_strips(predictions.root / slide.probabilities, rows=STRIP_PX)
        pairs = ((strip, bands) for strip, (_, bands) in zip(strips, others, strict=True))
    for (y, values), bands in pairs:
        found.update(count_values(values[0], predictions.label_map.values))
        own = None
        if bands is not None:
            own = np.zeros_like(values[0])
            for band, value in enumerate(predictions.label_map.trained_values):
                np.copyto(own, bands[band], where=values[0] == value)
        yield y, values[0], own
        tick(slide.name)


def _objects(
    predictions: PredictionSet,
    slide: SlidePrediction,
    settings: ImportSettings,
    polygons: NDArray[np.object_],
    values: NDArray[np.int64],
    means: NDArray[np.float64],
) -> list[Annotation]:
    """The polygons of a slide as objects; `means` are of 0..255, NaN without probabilities."""
    labels = predictions.label_map
    names = {int(value): labels.name_of(int(value)) for value in np.unique(values)}
    classes = {value: PathClass.parse(name, color_of(labels, value)) for value, name in names.items()}
    of_each = [str(classes[value]) for value in values.tolist()]
    ids = prediction_ids(predictions.run, slide.name, of_each, polygons)
    origins = provenances(predictions.run, predictions.model, of_each, polygons)
    # The polygons are in slide px, mpp are um per raster px.
    um2 = shapely.area(polygons) * ((slide.mpp or math.nan) / slide.downsample) ** 2
    has_holes = shapely.get_num_interior_rings(polygons) > 0
    numbers: Counter[int] = Counter()
    objects = []
    for i, value in enumerate(values.tolist()):
        numbers[value] += 1
        measured = {"Mean probability": round(float(means[i]) / 255, 4), AREA: round(float(um2[i]), 2)}
        objects.append(
            Annotation(
                geometry=polygons[i],
                shape="geometry" if has_holes[i] else "polygon",
                path_class=classes[value],
                kind=settings.kind,
                id=ids[i],
                name=prediction_name(names[value], numbers[value], predictions.run),
                measurements={name: number for name, number in measured.items() if not math.isnan(number)},
                metadata=origins[i],
            )
        )
    return objects


def _with_known_colors(labels: LabelMap, project: Project) -> LabelMap:
    """The classes in the colours that they have in the project; the others keep theirs."""
    names = {item.name: str(PathClass.parse(item.name)) for item in labels.classes}
    known = project.known_classes(set(names.values()))
    colors = {name: known[full].color for name, full in names.items() if full in known}
    return replace(labels, classes=tuple(replace(c, color=colors.get(c.name) or c.color) for c in labels.classes))


def color_of(labels: LabelMap, value: int) -> int | None:
    """Signed ARGB of a label value, or None if its class has no colour."""
    return next((c.color for c in labels.classes if c.value == value), None)
