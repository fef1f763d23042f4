"""qpkit report: the report of a training on one page, made again."""

from __future__ import annotations

from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say
from qpkit.errors import ConfigError
from qpkit.extras import extra


def command(
    run: Path = typer.Argument(..., help="Run folder."),
    out: Path | None = typer.Option(None, "-o", "--out", help="HTML file to write; RUN/report.html if not given."),
    tiles: Path | None = typer.Option(None, help="Where the run's tiles are now, if they were moved."),
) -> None:
    """Write the report of a training: curves, scores, thresholds, best and worst tiles, settings, on one page."""
    with extra("train"):
        from qpkit_train.training_page import PAGE_NAME, write_training_page

    page = run / PAGE_NAME if out is None else out
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{page}: the page is HTML; its name has to end in .html")
    with progress("report") as update:
        note = write_training_page(run, page, tiles=tiles, on_progress=update)
    if note:
        say(f"note: {note}")
    say(f"report: {page}")
