"""qpkit report of a project: the predictions that were imported into it, as they are there now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelMap, default_label_map, label_colors, with_colors
from qpkit.core.provenance import is_prediction, run_of
from qpkit.errors import listed
from qpkit.files import replace_file
from qpkit.ops.masks.rasterize import Painting
from qpkit.ops.vectors.areas import NO_CLASS, class_of
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project
from qpkit.report.pages.html import picture, render
from qpkit.workflows.inputs.entry_view import entry_source
from qpkit.workflows.pages.areas_table import areas_table
from qpkit.workflows.pages.predictions import MOST_PICTURES, ReportPage, ReportSettings
from qpkit.workflows.pages.preview import SLIDE_PX
from qpkit.workflows.pages.slide_pictures import thumbnail_of, with_classes
from qpkit.workflows.pages.slide_rows import Row, areas_of, rows_to_csv, table_of_slides
from qpkit.workflows.tables.measure import PREDICTIONS, MeasureSettings, measure, regions_of


def report_project(
    project: Project,
    page: Path,
    settings: ReportSettings,
    *,
    table: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> ReportPage:
    """Write a page about the predictions in a project; it needs nothing beside it. The project is only read.

    Args:
        project: The project.
        page: HTML file to write.
        settings: What is measured.
        table: CSV file to write, with a row for each slide.
        on_progress: Called with slides measured and shown, and twice their number.

    Raises:
        ProjectError: There are no predictions in it.
        FormatError: Data of an entry cannot be read.
        OutputError: Page or table cannot be written.
    """
    count = len(project.entries)
    how = MeasureSettings(what=PREDICTIONS, region=settings.region, patient=settings.patient)
    measured = measure(project, how, on_progress=lambda i, _, text: on_progress(i, 2 * count, text))
    notes = list(measured.notes)
    tick = Ticker(count, lambda i, _, text: on_progress(count + i, 2 * count, text))
    rows: list[Row] = []
    slides: list[dict[str, Any]] = []
    labels = _labels_of(project, {row.class_name for row in measured.rows})
    names = [item.name for item in labels.classes]
    for entry in project.entries:
        objects = entry.objects() if entry.has_data else []
        predicted = [item for item in objects if is_prediction(item)]
        if predicted:
            areas = areas_of(entry.name, measured.rows)
            runs = Counter(str(run_of(item)) for item in predicted)
            rows.append(
                {"slide": entry.name, "runs": ", ".join(sorted(runs)), "objects": runs.total()}
                | {f"{name} mm2": areas.get(name, 0.0) for name in names}
            )
            if len(slides) < MOST_PICTURES:
                regions = regions_of(objects, how)
                slides.append(_slide(entry, predicted, regions, labels, notes))
        tick(entry.name)
    if len(rows) > len(slides):
        notes.append(f"the first {MOST_PICTURES} of {len(rows)} slides are shown; the tables have all")
    headings = {"runs": "run", "objects": "objects"} | {f"{name} mm2": f"{name}, mm²" for name in names}
    text = render(
        "predictions",
        title=f"Predictions in {project.path.parent.name}",
        subtitle=f"{len(rows)} slide(s) with predictions; QuPath {project.version}",
        notes=notes,
        legend=[(labels.name_of(value), rgb) for value, rgb in label_colors(labels).items()],
        scale=None,
        found=table_of_slides(rows, headings),
        trust=None,
        areas=areas_table(measured.rows),
        speed=None,
        slides=slides,
    )
    replace_file(page, text.encode())
    if table is not None:
        replace_file(table, rows_to_csv(rows))
    return ReportPage(slides=len(slides), notes=tuple(notes))


def _labels_of(project: Project, names: set[str]) -> LabelMap:
    """A value for each class that was predicted, in the project's colours."""
    classes = [PathClass.parse(name) for name in sorted(names - {NO_CLASS})]
    return with_colors(default_label_map(classes), project.classes)


def _slide(
    entry: Entry, predicted: Sequence[Annotation], regions: Sequence[Annotation], labels: LabelMap, notes: list[str]
) -> dict[str, Any]:
    ground = thumbnail_of(lambda: entry_source(entry), entry.image_size, side=SLIDE_PX)
    if ground.missing:
        notes.append(f"{entry.name}: shown without its pixels: {ground.missing}")
    painting = Painting(predicted, labels, downsample=ground.downsample)
    mpp = entry.mpp()
    classes = Counter(class_of(item) for item in predicted)
    return {
        "name": entry.name,
        "note": f"{mpp:.4g} um/px" if mpp else "um/px not in the project",
        "picture": picture(with_classes(ground, painting.draw(ground.tile), labels, regions, show_ignore=False)),
        "caption": "Predicted objects: " + listed(f"{name} {count:,}" for name, count in classes.most_common()),
        "maps": [],
    }
