"""Folders of images and masks as tiles."""

from __future__ import annotations

import time
from pathlib import Path

from qpkit.dataset.manifest import INFO_NAME, require_tile_set
from qpkit.errors import OutputError
from qpkit.files import AnyPath, path_of
from qpkit.progress import OnProgress, no_progress
from qpkit.workflows.folders.pairing import holds_pictures
from qpkit.workflows.folders.plan import plan_import
from qpkit.workflows.folders.report import FolderReport
from qpkit.workflows.folders.settings import FolderSettings, with_dataset_file
from qpkit.workflows.folders.tiles import holds_job, import_folder, write_plan
from qpkit.workflows.inputs.paths import is_project


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


def tiles_of(place: Path, run: Path, *, on_progress: OnProgress = no_progress) -> tuple[Path, FolderReport | None]:
    """Give tiles to train on: a folder of tiles as it is; of images and masks the tiles RUN-tiles, made beside the run.

    Tiles that are there already stay if they were made of the same images and masks in the same way.

    Args:
        place: Tiles, or images and masks, with a dataset.toml or without.
        run: Run folder that will be made.
        on_progress: Called with (work done, work in all, name).

    Returns:
        The tiles, and what was done to make them.

    Raises:
        FormatError: It is neither.
        OutputError: RUN-tiles holds others.
        QpkitError: As `import_tiles`.
    """
    if not is_folder_of_pictures(place):
        require_tile_set(place)
        return place, None
    start, out = time.perf_counter(), run.with_name(f"{run.name}-tiles")
    plan = plan_import(place, with_dataset_file(place, FolderSettings()), on_progress=on_progress)
    if holds_job(out, plan.job):
        return out, None
    if out.exists():
        raise OutputError(f"{out}: holds tiles of other images or settings; remove it, or choose another run folder")
    return out, write_plan(plan, out, start=start, on_progress=on_progress)


def is_folder_of_pictures(place: Path) -> bool:
    """Say whether a folder holds images, and is neither a project nor tiles."""
    return not is_project(place) and not (place / INFO_NAME).exists() and holds_pictures(place)
