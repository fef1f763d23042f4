"""qpkit import-predictions: predictions as polygons in the project's .qpdata, or as GeoJSON."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from qpkit.api.import_predictions import import_predictions, undo_import
from qpkit.cli.shared.console import progress
from qpkit.cli.shared.imports import show_imports
from qpkit.cli.shared.stamps import warn_of_stamps
from qpkit.errors import ConfigError
from qpkit.qupath import open_project
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.label_maps import read_label_map


def command(
    predictions: Path | None = typer.Argument(
        None, metavar="[DIR]", help="Folder that qpkit predict made, or masks; none with --undo."
    ),
    project: Path | None = typer.Argument(
        None, metavar="PROJECT", help="QuPath project to put the objects into. Close it in QuPath first."
    ),
    *,
    settings: ImportSettings,
    geojson_only: Path | None = typer.Option(None, metavar="DIR", help="Write GeoJSON files there instead."),
    from_masks: bool = typer.Option(False, "--from-masks", help="DIR holds label images of another program."),
    labels: Path | None = typer.Option(None, help="With --from-masks: labels.toml, what the values mean."),
    table_file: Path | None = typer.Option(
        None, "--table", help="With --from-masks: CSV with file,slide,x,y[,downsample] where names do not say it."
    ),
    instances: str | None = typer.Option(
        None,
        metavar="CLASS|TABLE|DIR",
        help="DIR holds label images in which each number is one object: the class of all, a CSV of numbers and "
        "classes, or a folder with a CSV for each image. Objects that borders of images cut are joined.",
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace GeoJSON files that are there."),
    undo: str | None = typer.Option(
        None, metavar="RUN", help="Take what this run put into PROJECT out again; what a person changed stays."
    ),
) -> None:
    """Turn predictions into polygons in the QuPath project, ready to review."""
    start = time.perf_counter()
    if undo is not None:
        target = project or predictions
        if target is None or (project and predictions):
            raise ConfigError("--undo RUN takes the project alone: qpkit import-predictions --undo RUN PROJECT")
        if settings != ImportSettings(dry_run=settings.dry_run) or geojson_only or from_masks or instances is not None:
            raise ConfigError("--undo RUN PROJECT goes with --dry-run alone; leave out the other options")
        warn_of_stamps(open_project(target))
        show_imports(undo_import(target, undo, dry_run=settings.dry_run), target, start, dry_run=settings.dry_run)
        return
    if predictions is None or project is None:
        raise typer.BadParameter("DIR and PROJECT are needed")
    if settings.dry_run and geojson_only is not None:
        raise ConfigError(
            "--dry-run says what would change in the project; leave out --geojson-only, which changes none"
        )
    if settings.gzip and geojson_only is None:
        raise ConfigError("--gzip goes with --geojson-only")
    if not from_masks and instances is None and (labels or table_file):
        raise ConfigError("--labels and --table go with --from-masks or --instances")
    if from_masks and labels is None and instances is None:
        raise ConfigError(
            "--from-masks needs --labels labels.toml: what the values mean; or --instances if each number is an object"
        )
    if geojson_only is None:
        warn_of_stamps(open_project(project))
    with progress("import") as update:
        reports = import_predictions(
            predictions,
            project,
            settings,
            masks=read_label_map(labels) if labels else None,
            masks_table=table_file,
            instances=instances,
            geojson=geojson_only,
            overwrite=overwrite,
            on_progress=update,
        )
    show_imports(reports, geojson_only or project, start, dry_run=settings.dry_run)
