"""Change the objects of one entry safely: read, edit, check, back up, replace; then the counts and the class list."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from qpkit.core.annotation import Annotation
from qpkit.errors import FormatError
from qpkit.qupath.project.class_list import add_classes
from qpkit.qupath.project.entry_files import EntryFiles
from qpkit.qupath.project.images.server import Server
from qpkit.qupath.project.summary import write_summary
from qpkit.qupath.qpdata.file import QpData
from qpkit.qupath.qpdata.new_file import new_qpdata
from qpkit.qupath.qpdata.object_writer import identified


def replace_objects(
    files: EntryFiles, *, remove: Collection[str], add: Sequence[Annotation], server: Server, entry_id: int
) -> None:
    """See `Entry.replace_objects`."""
    data, old = _opened(files, server, entry_id)
    gone = set(remove)
    kept = [annotation for annotation in data.objects() if annotation.id is None or annotation.id not in gone]
    # Before the edit, so that `_check` can tell the new objects by their ids.
    added = identified(add, {annotation.id for annotation in kept if annotation.id is not None})
    if not added and len(kept) == len(data.objects()):
        return
    data.replace(remove=remove, add=added)
    content = data.to_bytes()
    if content != old:
        _check(data, kept, added)
        files.replace_data(content)
        _follow_up(files, data, server.metadata, added)


def edit_data(files: EntryFiles, change: Callable[[QpData], object], *, server: Server, entry_id: int) -> bool:
    """See `Entry.edit`."""
    data, old = _opened(files, server, entry_id)
    known = {item.path_class for item in data.objects()}
    change(data)
    content = data.to_bytes()
    if content == old:
        return False
    files.replace_data(content)
    _follow_up(files, data, server.metadata, [item for item in data.objects() if item.path_class not in known])
    return True


def write_new_data(files: EntryFiles, data: QpData, server: Server) -> None:
    """Write the first data file of an entry, with its summary and classes."""
    files.replace_data(data.to_bytes())
    _follow_up(files, data, server.metadata, data.objects())


def project_entry_id(project: Path, entry_id: int) -> str:
    """The text by which an image's properties name its entry (rewritten by QuPath when it opens the image)."""
    return f"{project}::{entry_id}"


def _opened(files: EntryFiles, server: Server, entry_id: int) -> tuple[QpData, bytes | None]:
    """The data and the file's bytes; new data where there is no file."""
    if files.data_stamp is not None:
        files.check_unchanged()
    if files.data.exists():
        old = files.read()
        return QpData.parse(old, source=str(files.data)), old
    data = new_qpdata(
        image_type="UNSET",
        server=server.record,
        properties={"PROJECT_ENTRY_ID": project_entry_id(files.project, entry_id)},
        source=str(files.data),
    )
    return data, None


def _check(data: QpData, kept: Sequence[Annotation], added: Sequence[Annotation]) -> None:
    """Look at what is about to be written, as it was read back after the edit: nothing else may have changed.

    Raises:
        FormatError: It reads differently; nothing is written.
    """
    found = data.objects()
    new = {annotation.id for annotation in added}
    others = [annotation for annotation in found if annotation.id not in new]
    if len(found) != len(kept) + len(added) or [_apart(a) for a in others] != [_apart(a) for a in kept]:
        raise FormatError(
            f"{data.source}: not written, because the new file would not read back as it should; please report this"
        )


def _apart(annotation: Annotation) -> tuple[object, ...]:
    """Everything but the place in the tree."""
    return dataclasses.replace(annotation, parent=None).comparable()


def _follow_up(files: EntryFiles, data: QpData, server: Mapping[str, Any], added: Sequence[Annotation]) -> None:
    """Bring summary.json and classes.json up to date."""
    objects = data.objects()
    write_summary(files.summary, objects=objects, image_type=data.image_type, server=server, data=files.data)
    used = [item.path_class for item in (*added, *objects) if item.path_class is not None]
    # A class without a colour takes that of other objects of its class: QuPath gives all of them the list's.
    colored = {item.names: item for item in reversed(used) if item.color is not None}
    new = dict.fromkeys(item.path_class for item in added if item.path_class is not None)
    add_classes(
        files.project.parent, [item if item.color is not None else colored.get(item.names, item) for item in new]
    )
