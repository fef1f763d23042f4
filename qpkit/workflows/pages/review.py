"""qpkit review on one page: the counts, and pictures of where people and model disagree most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.geometry import polygons_of
from qpkit.core.tiles import Region, Tile
from qpkit.errors import QpkitError
from qpkit.files import replace_file
from qpkit.ops.scores.shape_fates import areas_of
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project
from qpkit.report.figures.outlines import draw_outlines
from qpkit.report.pages.html import picture, render
from qpkit.slides import Slide, open_source
from qpkit.workflows.inputs.entry_view import entry_source
from qpkit.workflows.review.result import OUTCOMES, Outcome, Reviewed, ReviewReport
from qpkit.workflows.review.tables import KEYS, class_changes, counts_by, figures_of

SIDE_PX: Final = 320
"""Of a picture's longer side."""

PER_OUTCOME: Final = 8
_MARGIN: Final = 0.3
_LEAST_PX: Final = 128
_IN_VIEWER_PX: Final = 300
"""Of an object's longer side, where QuPath is brought to it: its surroundings are to be seen, too."""

PREDICTED_RGB: Final = (255, 138, 0)
NOW_RGB: Final = (0, 92, 230)

_SHOWN: Final[dict[Outcome, str]] = {
    "edited": "Edited: outlines that were moved",
    "rejected": "Rejected: predictions that are gone",
    "added": "Added: what people drew",
    "reclassified": "Reclassified: another class",
    "split": "Split: one became several",
    "merged": "Merged: several became one",
    "unsure": "Unsure: nobody could decide",
}


def review_page(
    project: Project, report: ReviewReport, page: Path, *, on_progress: OnProgress = no_progress
) -> tuple[str, ...]:
    """Write the page; it needs nothing beside it.

    Args:
        project: Whose slides are shown.
        report: Of `review_project`.
        page: HTML file.
        on_progress: Called with pictures done and in all.

    Returns:
        What could not be shown.

    Raises:
        OutputError: The page cannot be written.
    """
    chosen = {outcome: largest(report.rows, outcome) for outcome in _SHOWN}
    pictures, notes = _pictures(project, [row for rows in chosen.values() for row in rows], on_progress)
    paths = {str(entry.id): uri for entry in project.entries if (uri := _uri(entry))}
    runs = sorted({row.run for row in report.rows if row.run})
    figures = figures_of(report.rows)
    text = render(
        "review",
        title=f"Review of {project.path.parent.name}",
        subtitle=f"{len(report.rows):,} objects, run(s) {', '.join(runs)}",
        notes=[*report.notes, *notes],
        all=_table([{"": "all", **figures}]),
        tables=[(f"By {key}", _table(counts_by(report.rows, key))) for key in KEYS],
        changes=[tuple(row.values()) for row in class_changes(report.rows)],
        sections=[
            {
                "id": outcome, "title": title, "count": figures[outcome],
                "items": [
                    {
                        "picture": pictures.get(id(row)), "caption": caption(row), "script": script_to(row),
                        "slide": paths.get(row.entry),
                    }
                    for row in chosen[outcome]
                ],
            }
            for outcome, title in _SHOWN.items() if chosen[outcome]
        ],
        colors=(PREDICTED_RGB, NOW_RGB),
    )  # fmt: skip
    replace_file(page, text.encode())
    return tuple(notes)


def disagreement(row: Reviewed) -> float:
    """Area in which prediction and what is there differ, px2; of another class the whole of it."""
    if row.then is None or not row.objects or row.outcome in ("reclassified", "unsure"):
        return row.area_px2
    now = areas_of([o.geometry for o in row.objects])
    return float(shapely.area(shapely.symmetric_difference(areas_of([row.then])[0], shapely.union_all(now))))


def largest(rows: Sequence[Reviewed], outcome: Outcome, count: int = PER_OUTCOME) -> list[Reviewed]:
    """The rows of an outcome in which most area differs; of a merged object only the first."""
    own = sorted(
        (row for row in rows if row.outcome == outcome and row.area_px2 > 0),
        key=lambda row: (-disagreement(row), row.id),
    )
    seen: set[tuple[str, ...]] = set()
    chosen: list[Reviewed] = []
    for row in own:
        if row.outcome == "merged" and (row.entry, *row.now) in seen:
            continue
        seen.add((row.entry, *row.now))
        chosen.append(row)
    return chosen[:count]


def caption(row: Reviewed) -> str:
    """What, on which slide, where (x, y, width, height in px of level 0)."""
    place = f"{row.slide}: x {row.x:.0f}, y {row.y:.0f}, {row.width:.0f} x {row.height:.0f} px"
    then, now = row.predicted_class or "(none)", row.class_now or "(none)"
    what = now if not row.run else then if row.outcome == "rejected" or then == now else f"{then} → {now}"
    facts = [what]
    if row.iou is not None:
        apart = f"{row.distance_px:.1f} px" if row.distance_um is None else f"{row.distance_um:.1f} µm"
        facts.append(f"IoU {row.iou:.2f}, outlines up to {apart} apart")
    facts += [f"probability {row.probability:.2f}"] if row.probability is not None else []
    facts += [f"by {row.reviewer}"] if row.reviewer else []
    return f"{', '.join(facts)}. {place}"


def script_to(row: Reviewed) -> str:
    """What brings QuPath to an object, run in its script editor while the project is open.

    Calls of QuPath 0.4 to 0.6 (`openImageEntry` as public extensions call it); no QuPath has run it here.
    """
    downsample = max(1.0, max(row.width, row.height) / _IN_VIEWER_PX)
    x, y = row.x + row.width / 2, row.y + row.height / 2
    return (
        f"def entry = getProject().getImageList().find {{ it.getID() == '{row.entry}' }}\n"
        "javafx.application.Platform.runLater {\n"
        "    def gui = qupath.lib.gui.QuPathGUI.getInstance()\n"
        "    gui.openImageEntry(entry)\n"
        f"    gui.getViewer().setDownsampleFactor({downsample:.2f}d)\n"
        f"    gui.getViewer().setCenterPixelLocation({x:.1f}d, {y:.1f}d)\n"
        "}"
    )


def _uri(entry: Entry) -> str | None:
    """Of the slide's file; None if it is not there."""
    try:
        return entry_source(entry).path.absolute().as_uri()
    except QpkitError:
        return None


def _table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Without outcomes that nothing has."""
    columns = [name for name in rows[0] if name not in OUTCOMES or any(row[name] for row in rows)]
    cells = [
        ["-" if row[c] is None else f"{row[c]:,}" if isinstance(row[c], int) else row[c] for c in columns]
        for row in rows
    ]
    return {"columns": [c.replace("_", " ") for c in columns], "rows": cells}


def _pictures(project: Project, rows: Sequence[Reviewed], on_progress: OnProgress) -> tuple[dict[int, Any], list[str]]:
    """Pictures by id() of the row, and what could not be shown."""
    tick = Ticker(len(rows), on_progress)
    made: dict[int, Any] = {}
    notes: list[str] = []
    for entry in project.entries:
        own = [row for row in rows if row.entry == str(entry.id)]
        if not own:
            continue
        try:
            with open_source(entry_source(entry)) as slide:
                for row in own:
                    made[id(row)] = picture(_place(slide, row))
                    tick(entry.name)
        except QpkitError as err:
            notes.append(f"{entry.name}: no picture: {err}")
    return made, notes


def _place(slide: Slide, row: Reviewed) -> NDArray[np.uint8]:
    """The slide around an object, with the outlines of what was predicted and of what is there."""
    then: list[BaseGeometry] = [] if row.then is None else [row.then]
    now = [item.geometry for item in row.objects]
    left, top, right, bottom = shapely.union_all([shape.envelope for shape in (*then, *now)]).bounds
    side = max(right - left, bottom - top)
    margin = max(_MARGIN * side, (_LEAST_PX - side) / 2)
    frame = Region(x=left - margin, y=top - margin, width=right - left + 2 * margin, height=bottom - top + 2 * margin)
    downsample = max(frame.width, frame.height) / SIDE_PX
    width, height = (max(1, round(length / downsample)) for length in (frame.width, frame.height))
    x, y = round(frame.x / downsample), round(frame.y / downsample)
    tile = Tile(col=0, row=0, x=x, y=y, width=width, height=height, downsample=downsample)
    corner = x * downsample, y * downsample
    layers = [(polygons(now), NOW_RGB), (polygons(then), PREDICTED_RGB)]
    return draw_outlines(slide.read(tile), layers, corner=corner, downsample=downsample)


def polygons(shapes: Sequence[BaseGeometry]) -> list[shapely.Polygon]:
    """Their areas."""
    return [part for shape in shapes for part in polygons_of(shape)]
