"""Change the objects of one entry safely: read, edit, check, back up, replace; then the counts and the class list."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.lazy_annotations import path_classes_of
from qpkit.qupath.project.class_list import add_classes
from qpkit.qupath.project.entry_files import EntryFiles
from qpkit.qupath.project.images.server import Server
from qpkit.qupath.project.summary import write_summary
from qpkit.qupath.qpdata.file import QpData
from qpkit.qupath.qpdata.new_file import new_qpdata


def replace_objects(
    files: EntryFiles, *, remove: Collection[str | int], add: Sequence[Annotation], server: Server, entry_id: int
) -> None:
    """See `Entry.replace_objects`."""
    data, _ = _opened(files, server, entry_id)
    before = data.to_bytes()
    data.replace(remove=remove, add=add, verify=True)
    content = data.to_bytes()
    if content != before:
        files.replace_data(content)
        _follow_up(files, data, server.metadata, path_classes_of(add))


def edit_data(files: EntryFiles, change: Callable[[QpData], object], *, server: Server, entry_id: int) -> bool:
    """See `Entry.edit`."""
    data, old = _opened(files, server, entry_id)
    known = {path_class for _, path_class in data.counts()}
    change(data)
    content = data.to_bytes()
    if content == old:
        return False
    files.replace_data(content)
    _follow_up(files, data, server.metadata, [c for _, c in data.counts() if c not in known])
    return True


def write_new_data(files: EntryFiles, data: QpData, server: Server) -> None:
    """Write the first data file of an entry, with its summary and classes."""
    files.replace_data(data.to_bytes())
    _follow_up(files, data, server.metadata, [path_class for _, path_class in data.counts()])


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


def _follow_up(files: EntryFiles, data: QpData, server: Mapping[str, Any], added: Iterable[PathClass | None]) -> None:
    """Bring summary.json and classes.json up to date; `added` are the classes of new objects."""
    counts = data.counts()
    write_summary(files.summary, counts=counts, image_type=data.image_type, server=server, data=files.data)
    new = _distinct(added)
    used = [*new, *_distinct(path_class for _, path_class in counts)]
    # A class without a colour takes that of other objects of its class: QuPath gives all of them the list's.
    colored = {item.names: item for item in reversed(used) if item.color is not None}
    add_classes(
        files.project.parent, [item if item.color is not None else colored.get(item.names, item) for item in new]
    )


def _distinct(classes: Iterable[PathClass | None]) -> list[PathClass]:
    """Each class once, in the order in which they come; first by address, which objects of a class share."""
    found = {id(path_class): path_class for path_class in classes}
    return list(dict.fromkeys(path_class for path_class in found.values() if path_class is not None))
