"""Backups of projects and data files: which of them read, and putting one back without losing a byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qpkit.errors import QpkitError
from qpkit.files import replace_file
from qpkit.qupath.project.entry_files import BACKUP
from qpkit.qupath.project.opening import open_project
from qpkit.qupath.project.summary import loose_json
from qpkit.qupath.qpdata.file import QpData

QUPATH_BACKUP: Final = "data.qpdata.bkp"
"""What QuPath keeps while it saves; it stays only after a failed save, and is then the newest good state."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A file that may replace a broken one.

    Args:
        path: Of the backup.
        count: Objects (or entries of a project) in it; None if it cannot be read.
        fault: Why it cannot be read; "" if it can.
    """

    path: Path
    count: int | None
    fault: str

    def __str__(self) -> str:
        return f"{self.path.name} reads, with {self.count:,}" if self.count is not None else f"{self.path.name} fails"


def data_backups(folder: Path) -> list[Backup]:
    """Read the backups of a data file that are there: QuPath's, then qpkit's."""
    paths = [folder / QUPATH_BACKUP, folder / BACKUP]
    return [_backup(path, _count_objects) for path in paths if path.is_file()]


def best_backup(backups: Sequence[Backup]) -> Backup | None:
    """The first that reads and is not empty; an empty one only if there is no other."""
    readable = [item for item in backups if item.count is not None]
    return next((item for item in readable if item.count), next(iter(readable), None))


def _count_objects(path: Path) -> int:
    return len(QpData.parse(path.read_bytes(), source=str(path)).objects())


def project_backup(file: Path) -> Backup | None:
    """Read the previous version that QuPath keeps of a project file; None if there is none."""
    path = file.with_name(file.name + ".backup")
    return _backup(path, lambda file: len(open_project(file).entries)) if path.is_file() else None


def _backup(path: Path, count: Callable[[Path], int]) -> Backup:
    try:
        return Backup(path, count(path), "")
    except (QpkitError, OSError) as err:
        return Backup(path, None, str(err))


def loose_record(file: Path) -> dict[str, Any] | None:
    """The JSON of a project that does not open, if it is a project's JSON at all; None if not a list of images."""
    record = loose_json(file)
    return record if isinstance(record.get("images"), list) else None


def put_back(target: Path, backup: Path) -> Path | None:
    """Put a backup in the place of a broken file; the backup stays, and the broken file is copied aside first.

    Returns:
        The copy of the broken file, NAME.broken-1 (or the next free number); None if there was no file.

    Raises:
        OutputError: It cannot be written; nothing was changed, or only the copy was made.
    """
    aside = None
    if target.exists():
        broken = target.read_bytes()
        aside = _same_copy(target, broken) or _free(target)
        if not aside.exists():
            replace_file(aside, broken)
    replace_file(target, backup.read_bytes())
    return aside


def _free(target: Path) -> Path:
    number = 1
    while target.with_name(f"{target.name}.broken-{number}").exists():
        number += 1
    return target.with_name(f"{target.name}.broken-{number}")


def _same_copy(target: Path, content: bytes) -> Path | None:
    """A copy that an interrupted repair made already."""
    copies = sorted(target.parent.glob(f"{target.name}.broken-*"))
    return next((copy for copy in copies if copy.read_bytes() == content), None)
