"""Predictions as polygons in the QuPath project, and out of it again."""

from __future__ import annotations

from pathlib import Path

from qpkit.api.shared import opened_predictions
from qpkit.core.labels import LabelMap
from qpkit.files import AnyPath, path_of
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import open_project
from qpkit.workflows.imports.geojson import predictions_to_geojson
from qpkit.workflows.imports.project import import_predictions as import_into_project
from qpkit.workflows.imports.project import undo_import as undo_imported
from qpkit.workflows.imports.result import SlideImport
from qpkit.workflows.imports.settings import ImportSettings


def import_predictions(
    predictions: AnyPath,
    project: AnyPath,
    settings: ImportSettings | None = None,
    *,
    masks: LabelMap | None = None,
    masks_table: AnyPath | None = None,
    instances: str | None = None,
    geojson: AnyPath | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> list[SlideImport]:
    """Turn predictions into polygons in the QuPath project, ready to review.

    Args:
        predictions: Folder of `predict`, or of label images if `masks` says what their values mean.
        project: QuPath project to put the objects into; it must be closed in QuPath.
        settings: How rasters become objects.
        masks: The label map of another program's label images.
        masks_table: CSV with file,slide,x,y[,downsample] where names of label images do not say where they lie.
        instances: Each number of the label images is one object: the class of all, a CSV of numbers and classes, or a
            folder with such a CSV for each image; `masks` may say more about the classes.
        geojson: Write GeoJSON files into this folder instead.
        overwrite: Replace GeoJSON files that are there.
        on_progress: Called with (strips done, strips in all, slide).

    Raises:
        QpkitError: As `qpkit.workflows.imports.project.import_predictions` says.
    """
    opened, settings = open_project(project), settings or ImportSettings()
    with opened_predictions(
        Path(predictions), [Path(project)], masks, path_of(masks_table), on_progress, instances=instances
    ) as found:
        if geojson is not None:
            return predictions_to_geojson(found, Path(geojson), settings, overwrite=overwrite, on_progress=on_progress)
        return import_into_project(found, opened, settings, on_progress=on_progress)


def undo_import(project: AnyPath, run: str, *, dry_run: bool = False) -> list[SlideImport]:
    """Take what a run put into a project out again; what a person has changed since stays and is counted.

    Args:
        project: QuPath project; it must be closed in QuPath.
        run: Id of the run.
        dry_run: Change nothing; say what would be.

    Raises:
        QpkitError: As `qpkit.workflows.imports.project.undo_import` says.
    """
    return undo_imported(open_project(project), run, dry_run=dry_run)
