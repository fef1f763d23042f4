"""qpkit report of predictions: what was found on which slide, how far to trust it, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qpkit.core.annotation import Annotation
from qpkit.core.labels import label_colors
from qpkit.errors import ProjectError, about, listed
from qpkit.files import replace_file
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import read_window
from qpkit.predictions.told import Told, ToldSlide, told_of
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project
from qpkit.report.figures.maps import color_scale
from qpkit.report.pages.html import picture, render
from qpkit.settings import Settings
from qpkit.slides import SlideSource
from qpkit.workflows.inputs.entry_view import entry_source
from qpkit.workflows.pages.areas_table import areas_table
from qpkit.workflows.pages.preview import SLIDE_PX
from qpkit.workflows.pages.slide_maps import distance_map, uncertainty_map
from qpkit.workflows.pages.slide_pictures import thumbnail_of, with_classes
from qpkit.workflows.pages.slide_rows import (
    FOUND,
    SPEED,
    TRUST,
    class_columns,
    rows_to_csv,
    slide_rows,
    table_of_slides,
)
from qpkit.workflows.tables.measure import MeasureSettings, measure, regions_of
from qpkit.workflows.tables.measured_rasters import measure_rasters
from qpkit.workflows.tables.places import MeasureReport

MOST_PICTURES: Final = 100
"""Slides that are shown; tables have all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings(Settings):
    """What a report about predictions measures in a project.

    Args:
        region: Class of the annotations that are measured one by one, such as "Region*" (repeatable).
        patient: Metadata key that names the patient.
    """

    region: tuple[str, ...] = ("Region*",)
    patient: str = "Patient"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPage:
    """What was written: slides on the page, and what the user has to know."""

    slides: int
    notes: tuple[str, ...]


def report_predictions(
    predictions: PredictionSet,
    page: Path,
    settings: ReportSettings,
    *,
    project: Project | None = None,
    table: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> ReportPage:
    """Write a page about predictions; it needs nothing beside it.

    Args:
        predictions: Opened.
        page: HTML file to write.
        settings: What is measured.
        project: Where the slides are now, their regions and patients; without it they are looked for where they were
            predicted, and whole slides are measured.
        table: CSV file to write, with a row for each slide.
        on_progress: Called with slides measured and shown, and all steps of that.

    Raises:
        ProjectError: No slide of the predictions is in the project.
        FormatError: predictions.json or a raster is damaged, or the project's data.
        OutputError: Page or table cannot be written.
    """
    told = told_of(predictions)
    entries = {} if project is None else _entries_of(predictions, project)
    tick = Ticker(2 * len(predictions.slides) + len(entries), on_progress)
    of_slides = measure_rasters(predictions, on_progress=lambda _, __, text: tick(text))
    measured = of_slides
    if project is not None:
        measured = _in_project(predictions, project, entries, settings, lambda _, __, text: tick(text))
    names = [item.name for item in predictions.label_map.classes if item.value != predictions.label_map.background]
    rows = slide_rows(predictions.slides, told, of_slides.rows, names)
    notes = [*predictions.notes, *measured.notes, *_notes(predictions, told, project, entries)]
    shown = []
    for slide in predictions.slides[:MOST_PICTURES]:
        shown.append(_slide(predictions, slide, told, entries.get(slide.name), settings, notes))
        tick(slide.name)
    text = render(
        "predictions",
        title=f"Predictions {predictions.root.name}",
        subtitle=_subtitle(predictions, told),
        notes=notes,
        legend=[(predictions.label_map.name_of(v), rgb) for v, rgb in label_colors(predictions.label_map).items()],
        scale=picture(color_scale()) if any(slide["maps"] for slide in shown) else None,
        found=table_of_slides(rows, FOUND | class_columns(names)),
        trust=table_of_slides(rows, TRUST) if told.slides else None,
        areas=areas_table(measured.rows),
        speed=table_of_slides(rows, SPEED) if told.slides else None,
        slides=shown,
    )
    replace_file(page, text.encode())
    if table is not None:
        replace_file(table, rows_to_csv(rows))
    return ReportPage(slides=len(shown), notes=tuple(notes))


def _entries_of(predictions: PredictionSet, project: Project) -> dict[str, Entry]:
    """Entries of a project by the name of their slide in the predictions."""
    found = {
        slide.name: entry
        for slide in predictions.slides
        for entry in project.entries
        if slide.entry == str(entry.id) or slide.name == entry.name
    }
    if not found:
        raise ProjectError(f"{project.path}: has no slide of {predictions.root}; give the project that was predicted")
    return found


def _in_project(
    predictions: PredictionSet,
    project: Project,
    entries: Mapping[str, Entry],
    settings: ReportSettings,
    on_progress: OnProgress,
) -> MeasureReport:
    """Measure regions, slides and patients of the entries."""
    chosen = tuple(str(entry.id) for entry in entries.values())
    how = MeasureSettings(what=str(predictions.root), region=settings.region, patient=settings.patient, entries=chosen)
    return measure(project, how, on_progress=on_progress)


def _notes(predictions: PredictionSet, told: Told, project: Project | None, entries: Mapping[str, Entry]) -> list[str]:
    notes = [f"{slide.name}: {note}" for slide in told.slides for note in slide.notes]
    notes += [
        f"{slide.name}: {len(slide.broken)} tile(s) could not be read and are background: at "
        + listed(slide.broken, joint="; ")
        for slide in told.slides
        if slide.broken
    ]
    notes += [f"skipped {about(name, reason)}" for name, reason in told.skipped]
    elsewhere = [slide.name for slide in predictions.slides if slide.name not in entries]
    if project is not None and elsewhere:
        notes.append(f"not in {project.path.parent.name}, so without regions: {listed(elsewhere)}")
    if len(predictions.slides) > MOST_PICTURES:
        notes.append(f"the first {MOST_PICTURES} of {len(predictions.slides)} slides are shown; the tables have all")
    return notes


def _subtitle(predictions: PredictionSet, told: Told) -> str:
    parts = [f"run {predictions.run}, model {predictions.model}, {len(predictions.slides)} slide(s)"]
    if told.device:
        parts.append(f"predicted on {told.device}, {told.precision}")
    if told.seconds is not None:
        busy = "" if told.device_busy is None else f", device busy {told.device_busy:.0%}"
        parts.append(f"{told.seconds:,.0f} s in all{busy}")
    return "; ".join(parts)


def _slide(
    predictions: PredictionSet,
    slide: SlidePrediction,
    told: Told,
    entry: Entry | None,
    settings: ReportSettings,
    notes: list[str],
) -> dict[str, Any]:
    ground = thumbnail_of(lambda: _source(slide, entry), (slide.width, slide.height), side=SLIDE_PX)
    if ground.missing:
        notes.append(f"{slide.name}: shown without its pixels: {ground.missing}")
    regions: list[Annotation] = []
    if entry is not None and entry.has_data:
        regions = regions_of(entry.objects(), MeasureSettings(region=settings.region))
    labels = predictions.label_map
    mask = read_window(predictions.root / slide.labels, ground.tile, raster_downsample=slide.downsample)
    said = told.by_slide.get(slide.name, ToldSlide(name=slide.name))
    scale = f"{slide.mpp:.4g} um/px" if slide.mpp else f"downsample {slide.downsample:g}, um/px unknown"
    return {
        "name": slide.name,
        "note": f"{slide.width:,} x {slide.height:,} px, predicted at {scale}"
        + (f", only inside {slide.within}" if slide.within else ""),
        "picture": picture(with_classes(ground, mask, labels, regions, show_ignore=slide.within is not None)),
        "caption": f"Predicted classes. Black: {listed(settings.region)}." if regions else "Predicted classes.",
        "maps": [*uncertainty_map(predictions, slide, said, ground), *distance_map(slide, said, told, ground)],
    }


def _source(slide: SlidePrediction, entry: Entry | None) -> SlideSource:
    return SlideSource(name=slide.name, path=Path(slide.image)) if entry is None else entry_source(entry)
