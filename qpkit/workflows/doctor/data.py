"""qpkit doctor on the data files of a project: do they read, does a backup, do the counts beside them agree."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from qpkit.errors import QpkitError
from qpkit.qupath import Entry, Project, QpData
from qpkit.qupath.project.backups import (
    QUPATH_BACKUP,
    Backup,
    best_backup,
    data_backups,
    loose_record,
    project_backup,
)
from qpkit.qupath.project.class_list import classes_path
from qpkit.qupath.project.leftovers import Leftover, find_leftovers, find_orphans
from qpkit.qupath.project.record_faults import record_faults, repeated_ids
from qpkit.workflows.doctor.findings import Delete, Finding, MendRecord, PutBack, WriteSummary

_BROKEN: Final = "the broken file stays as {name}.broken-1 (or the next number)"
_OPEN_WARNING: Final = (
    "do not open this image in QuPath: 0.5 and later show it empty, and the next save loses the objects"
)


def broken_project(file: Path, error: QpkitError) -> list[Finding]:
    """Say what is wrong with a project that does not open, and whether QuPath's backup of it does."""
    listed = classes_path(file.parent)
    if str(error).startswith(f"{listed}: "):
        what = f"the project does not open: {str(error).removeprefix(f'{listed}: ')}"
        remedy = "mend the class list or move it away; images and objects are not in it"
        return [Finding(kind="project-unreadable", what=what, where=str(listed), remedy=remedy)]
    record, backup = loose_record(file), project_backup(file)
    repeated = repeated_ids(record) if record is not None else {}
    if repeated:
        return [_repeated(number, count) for number, count in repeated.items()]
    state = "there is no backup of it" if backup is None else f"{backup} entries" if backup.count is not None else ""
    state = state or f"its backup fails, too ({backup.fault if backup else ''})"
    reason = str(error).removeprefix(f"{file}: ")
    if backup is None or backup.count is None or record is not None:
        what = f"the project does not open: {reason}"
        return [Finding(kind="project-unreadable", what=what, where=str(file), remedy=state)]
    fix = f"put {backup.path.name} in its place; {_BROKEN.format(name=file.name)}"
    return [
        Finding(
            kind="project-unreadable",
            what=f"the project does not open: {reason}; {state}",
            where=str(file),
            fix=fix,
            repair=PutBack(file, backup.path),
        )
    ]


def _repeated(number: int, count: int) -> Finding:
    return Finding(
        kind="entry-id",
        what=f"{count} images share entryID {number}, so they share their objects, and the project cannot be used",
        remedy="remove all but one of them in QuPath (keep the data), save, and add the others anew",
        count=count,
    )


def record_findings(project: Project) -> list[Finding]:
    """Faults of project.qpproj that some QuPath fails on."""
    names = {entry.id: entry.name for entry in project.entries}
    return [
        Finding(
            kind="project-record",
            what=fault.what,
            entry=fault.entry,
            entry_name="" if fault.entry is None else names[fault.entry],
            remedy="" if fault.fix else "mend the text in project.qpproj",
            fix=fault.fix,
            repair=MendRecord() if fault.fix else None,
        )
        for fault in record_faults(project.record)
    ]


def folder_findings(project: Project, *, now: float) -> list[Finding]:
    """Temporary files, and data of images that the project does not have."""
    found = [_leftover(item) for item in find_leftovers(project.folder, now=now)]
    for folder in find_orphans(project.folder, {entry.id for entry in project.entries}):
        what = f"data of an image that was removed from the project ({_objects_in(folder / 'data.qpdata')})"
        found.append(
            Finding(kind="orphan", what=what, where=str(folder), remedy="delete the folder if nobody needs it")
        )
    return found


def _leftover(item: Leftover) -> Finding:
    where = str(item.path)
    if not item.is_ours:
        what = "QuPath did not finish a save; this may be newer than the project file"
        return Finding(kind="leftover", what=what, where=where, remedy="compare the two, then delete it")
    if not item.is_dead:
        what = "a temporary file less than an hour old: something may be writing"
        return Finding(kind="leftover", what=what, where=where, remedy="wait, or see what runs")
    what = "a temporary file of a qpkit that was killed"
    return Finding(kind="leftover", what=what, where=where, fix="delete it", repair=Delete(item.path))


def _objects_in(path: Path) -> str:
    try:
        return f"{len(QpData.parse(path.read_bytes(), source=str(path)).objects()):,} objects"
    except (QpkitError, OSError):
        return "it does not read"


def data_findings(entry: Entry) -> tuple[list[Finding], QpData | None]:
    """Read the data file of an entry; None if there is none that reads."""
    if not entry.has_data:
        return _without_data(entry), None
    try:
        data = entry.read()
    except QpkitError as err:
        return [_unreadable(entry, str(err).removeprefix(f"{entry.files.data}: "))], None
    found = _about_backups(entry, len(data.objects())) + _summary(entry, len(data.objects()))
    if data.unknown:
        what = f"qpkit does not know: {'; '.join(data.unknown)}; the file is read, but not rewritten"
        found.append(Finding(kind="data-unknown", what=what, remedy="edit this image in QuPath"))
    return found, data


def _without_data(entry: Entry) -> list[Finding]:
    if any(item.count for item in data_backups(entry.files.folder)):
        return [_unreadable(entry, "there is a backup, but no data.qpdata")]
    return [Finding(kind="no-data", what="never saved in QuPath: no objects, no image type")]


def _unreadable(entry: Entry, reason: str) -> Finding:
    file = entry.files.data
    backups = data_backups(entry.files.folder)
    best = best_backup(backups)
    state = "; ".join(f"{item} objects" if item.count is not None else str(item) for item in backups)
    what = f"its objects cannot be read: {reason}; {state or 'there is no backup'}"
    if best is None or (file.exists() and entry.files.data_stamp is None):  # None: not even the bytes could be read
        return Finding(kind="data-unreadable", what=what, where=str(file), remedy=_OPEN_WARNING)
    fix = f"put {best.path.name} in its place"
    fix += f"; {_BROKEN.format(name=file.name)}" if file.exists() else ""
    return Finding(
        kind="data-unreadable",
        what=what,
        where=str(file),
        remedy=_OPEN_WARNING,
        fix=fix,
        repair=PutBack(file, best.path),
    )


def _about_backups(entry: Entry, count: int) -> list[Finding]:
    """An empty file beside a full backup; and QuPath's own backup, which it deletes after a good save."""
    if count and not (entry.files.folder / QUPATH_BACKUP).exists():
        return []  # reading qpkit's backup would tell nothing
    backups = data_backups(entry.files.folder)
    best = best_backup(backups)
    if not count and best is not None and best.count:
        what = f"has no objects, but {best} objects; QuPath may have opened a broken file and saved it empty"
        remedy = f"if objects are missing: close QuPath and copy {best.path.name} over data.qpdata"
        return [Finding(kind="data-emptied", what=what, where=str(entry.files.data), remedy=remedy)]
    return [_left(item, count) for item in backups if item.path.name == QUPATH_BACKUP]


def _left(backup: Backup, count: int) -> Finding:
    what = f"QuPath's last save may have failed: {backup}; data.qpdata has {count:,}"
    return Finding(kind="backup-left", what=what, where=str(backup.path), remedy="see whether the objects are complete")


def _summary(entry: Entry, count: int) -> list[Finding]:
    """Compare summary.json's number of objects, which includes the root."""
    try:
        hierarchy = msgspec.json.decode(entry.files.summary.read_bytes())["hierarchy"]
        told = hierarchy["nObjects"] - 1
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return []  # nothing reads it
    if told == count:
        return []
    what = f"summary.json counts {told:,} objects, the data file has {count:,}"
    return [Finding(kind="summary", what=what, fix="count again", repair=WriteSummary())]
