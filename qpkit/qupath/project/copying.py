"""Copies of a project, or of a part of it, elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from qpkit.errors import FormatError, OutputError, ProjectError
from qpkit.files import new_folder, pretty_json
from qpkit.qupath.project.edits import relocated_record
from qpkit.qupath.project.images.uris import file_uri
from qpkit.qupath.project.opening import open_project
from qpkit.qupath.project.project import Project

_LEFT: Final = ("data", "qpkit", "*.backup", "*.qpkit-backup", "*.qpproj", "*.lock")
"""What a copy does not have: other entries' data, ledgers of imports, backups."""


def copy_project(project: Project, folder: Path, names: Mapping[int, str]) -> Project:
    """Copy some entries of a project with their objects, classes and scripts; images stay where they are.

    Args:
        project: As it was opened.
        folder: To be made.
        names: The entries, by id, with their names in the copy.

    Raises:
        ProjectError: An image cannot be found from here, so that the copy would not find it either.
        OutputError: The folder is there already, or cannot be written.
    """
    uris = {entry.id: file_uri(entry.image_path().resolve()) for entry in project.entries if entry.id in names}
    record = relocated_record(project, uris)
    images = [
        {**image, "imageName": names[image["entryID"]]} for image in record["images"] if image["entryID"] in names
    ]
    with new_folder(folder, marker=project.path.name) as made:
        try:
            shutil.copytree(project.folder, made, ignore=shutil.ignore_patterns(*_LEFT), dirs_exist_ok=True)
            for entry in project.entries:
                own = entry.files.data.parent
                if entry.id in names and own.is_dir():
                    backups = shutil.ignore_patterns("*.backup", "*.qpkit-backup")
                    shutil.copytree(own, made / own.relative_to(project.folder), ignore=backups)
        except OSError as err:
            raise OutputError(f"{folder}: cannot be written ({err.strerror or err})") from err
        there = (folder.resolve() / project.path.name).absolute()
        (made / project.path.name).write_bytes(pretty_json({**record, "images": images, "uri": file_uri(there)}))
    try:
        return open_project(folder)
    except (FormatError, ProjectError) as err:
        raise ProjectError(f"{folder}: the copy cannot be opened ({err})") from err
