"""Folders of images and masks as tiles."""

from __future__ import annotations

from pathlib import Path

from qpkit.api.shared import AnyPath, path_of
from qpkit.progress import OnProgress, no_progress
from qpkit.workflows.folders.settings import FolderSettings, with_dataset_file
from qpkit.workflows.folders.tiles import FolderReport, import_folder


def import_tiles(
    folder: AnyPath,
    out: AnyPath,
    settings: FolderSettings | None = None,
    *,
    dataset: AnyPath | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> FolderReport:
    """Write a folder of images and masks as tiles, the same files that `export` makes of a project.

    Args:
        folder: Images and masks that have one name; see docs/folders.md.
        out: Folder to make: tiles, tiles.parquet, export.json.
        settings: How they are read; what is not said is taken from dataset.toml.
        dataset: A dataset.toml elsewhere than in the folder.
        overwrite: Replace tiles that are there.
        on_progress: Called with (work done, work in all, name).

    Raises:
        QpkitError: As `qpkit.workflows.folders.tiles.import_folder` says.
    """
    place = Path(folder)
    read = with_dataset_file(place, settings or FolderSettings(), path_of(dataset))
    return import_folder(place, Path(out), read, overwrite=overwrite, on_progress=on_progress)
