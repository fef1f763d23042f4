"""qpkit preview of a project: its slides with their annotations, the classes' areas, and what the doctor finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.labels import Eraser, LabelMap, default_label_map, label_colors, with_colors
from qpkit.core.tiles import Tile
from qpkit.errors import QpkitError
from qpkit.files import replace_file
from qpkit.ops.masks.rasterize import Painting
from qpkit.ops.vectors.areas import NO_CLASS, Cover, cover
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project, open_project
from qpkit.report.figures.tiles import tinted
from qpkit.report.pages.html import picture, render
from qpkit.slides import open_source
from qpkit.workflows.doctor.findings import Finding
from qpkit.workflows.doctor.project import examine_project
from qpkit.workflows.inputs.entry_view import entry_source
from qpkit.workflows.pages.preview import SLIDE_PX, PreviewReport

_TONES = {"error": "bad", "warning": "warn", "note": "dim"}


def preview_project(
    path: Path, page: Path, *, labels: LabelMap | None = None, on_progress: OnProgress = no_progress
) -> PreviewReport:
    """Write a page about a project.

    Args:
        path: A .qpproj file or its folder.
        page: HTML file to write; it needs nothing beside it.
        labels: Which classes are drawn; all of the project's if None.
        on_progress: Called with slides done and in all.

    Raises:
        ProjectError, FormatError: The project cannot be read.
        OutputError: The page cannot be written.
    """
    project = open_project(path)
    objects = {entry.id: _objects(entry) for entry in project.entries}
    rules = _rules(project, list(objects.values()), labels)
    tick = Ticker(len(project.entries), on_progress)
    notes: list[str] = []
    slides = []
    for entry in project.entries:
        slides.append(_slide(entry, objects[entry.id], rules, notes))
        tick(entry.name)
    findings = examine_project(path).findings
    text = render(
        "preview",
        title=f"Project {project.path.parent.name}",
        subtitle=f"{len(slides)} slide(s), {sum(map(len, objects.values())):,} objects; QuPath {project.version}",
        sections=[("classes", "Classes"), ("audit", "Audit"), ("slides", "Slides")],
        legend=[(rules.name_of(value), rgb) for value, rgb in label_colors(rules).items()],
        classes=_classes(project.entries, objects, rules),
        fractions=None,
        audit={"tables": [], "lines": [_line(finding) for finding in findings]},
        tiles=None,
        slides=slides,
    )
    replace_file(page, text.encode())
    return PreviewReport(page=page, slides=len(slides), tiles=0, notes=tuple(notes))


def _objects(entry: Entry) -> list[Annotation]:
    """Annotations of an entry; none if its data cannot be read, which the audit then says."""
    try:
        return [o for o in entry.objects() if o.kind == "annotation"] if entry.has_data else []
    except QpkitError:
        return []


def _rules(project: Project, objects: Sequence[Sequence[Annotation]], labels: LabelMap | None) -> LabelMap:
    listed = {str(c): c for c in project.classes}
    used = {str(o.path_class): o.path_class for item in objects for o in item if o.path_class}
    every = list((listed | {name: c for name, c in used.items() if name not in listed}).values())
    in_use = [c for c in every if str(c) in used]
    return with_colors(labels, every) if labels else default_label_map(in_use)


def _classes(entries: Sequence[Entry], objects: dict[int, list[Annotation]], rules: LabelMap) -> dict[str, Any]:
    """Objects and area by QuPath class."""
    covers = [(entry.mpp(), cover(objects[entry.id])) for entry in entries]
    counts = sum((Counter({name: own.objects for name, own in part.items()}) for _, part in covers), Counter[str]())
    rows = []
    for name, count in counts.most_common():
        own = [(mpp, part[name]) for mpp, part in covers if name in part]
        rows.append((name, f"{count:,}", len(own), _mm2(own), _use(name, rules)))
    return {"columns": ("class", "annotations", "slides", "mm²", "drawn as"), "rows": rows}


def _mm2(parts: Sequence[tuple[float | None, Cover]]) -> str:
    """The area of a class on some slides, with that of its objects added up where they overlap."""
    known = [(mpp**2 / 1e6, own) for mpp, own in parts if mpp is not None]
    if len(known) < len(parts):
        return "unknown"
    area, total = (sum(mm2 * getattr(own, part) for mm2, own in known) for part in ("area", "total"))
    return f"{area:.3f} ({total:.3f} added up)" if f"{area:.3f}" != f"{total:.3f}" else f"{area:.3f}"


def _use(name: str, rules: LabelMap) -> str:
    if name in rules.regions:
        return "region"
    if name in rules.ignored:
        return "ignore"
    found = rules.drawn_as(None if name == NO_CLASS else name)
    if isinstance(found, Eraser):
        return f"eraser: {found.leaves}"
    return rules.unlisted if found is None else found.name


def _line(finding: Finding) -> dict[str, str]:
    where = f"{finding.entry_name}: " if finding.entry_name else ""
    remedy = f" (qpkit doctor: {finding.remedy})" if finding.remedy else ""
    return {"tone": _TONES[finding.severity], "text": f"{where}{finding.what}{remedy}"}


def _slide(entry: Entry, objects: Sequence[Annotation], rules: LabelMap, notes: list[str]) -> dict[str, Any]:
    mpp = entry.mpp()
    parts = sorted(cover(objects).items(), key=lambda part: -part[1].objects)
    rows = [(name, f"{own.objects:,}", _mm2([(mpp, own)])) for name, own in parts]
    facts = [f"{key}: {value}" for key, value in entry.metadata.items()]
    shown: dict[str, Any] = {"picture": None, "missing": "", "caption": ""}
    try:
        shown["picture"] = picture(_picture(entry, objects, rules))
    except QpkitError as err:
        notes.append(f"{entry.name}: no picture: {err}")
        shown["missing"] = f"No picture: {err}"
    note = ", ".join([f"{mpp:.4g} um/px" if mpp else "um/px not in the project", *facts])
    return {"name": entry.name, "note": note, "columns": ("class", "annotations", "mm²"), "rows": rows, **shown}


def _picture(entry: Entry, objects: Sequence[Annotation], rules: LabelMap) -> NDArray[np.uint8]:
    """The slide with its annotations tinted, at most SLIDE_PX px wide or high.

    Raises:
        ProjectError, FormatError: The image is missing, cannot be read, or is shown otherwise by QuPath.
    """
    with open_source(entry_source(entry)) as slide:
        ground = slide.thumbnail(SLIDE_PX)
        downsample, mpp = slide.info.width / ground.shape[1], slide.info.mpp
    rows, columns = ground.shape[:2]
    tile = Tile(col=0, row=0, x=0, y=0, width=columns, height=rows, downsample=downsample)
    mask = Painting([o for o in objects if rules.takes(o)], rules, downsample=downsample, mpp=mpp).draw(tile)
    return tinted(ground, mask, rules, show_ignore=rules.unannotated == "ignore")
