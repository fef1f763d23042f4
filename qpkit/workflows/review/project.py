"""A whole project against its ledgers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from qpkit.errors import ProjectError, or_else
from qpkit.files import AnyPath
from qpkit.predictions.ledger import Ledger, read_ledgers
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Project, open_project
from qpkit.workflows.inputs.slides import entries_where
from qpkit.workflows.review.entry import gone_rows, review_entry
from qpkit.workflows.review.result import ALL_OUTCOMES, Reviewed, ReviewReport, ReviewSettings


def review_project(
    project: AnyPath, settings: ReviewSettings = ALL_OUTCOMES, *, on_progress: OnProgress = no_progress
) -> ReviewReport:
    """Say what became of everything that was imported; the project and its ledgers stay as they are.

    Args:
        project: A project, or where it is.
        settings: Which of them, and which runs.
        on_progress: Called for each entry.

    Raises:
        ProjectError: An entry or a run does not exist, or nothing was imported.
    """
    start, project = time.perf_counter(), open_project(project)
    ledgers, damaged = read_ledgers(project.path.parent)
    notes = [f"{text}: what reviewers deleted is not known" for text in damaged]
    entries = entries_where(project.chosen(settings.entries), settings.where)
    rows: list[Reviewed] = []
    tick = Ticker(len(entries), on_progress)
    for entry in entries:
        found = review_entry(entry, ledgers)
        rows += found.rows
        notes += found.notes
        tick(entry.name)
    if not settings.entries:
        rows += _of_lost_entries(project, ledgers, notes)
    _require_runs(project, rows, settings, damaged)
    rows = [row for row in rows if not settings.runs or row.run in ("", *settings.runs)]
    added = sum(row.outcome == "added" for row in rows)
    if added:
        notes.append(f"{added:,} object(s) were drawn: whether before or after the import is not known")
    return ReviewReport(rows=rows, notes=tuple(notes), seconds=time.perf_counter() - start)


def _of_lost_entries(project: Project, ledgers: Sequence[Ledger], notes: list[str]) -> list[Reviewed]:
    there = {str(entry.id) for entry in project.entries}
    rows: list[Reviewed] = []
    for ledger in ledgers:
        for lost in sorted(set(ledger.table["entry"].to_pylist()) - there):
            own = gone_rows(ledger, lost)
            rows += own
            notes.append(
                f"{own[0].slide}: entry {lost} is not in the project any more: what became of {len(own)} object(s) of "
                f"run {ledger.run} is not known"
            )
    return rows


def _require_runs(project: Project, rows: Sequence[Reviewed], settings: ReviewSettings, damaged: Sequence[str]) -> None:
    """Raise ProjectError unless something was imported, and something of every run that is asked for."""
    runs = sorted({row.run for row in rows if row.run})
    for run in settings.runs:
        if run not in runs:
            raise ProjectError(f"{project.path.name}: no object of run {run!r} is there, {or_else(run, runs)}")
    if not runs:
        why = f" (damaged: {len(damaged)} ledger(s))" if damaged else ""
        raise ProjectError(f"{project.path.name}: nothing was imported there{why}; see qpkit import-predictions")
