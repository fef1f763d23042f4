"""Copies of a project, or of a part of it, elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from qpkit.files import pretty_json
from qpkit.qupath.project.edits import relocated_record
from qpkit.qupath.project.images.uris import file_uri
from qpkit.qupath.project.opening import open_project
from qpkit.qupath.project.project import Project

_BACKUPS: Final = ("*.backup", "*.qpkit-backup")

_COPIED: Final = ("classifiers", "scripts")
"""Folders that QuPath keeps beside the data of entries. What else lies in a project's folder (its slides, results,
ledgers of imports) is none of a copy."""


def copy_project(project: Project, folder: Path, names: Mapping[int, str], *, place: Path | None = None) -> Project:
    """Copy some entries of a project with their objects, classes and scripts; images stay where they are.

    Args:
        project: As it was opened.
        folder: Is there, and empty, as `qpkit.files.new_folder` gives it.
        names: The entries, by id, with their names in the copy.
        place: Where the folder will be in the end; itself if left out.

    Raises:
        ProjectError: An image cannot be found from here, so that the copy would not find it either.
        OSError: A file cannot be read or written.
    """
    uris = {entry.id: file_uri(entry.image_path().resolve()) for entry in project.entries if entry.id in names}
    record = relocated_record(project, uris)
    images = [
        {**image, "imageName": names[image["entryID"]]} for image in record["images"] if image["entryID"] in names
    ]
    own = [project.folder / name for name in _COPIED]
    own += [entry.files.data.parent for entry in project.entries if entry.id in names]
    for each in own:
        if each.is_dir():
            shutil.copytree(each, folder / each.relative_to(project.folder), ignore=shutil.ignore_patterns(*_BACKUPS))
    uri = file_uri((place or folder).resolve() / project.path.name)
    (folder / project.path.name).write_bytes(pretty_json({**record, "images": images, "uri": uri}))
    return open_project(folder)


def drop_backups(folder: Path) -> None:
    """Remove what edits of a fresh copy have put aside: the original is the backup, and a reader need not see it."""
    for pattern in _BACKUPS:
        for path in folder.rglob(pattern):
            path.unlink()
