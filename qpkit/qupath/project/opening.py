"""Open a QuPath project of v0.2 to v0.7, through the backend that was chosen.

Source: qupath.lib.projects.DefaultProject, v0.2.3 to v0.7.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.errors import FormatError, ProjectError, UnsupportedVersionError, listed
from qpkit.files import AnyPath
from qpkit.qupath.project.backend import chosen_backend
from qpkit.qupath.project.class_list import read_classes
from qpkit.qupath.project.entry_files import EntryFiles, Stamp
from qpkit.qupath.project.images.server import parse_server
from qpkit.qupath.project.project import Entry, Project

_REFUSED: Final = ("v0.2.0-m1", "v0.2.0-m2")


def open_project(path: AnyPath) -> Project:
    """Open a project; within `use_backend("paquo")` its objects go through a real QuPath.

    Args:
        path: A .qpproj file, or a folder that holds exactly one; a project that is open already is given back.

    Raises:
        ProjectError: There is none.
        FormatError: Damaged, foreign or of an unknown version.
    """
    if isinstance(path, Project):
        return path
    file = _project_file(Path(path))
    # Before the reading: what somebody writes meanwhile does not pass for what was read.
    stamp = Stamp.of(file)
    record = _decode(file)
    _check_version(file, record)
    images = record.get("images", [])
    if not isinstance(images, list):
        raise FormatError(f"{file}: 'images' is not a list; the project is damaged, see {file.name}.backup")
    entries = tuple(_entry(file, record, item, stamp, index) for index, item in enumerate(images))
    ids = [entry.id for entry in entries]
    if len(set(ids)) != len(ids):
        raise FormatError(f"{file}: two entries share one entryID, so they would share their data; mend it in QuPath")
    project = Project(file, str(record.get("version", "")), entries, read_classes(file.parent), record, stamp)
    if chosen_backend() == "paquo":
        from qpkit.qupath.project.paquo_backend import through_paquo

        return through_paquo(project)
    return project


def _project_file(path: Path) -> Path:
    if not path.is_dir():
        if not path.exists():
            raise ProjectError(f"{path}: there is no such project")
        return path
    found = sorted(item for item in path.glob("*.qpproj") if item.is_file())
    if len(found) != 1:
        names = listed(item.name for item in found)
        raise ProjectError(f"{path}: exactly one .qpproj file is expected there, found {names}; name the file")
    return found[0]


def _decode(file: Path) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(file.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:  # no JSON, no UTF-8, nested too deep
        raise FormatError(f"{file}: not a QuPath project ({err}); the last good one may be {file.name}.backup") from err
    except OSError as err:
        raise ProjectError(f"{file}: cannot be read ({err.strerror})") from err
    if not isinstance(record, dict):
        raise FormatError(f"{file}: not a QuPath project (no JSON object)")
    return record


def _check_version(file: Path, record: Mapping[str, Any]) -> None:
    images = record.get("images")
    first = images[0] if isinstance(images, list) and images else None
    if isinstance(first, dict) and "path" in first and "serverBuilder" not in first:
        raise UnsupportedVersionError(f"{file}: a project of QuPath 0.1; open and save it once in QuPath 0.2 or later")
    if record.get("version") in _REFUSED:
        raise UnsupportedVersionError(f"{file}: a project of QuPath {record['version']}, which QuPath refuses too")
    if "version" not in record and "lastID" not in record and "images" not in record:
        raise FormatError(f"{file}: not a QuPath project (it has no version and no images)")


def _entry(file: Path, project: Mapping[str, Any], record: object, stamp: Stamp, index: int) -> Entry:
    where = f"{file}: image {index + 1}"
    if not isinstance(record, dict):
        raise FormatError(f"{where} is not an object")
    number = record.get("entryID")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise FormatError(f"{where} has no entryID")
    name, description, uri = record.get("imageName"), record.get("description"), project.get("uri")
    tags, metadata = record.get("tags"), record.get("metadata")
    return Entry(
        id=number,
        name=name if isinstance(name, str) else str(number),
        metadata={str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {},
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        server=parse_server(record.get("serverBuilder"), where),
        description=description if isinstance(description, str) else None,
        project_path=file,
        project_uri=uri if isinstance(uri, str) else None,
        files=EntryFiles(file.parent / "data" / str(number), file, stamp),
    )
