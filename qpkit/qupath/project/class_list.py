"""The class list of a project: classifiers/classes.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from qpkit.core.annotation import PathClass
from qpkit.errors import FormatError
from qpkit.files import pretty_json, replace_file


def classes_path(folder: Path) -> Path:
    """Where the class list of a project folder is."""
    return folder / "classifiers" / "classes.json"


def read_classes(folder: Path) -> tuple[PathClass, ...]:
    """Read the class list; a project without one has no classes.

    Raises:
        FormatError: It is damaged.
    """
    path = classes_path(folder)
    found = []
    for record in _records(_decode(path), path) if path.exists() else []:
        name, color = record.get("name"), record.get("color", record.get("colorRGB"))
        if isinstance(name, str) and name.replace(":", "").strip():
            found.append(PathClass.parse(name, color if isinstance(color, int) else None))
    return tuple(found)


def add_classes(folder: Path, classes: Iterable[PathClass]) -> int:
    """Add classes that are not listed yet; what is listed stays untouched, unknown keys too.

    Returns:
        How many were added; the file is written only if there are any.
    """
    path = classes_path(folder)
    document = _decode(path) if path.exists() else {}
    listed = {path_class.names for path_class in read_classes(folder)}
    new = []
    for path_class in classes:
        names = PathClass.parse(str(path_class)).names  # without blanks at the ends, as a list is read
        if names not in listed:
            listed.add(names)
            # Grey for a class without a colour: (255, 128, 128, 128) as a signed number.
            new.append({"name": ": ".join(names), "color": -8355712 if path_class.color is None else path_class.color})
    if new:
        document["pathClasses"] = [*_records(document, path), *new]
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, pretty_json(document))
    return len(new)


def rename_classes(folder: Path, rename: Callable[[PathClass], PathClass]) -> int:
    """Rename classes in the list; one that gets the name of another goes. The first list is kept beside it.

    Args:
        folder: Of the project.
        rename: Gives each class its new name.

    Returns:
        How many were renamed; the file is written only if there are any.
    """
    path = classes_path(folder)
    document = _decode(path) if path.exists() else {}
    records = _records(document, path)
    listed, kept, renamed = {record.get("name") for record in records}, [], 0
    for record in records:
        name = record.get("name")
        old = PathClass.parse(name) if isinstance(name, str) and name.replace(":", "").strip() else None
        if old is None or rename(old).names == old.names:
            kept.append(record)
            continue
        new = str(rename(old))
        renamed += 1
        if new not in listed:
            listed.add(new)
            kept.append({**record, "name": new})
    if renamed:
        backup = path.with_name(path.name + ".qpkit-backup")
        if not backup.exists():
            replace_file(backup, path.read_bytes())
        document["pathClasses"] = kept
        replace_file(path, pretty_json(document))
    return renamed


def _decode(path: Path) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise FormatError(f"{path}: not QuPath's class list ({err}); mend it or move it away") from err
    if not isinstance(document, dict):
        raise FormatError(f"{path}: not QuPath's class list (no JSON object)")
    return document


def _records(document: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    records = document.get("pathClasses", [])
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise FormatError(f"{path}: 'pathClasses' is not a list of classes")
    return records
