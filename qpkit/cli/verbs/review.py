"""qpkit review: what became of every imported object: accepted, edited, reclassified, rejected, added."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from qpkit.cli.shared.console import progress, say, say_all, table_of, took
from qpkit.errors import ConfigError, OutputError
from qpkit.files import pretty_json, replace_file
from qpkit.qupath import open_project
from qpkit.workflows.pages.review import review_page
from qpkit.workflows.review.project import review_project
from qpkit.workflows.review.result import OUTCOMES, ReviewReport, ReviewSettings
from qpkit.workflows.review.tables import KEYS, class_changes, counts_by, review_csv, review_to_builtins

_MOST_ROWS = 40


def command(
    project: Path = typer.Argument(..., help="QuPath project."),
    *,
    settings: ReviewSettings,
    json: Path | None = typer.Option(None, help="JSON file to write: all counts."),
    csv: Path | None = typer.Option(None, help="CSV file to write: one row per object."),
    out: Path | None = typer.Option(None, "-o", "--out", help="HTML page to write, with the largest disagreements."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace files that are there."),
) -> None:
    """Say what became of every imported object, by comparing the project with what imports wrote down.

    Nothing is changed, and nobody has to press a button: accepted is what was locked or lies in a Reviewed* region.
    """
    start = time.perf_counter()
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{out}: the page is HTML; its name has to end in .html")
    for path in (json, csv, out):
        if path is not None and path.exists() and not overwrite:
            raise OutputError(f"{path}: is there already; choose another name or pass --overwrite")
    opened = open_project(project)
    with progress("review") as update:
        report = review_project(opened, settings, on_progress=update)
        missing = () if out is None else review_page(opened, report, out, on_progress=update)
    if json is not None:
        replace_file(json, pretty_json(review_to_builtins(report)))
    if csv is not None:
        replace_file(csv, review_csv(report))
    _show(report)
    say_all("note: ", (*report.notes, *missing))
    written = "".join(f", {path}" for path in (json, csv, out) if path is not None)
    say(f"{len(report.rows):,} object(s) compared{written} ({took(start)})")


def _show(report: ReviewReport) -> None:
    there = [name for name in OUTCOMES if any(row.outcome == name for row in report.rows)]
    for key in KEYS:
        rows = [_row(row, key, there) for row in counts_by(report.rows, key)]
        more = f", first {_MOST_ROWS} of {len(rows)} (all: --json)" if len(rows) > _MOST_ROWS else ""
        table_of(f"By {key}{more}", rows[:_MOST_ROWS])
    if changes := class_changes(report.rows):
        table_of("Classes that were changed", changes)


def _row(row: dict[str, Any], key: str, there: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in (key, *there, "agreed", "median_iou", "seconds")}
