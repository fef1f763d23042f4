"""Changes to project.qpproj itself: the entries' metadata, and where their images are. QuPath has to be closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpkit.errors import ProjectError
from qpkit.files import one_at_a_time, pretty_json, replace_file
from qpkit.qupath.project.entry_files import Stamp
from qpkit.qupath.project.images.uris import file_uri
from qpkit.qupath.project.project import Project


def set_metadata(project: Project, changes: Mapping[int, Mapping[str, str | None]]) -> int:
    """Set or remove metadata of entries; everything else in the file stays, unknown keys too.

    Args:
        project: As it was opened; open it again to see the change.
        changes: Key and value by entry id; None removes a key.

    Returns:
        How many entries are different now; the file is written only if there are any.

    Raises:
        ProjectError: The project file changed since it was opened.
        OutputError: It cannot be written.
    """
    images, changed = [], 0
    for image in project.record.get("images", []):
        old = image.get("metadata")
        old = old if isinstance(old, dict) else {}
        new = {**old, **changes.get(image["entryID"], {})}
        kept = {key: value for key, value in new.items() if value is not None}
        changed += kept != old
        images.append({**image, "metadata": kept} if kept != old else image)
    if changed:
        write_project(project, {**project.record, "images": images})
    return changed


def relocated_record(project: Project, new_uris: Mapping[int, str]) -> dict[str, Any]:
    """The project file's content with the images of entries elsewhere.

    If every image of the project is where it says afterwards, the project's own `uri` becomes its present place, too;
    before that QuPath needs the old one to find images that moved along.

    Args:
        project: As it was opened.
        new_uris: The image's URI by entry id.
    """
    images = [
        {**image, "serverBuilder": _with_uri(image["serverBuilder"], new_uris[image["entryID"]])}
        if image["entryID"] in new_uris
        else image
        for image in project.record.get("images", [])
    ]
    record = {**project.record, "images": images}
    if images != project.record.get("images") and len(new_uris) == len(images):
        record["uri"] = file_uri(project.path.absolute())
    return record


def _with_uri(builder: Mapping[str, Any], uri: str) -> dict[str, Any]:
    """Change the URI of the innermost builder."""
    if isinstance(builder.get("builder"), dict):
        return {**builder, "builder": _with_uri(builder["builder"], uri)}
    return {**builder, "uri": uri}


def write_project(project: Project, record: Mapping[str, Any]) -> None:
    """Replace project.qpproj; the previous one becomes .backup, as QuPath does at every sync.

    Raises:
        ProjectError: It changed since it was opened.
        OutputError: It cannot be written; the old one is still there.
    """
    with one_at_a_time(project.folder):
        # Under the lock: of two writers that read the same state only the first may go on.
        if Stamp.of(project.path) != project.stamp:
            raise ProjectError(
                f"{project.path}: changed since it was read, and was not written; close QuPath and try again"
            )
        replace_file(project.path.with_name(project.path.name + ".backup"), project.path.read_bytes())
        replace_file(project.path, pretty_json(record))
