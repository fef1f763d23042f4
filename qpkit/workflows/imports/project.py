"""Predictions into the project that they came from, and out again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from qpkit.core.annotation import PathClass
from qpkit.core.labels import LabelMap
from qpkit.core.lazy_annotations import ids_of
from qpkit.core.provenance import is_prediction, is_untouched, run_of
from qpkit.errors import ProjectError, listed, or_else
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.ledger import Ledgers
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import Entry, Project
from qpkit.workflows.imports.change import Change
from qpkit.workflows.imports.objects import SlideObjects, renamed, slide_objects
from qpkit.workflows.imports.parents import put_below, require_regions
from qpkit.workflows.imports.rasters import ticker
from qpkit.workflows.imports.result import SlideImport, report
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.entry_view import unsupported_view


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
    entries = entries_of(predictions.slides, project, settings)
    labels = renamed(predictions.label_map, settings)
    predictions = replace(predictions, label_map=_with_known_colors(labels, project))
    tick = ticker(predictions, on_progress)
    ledgers = Ledgers(project.path.parent)
    reports = []
    for slide, entry in zip(predictions.slides, entries, strict=True):
        start = time.perf_counter()
        shapes = slide_objects(predictions, slide, settings, tick)
        change = Change.of(entry, shapes.objects, predictions.run, ledgers, settings)
        counts = change.counts()
        if not settings.dry_run:
            change.make(entry, ledgers, _said(settings, shapes))
            if settings.parent is not None:
                counts["outside_parents"] = put_below(entry, set(ids_of(change.now)), settings.parent)
        reports.append(report(predictions, slide, shapes, counts, start))
    return [replace(report, notes=(*report.notes, *ledgers.notes)) for report in reports]


def entries_of(slides: Sequence[SlidePrediction], project: Project, settings: ImportSettings) -> list[Entry]:
    """Find the entries of predicted slides.

    Raises:
        ProjectError: A slide is not in the project, or is of another size there.
        ConfigError: An entry has no annotation of `settings.parent`.
    """
    entries = [_entry_of(slide, project) for slide in slides]
    if settings.parent is not None:
        for entry in entries:
            require_regions(entry, settings.parent)
    return entries


def _said(settings: ImportSettings, shapes: SlideObjects) -> dict[str, Any]:
    """What the ledger keeps of an import into one entry."""
    return {**msgspec.to_builtins(settings), "too_small": shapes.too_small, "mended": shapes.mended}


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


def _with_known_colors(labels: LabelMap, project: Project) -> LabelMap:
    """The classes in the colours that they have in the project; the others keep theirs."""
    names = {item.name: str(PathClass.parse(item.name)) for item in labels.classes}
    known = project.known_classes(set(names.values()))
    colors = {name: known[full].color for name, full in names.items() if full in known}
    return replace(labels, classes=tuple(replace(c, color=colors.get(c.name) or c.color) for c in labels.classes))
