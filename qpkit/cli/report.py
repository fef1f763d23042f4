"""qpkit report, and the page at the end of qpkit train."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import typer

from qpkit.cli._console import progress, say
from qpkit.cli._trainer import trainer
from qpkit.errors import ConfigError, FormatError, QpkitError

PAGE_NAME: Final = "report.html"


def command(
    run: Path = typer.Argument(..., help="Run folder."),
    out: Path | None = typer.Option(None, "-o", "--out", help="HTML file to write; RUN/report.html if not given."),
    tiles: Path | None = typer.Option(None, help="Where the run's tiles are now, if they were moved."),
) -> None:
    """Write the report of a training: curves, scores, thresholds, best and worst tiles, settings, on one page."""
    page = run / PAGE_NAME if out is None else out
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{page}: the page is HTML; its name has to end in .html")
    note = write_report(run, page, tiles=tiles)
    if note:
        say(f"note: {note}")
    say(f"report: {page}")


def write_report(run: Path, page: Path, *, tiles: Path | None = None) -> str:
    """Measure the run's best weights on its tiles and write the page; gives what the user has to know, or "".

    Raises:
        FormatError: Not a run folder, or no epoch of it is finished.
        OutputError: The page cannot be written.
    """
    import msgspec
    import numpy as np

    from qpkit.workflows.training_report import TrainingFacts, write_training_report

    checkpoint = trainer("checkpoint")
    opened = checkpoint.load_run(run)
    state = checkpoint.read_state(run, run=opened.id)
    if state is None:
        raise FormatError(f"{run}: no epoch is finished yet; go on with qpkit train --resume")
    judgement, missing = _judged(opened, tiles)
    facts = TrainingFacts(
        run=msgspec.to_builtins(opened.file),
        history=state.history,
        confusion=np.array(state.confusion, np.int64),
        labels=opened.labels,
        names=tuple(opened.labels.name_of(value) for value in opened.labels.trained_values),
        judgement=judgement,
        missing=missing,
    )
    write_training_report(facts, page)
    return missing


def report_after_training(run: Path) -> None:
    """Write RUN/report.html; a training is not lost because its page cannot be made."""
    try:
        note = write_report(run, run / PAGE_NAME)
    except (QpkitError, OSError, MemoryError, RuntimeError, ValueError) as err:
        say(f"note: no {PAGE_NAME}: {err}; the run itself is complete, try again with: qpkit report {run}")
        return
    if note:
        say(f"note: {note}")
    say(f"report: {run / PAGE_NAME}")


def _judged(run: Any, tiles: Path | None) -> tuple[Any, str]:
    try:
        with progress("report") as update:
            return trainer("judge").judge(run, tiles=tiles, on_progress=update), ""
    except QpkitError as err:
        return None, f"the report shows no tiles and no thresholds: {err}"
