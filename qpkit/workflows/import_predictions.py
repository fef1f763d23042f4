"""qpkit import-predictions: label rasters to valid polygons in the QuPath project they came from."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

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
    run_of,
)
from qpkit.errors import ConfigError, ProjectError, listed, or_else
from qpkit.files import new_folder, pretty_json, safe_names
from qpkit.ops.masks.rasterize import count_values
from qpkit.ops.vectors.for_qupath import to_slide
from qpkit.ops.vectors.vectorize import outlines_of, trace
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.ledger import Ledgers, alike
from qpkit.predictions.store import read_strips, strip_count
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project, write_geojson
from qpkit.settings import Flag, Range, Settings, pairs_of
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
        fill_holes_um2: Smaller holes of background become their surroundings.
        classes: A class of the predictions under another name in the project, such as "Tumor=Tumor: Predicted"
            (repeatable).
        append: Leave what earlier runs put there; else what nobody has touched of it is replaced.
        restore: Put in again what a reviewer has deleted of this run.
        dry_run: Change nothing; say what would be.
    """

    kind: Annotated[Literal["annotation", "detection"], Flag(name="--as", parse=_kind, shown="annotations")] = (
        "annotation"
    )
    min_area_um2: Annotated[float, Range(at_least=0)] = 0.0
    simplify_um: Annotated[float, Range(at_least=0)] = 0.0
    fill_holes_um2: Annotated[float, Range(at_least=0)] = 0.0
    classes: Annotated[Mapping[str, str], Flag(name="--map", parse=pairs_of, many=True, metavar="CLASS=NAME")] = field(
        default_factory=dict
    )
    append: bool = False
    restore: bool = False
    dry_run: bool = False


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
        deleted: Objects left out because a reviewer has deleted them.
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
    deleted: int = 0
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
    person has edited, stay; what a person has deleted of this run is not put there again. The same run imported twice
    changes no byte. What was done is written into the project's ledger.

    Raises:
        ProjectError: A slide of the predictions is not in the project, or is of another size there.
        FormatError: A .qpdata cannot be read or must not be rewritten; entries before it are done.
    """
    entries = [_entry_of(slide, project) for slide in predictions.slides]
    labels = _renamed(predictions.label_map, settings.classes)
    predictions = replace(predictions, label_map=_with_known_colors(labels, project))
    tick = _ticker(predictions, on_progress)
    ledgers = Ledgers(project.path.parent)
    reports = []
    for slide, entry in zip(predictions.slides, entries, strict=True):
        start = time.perf_counter()
        shapes = _shapes(predictions, slide, settings, tick)
        change = _Change.of(entry, shapes.objects, predictions.run, ledgers, settings)
        if not settings.dry_run:
            change.make(entry, ledgers, _said(settings, shapes))
        reports.append(_report(predictions, slide, shapes, change.counts(), start))
    return [replace(report, notes=(*report.notes, *ledgers.notes)) for report in reports]


def _said(settings: ImportSettings, shapes: _Polygons) -> dict[str, Any]:
    """What the ledger keeps of an import into one entry."""
    return {**msgspec.to_builtins(settings), "too_small": shapes.too_small, "mended": shapes.mended}


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
    predictions = replace(predictions, label_map=_renamed(predictions.label_map, settings.classes))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What an import does to one entry.

    Args:
        run: The run that is imported.
        add: Objects to put in.
        remove: Ids of objects to take out, by the run that they are of.
        unchanged: Objects that are there as they would be put in.
        edited: Ids of predictions that a person has changed; they stay.
        recognised: Predictions that have lost their metadata.
        deleted: Rows of what a person deleted.
        left_out: How many objects were left out because of it.
    """

    run: str
    add: list[Annotation]
    remove: dict[str, set[str]]
    unchanged: list[Annotation]
    edited: set[str | None]
    recognised: int
    deleted: Any
    left_out: int

    @classmethod
    def of(
        cls, entry: Entry, made: Sequence[Annotation], run: str, ledgers: Ledgers, settings: ImportSettings
    ) -> _Change:
        """Compare what was made with what is there."""
        by_id = {o.id: o for o in made}
        objects = entry.objects() if entry.has_data else []
        ledger = ledgers.of(run)
        # Before anything else: what is gone, and no import took it out, a person has deleted.
        gone = ledger.deleted(str(entry.id), {o.id for o in objects})
        if settings.restore:
            gone = gone.slice(0, 0)
        is_gone = alike(made, gone)
        # Of an object without metadata and with another name the id still tells that it was predicted.
        there = [o for o in objects if is_prediction(o) or o.id in by_id]
        # Without an id nothing tells that it is the same object: it counts as edited, and stays.
        untouched = {o.id: o for o in there if o.id is not None and _is_untouched(o, by_id.get(o.id))}
        edited = {o.id for o in there if o.id not in untouched}
        new = [o for o, was_deleted in zip(made, is_gone, strict=True) if not was_deleted]
        unchanged = [o for o in new if o.id in untouched and _alike(o, untouched[o.id])]
        same = {o.id for o in unchanged}
        remove: dict[str, set[str]] = {}
        for identity, old in untouched.items():
            of = run if identity in by_id else run_of(old) or run
            if identity not in same and (of == run or not settings.append):
                remove.setdefault(of, set()).add(identity)
        return cls(
            run=run,
            add=[o for o in new if o.id not in same and o.id not in edited],
            remove=remove,
            unchanged=unchanged,
            edited=edited,
            recognised=sum(not o.metadata.get(RUN_KEY) for o in there),
            deleted=gone,
            left_out=int(is_gone.sum()),
        )

    def make(self, entry: Entry, ledgers: Ledgers, said: Mapping[str, Any]) -> None:
        """Change the entry, then the ledgers: what they do not know yet counts as not imported."""
        removed = set().union(*self.remove.values())
        if removed or self.add:
            entry.replace_objects(remove=removed, add=self.add)
        for run, ids in self.remove.items():
            if run != self.run:
                ledgers.put(ledgers.of(run).marked(str(entry.id), ids, "replaced"))
        now = [*self.unchanged, *self.add]
        ledgers.put(ledgers.of(self.run).after_import(str(entry.id), entry.name, now, self.deleted, said))

    def counts(self) -> dict[str, int]:
        """As SlideImport has them."""
        return {
            "added": len(self.add),
            "removed": sum(map(len, self.remove.values())),
            "unchanged": len(self.unchanged),
            "kept_edited": len(self.edited),
            "recognised": self.recognised,
            "deleted": self.left_out,
        }


def undo_import(project: Project, run: str, *, dry_run: bool = False) -> list[SlideImport]:
    """Take what a run put into a project out again; what a person has changed since stays and is counted.

    Raises:
        ProjectError: Nothing of that run is there.
        FormatError: A .qpdata cannot be read or must not be rewritten; entries before it are done.
    """
    ledgers = Ledgers(project.path.parent)
    reports = []
    runs: set[str] = set()
    for entry in project.entries:
        start = time.perf_counter()
        objects = [o for o in entry.objects() if is_prediction(o)] if entry.has_data else []
        runs |= {run_of(o) or "" for o in objects}
        own = [o for o in objects if run_of(o) == run]
        if not own:
            continue
        remove = {o.id for o in own if o.id is not None and is_untouched(o)}
        if remove and not dry_run:
            entry.replace_objects(remove=remove, add=())
            ledgers.put(ledgers.of(run).marked(str(entry.id), remove, "undone"))
        reports.append(
            SlideImport(
                name=entry.name, objects={}, area_mm2=None, raster_mm2=None, too_small=0, mended=0, removed=len(remove),
                kept_edited=len(own) - len(remove), notes=ledgers.notes, seconds=time.perf_counter() - start,
            )
        )  # fmt: skip
    if not reports:
        raise ProjectError(f"{project.path}: no object of run {run!r} is there, {or_else(run, sorted(runs))}")
    return reports


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
    if settings.min_area_um2 or settings.simplify_um or settings.fill_holes_um2:
        _require_mpp(slide)
    mpp = slide.mpp or math.nan
    found: Counter[int] = Counter()
    # Holes are areas of the background, which is not traced unless they are asked for.
    skip = {labels.ignore} if settings.fill_holes_um2 else {labels.background, labels.ignore}
    arcs = trace(_strips(predictions, slide, found, tick), skip=skip)
    made = outlines_of(
        arcs,
        tolerance=settings.simplify_um / mpp if settings.simplify_um else 0.0,
        least_px=settings.min_area_um2 / mpp**2 if settings.min_area_um2 else 0.0,
        ground=labels.background,
        holes_px=settings.fill_holes_um2 / mpp**2 if settings.fill_holes_um2 else 0.0,
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
        raise ConfigError(f"{slide.name}: no um/px known; leave out --min-area-um2, --simplify-um, --fill-holes-um2")


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


def _renamed(labels: LabelMap, names: Mapping[str, str]) -> LabelMap:
    """The map with other names for some classes.

    Raises:
        ConfigError: There is no such class.
    """
    known = [item.name for item in labels.classes]
    for name in names:
        if name not in known:
            raise ConfigError(f"--map {name}=...: the predictions have no class {name!r}, {or_else(name, known)}")
    return replace(labels, classes=tuple(replace(c, name=names.get(c.name, c.name)) for c in labels.classes))


def _with_known_colors(labels: LabelMap, project: Project) -> LabelMap:
    """The classes in the colours that they have in the project; the others keep theirs."""
    names = {item.name: str(PathClass.parse(item.name)) for item in labels.classes}
    known = project.known_classes(set(names.values()))
    colors = {name: known[full].color for name, full in names.items() if full in known}
    return replace(labels, classes=tuple(replace(c, color=colors.get(c.name) or c.color) for c in labels.classes))


def color_of(labels: LabelMap, value: int) -> int | None:
    """Signed ARGB of a label value, or None if its class has no colour."""
    return next((c.color for c in labels.classes if c.value == value), None)
