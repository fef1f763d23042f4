"""qpkit report: what a training, predictions or a project's predictions came to, on one page."""

from __future__ import annotations

from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say, say_all
from qpkit.errors import ConfigError, OutputError
from qpkit.extras import extra
from qpkit.predictions import read_predictions
from qpkit.predictions.store import INFO_NAME
from qpkit.progress import OnProgress
from qpkit.qupath import open_project
from qpkit.workflows.inputs.paths import is_project
from qpkit.workflows.pages.imported import report_project
from qpkit.workflows.pages.predictions import ReportPage, ReportSettings, report_predictions

_PAGE_NAME = "report.html"
_MOST_NOTES = 10


def command(
    source: Path = typer.Argument(
        ..., metavar="RUN|PREDICTIONS|PROJECT", help="Run folder, predictions folder, or project with predictions."
    ),
    project: Path | None = typer.Argument(
        None, metavar="[PROJECT]", help="With PREDICTIONS: where slides, regions and patients are."
    ),
    out: Path | None = typer.Option(
        None, "-o", "--out", help="HTML file to write; report.html in the folder if not given. Needed for a PROJECT."
    ),
    csv: Path | None = typer.Option(None, help="Of predictions: CSV file to write, a row for each slide."),
    tiles: Path | None = typer.Option(None, help="Where a run's tiles are now, if they were moved."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a CSV that is there."),
    *,
    settings: ReportSettings,
) -> None:
    """Write the report of a training, of predictions, or of the predictions in a project, on one page.

    RUN: curves, scores, thresholds, best and worst tiles, settings. PREDICTIONS or PROJECT: slides with what was
    predicted, areas, and of PREDICTIONS uncertainty, distance from the training slides, seams and speed.
    """
    is_predicted, is_opened = (source / INFO_NAME).is_file(), is_project(source)
    if out is None and is_opened:
        raise ConfigError(f"{source}: nothing is written into a project; say where the page goes with -o report.html")
    page = out or (source / _PAGE_NAME)
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{page}: the page is HTML; its name has to end in .html")
    if csv is not None and csv.exists() and not overwrite:
        raise OutputError(f"{csv}: is there already; choose another name or pass --overwrite")
    if project is not None and not is_predicted:
        raise ConfigError(f"{project}: a second argument goes with a folder that qpkit predict made, not with {source}")
    is_run = not (is_predicted or is_opened)
    for rule, is_said, fits in (
        ("--tiles goes with a run folder", tiles is not None, is_run),
        ("--csv goes with predictions; the tables of a training lie in its run folder", csv is not None, not is_run),
        ("--region and --patient go with a PROJECT", settings != ReportSettings(), is_opened or project is not None),
    ):
        if is_said and not fits:
            raise ConfigError(rule)
    with progress("report") as update:
        if is_predicted:
            opened = None if project is None else open_project(project)
            predictions = read_predictions(source)
            shown = report_predictions(predictions, page, settings, project=opened, table=csv, on_progress=update)
        elif is_opened:
            shown = report_project(open_project(source), page, settings, table=csv, on_progress=update)
        else:
            shown = _of_training(source, page, tiles, update)
    say_all("note: ", shown.notes[:_MOST_NOTES])
    if len(shown.notes) > _MOST_NOTES:
        say(f"note: and {len(shown.notes) - _MOST_NOTES} more like these; the page has them all")
    if csv is not None:
        say(f"table: {csv}")
    say(f"report: {page}")


def _of_training(run: Path, page: Path, tiles: Path | None, on_progress: OnProgress) -> ReportPage:
    with extra("train"):
        from qpkit_train.training_page import write_training_page

    note = write_training_page(run, page, tiles=tiles, on_progress=on_progress)
    return ReportPage(slides=0, notes=(note,) if note else ())
