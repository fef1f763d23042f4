"""What a study is made of, and what of it has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qpkit.errors import QpkitError
from qpkit.files import sha256
from qpkit.qupath.project.entry_files import Stamp
from qpkit.qupath.project.opening import open_project
from qpkit.qupath.project.project import Entry
from qpkit.workflows.inputs.paths import is_project


def state_of(source: Path, *, out: Path) -> dict[str, str]:
    """Tell states of a source apart.

    Args:
        source: QuPath project, or folder of images and masks.
        out: What the study makes; does not count where it is in the folder.

    Returns:
        By image of a project its metadata and the sha256 of its objects; by file of a folder size and time. Empty where
        the source cannot be read: the step that reads it says so.
    """
    if is_project(source):
        try:
            return {f"{one.name} (entry {one.id})": _state(one) for one in open_project(source).entries}
        except (QpkitError, OSError):
            return {}
    inside = out.resolve()
    return {
        path.relative_to(source).as_posix(): str(Stamp.of(path))
        for path in sorted(source.rglob("*"))
        if path.is_file() and inside not in path.resolve().parents
    }


def _state(entry: Entry) -> str:
    objects = sha256(entry.files.data) if entry.has_data else "no objects"
    return " ".join([objects, *(f"{key}={value}" for key, value in sorted(entry.metadata.items()))])


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of what was saved, added or taken out, in order."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def with_own_changes(made_of: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """The state that tiles were made of, with what a step of the study itself wrote into the source.

    What somebody else had changed before that step stays changed.
    """
    return {name: after.get(name, "") if state == before.get(name) else state for name, state in made_of.items()}
