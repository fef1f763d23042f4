"""qpkit doctor --fix: do exactly what the findings list, each file in one safe write, then look again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import FormatError, GeometryError
from qpkit.files import AnyPath
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import Entry, Project, QpData, open_project
from qpkit.qupath.project.backups import put_back
from qpkit.qupath.project.class_list import add_classes, rename_classes
from qpkit.qupath.project.edits import relocated_record, write_project
from qpkit.qupath.project.entry_files import BACKUP
from qpkit.qupath.project.images.relocation import own_path
from qpkit.qupath.project.record_faults import mended_record
from qpkit.qupath.project.summary import write_summary
from qpkit.workflows.doctor.findings import (
    AddClasses,
    Delete,
    EditObjects,
    Finding,
    MendRecord,
    ProjectReport,
    PutBack,
    RenameListed,
    SetUri,
    WriteSummary,
)
from qpkit.workflows.doctor.images import present_path, stored_path
from qpkit.workflows.doctor.project import DEFAULT_SETTINGS, DoctorSettings, examine_project

_ROUNDS: Final = 4
"""A backup that was put back has objects of its own to mend, and these may have new duplicates: then all is done."""


@dataclass(frozen=True, slots=True)
class FixReport:
    """What --fix did.

    Args:
        done: Findings that were mended, in the order of doing.
        failed: What could not be written, and why; the files are as they were.
        kept: Copies of what was replaced.
        left: The project afterwards.
    """

    done: tuple[Finding, ...]
    failed: tuple[str, ...]
    kept: tuple[Path, ...]
    left: ProjectReport


def no_plan(plan: Sequence[Finding]) -> None:
    """The on_plan of those who do not watch."""


def fix_project(
    path: AnyPath,
    settings: DoctorSettings = DEFAULT_SETTINGS,
    *,
    on_plan: Callable[[Sequence[Finding]], None] = no_plan,
    on_progress: OnProgress = no_progress,
) -> FixReport:
    """Examine a project, mend what can be mended, and examine it again until nothing is left to mend.

    QuPath has to be closed. Every data file is written once a round, and the first one that qpkit replaces stays beside
    it; the project file's previous version is its .backup.

    Args:
        path: As for `examine_project`.
        settings: As for `examine_project`.
        on_plan: Called before anything is written, with what will be done.
        on_progress: Called with (entries done, entries, name).

    Raises:
        ProjectError: The files changed since they were read: QuPath is open.
        OutputError: A file cannot be written; it is as it was.
    """
    done: list[Finding] = []
    failed: list[str] = []
    kept: list[Path] = []
    report = examine_project(path, settings, on_progress=on_progress)
    for _ in range(_ROUNDS):
        plan = report.fixable()
        if not plan or failed:
            break
        on_plan(plan)
        round_done = _Round(report, failed, kept).run(plan)
        done += round_done
        report = examine_project(path, settings, on_progress=on_progress)
    if done:  # options that fit nothing any more have been used
        report = replace(report, findings=tuple(item for item in report.findings if item.kind != "unused-option"))
    return FixReport(tuple(done), tuple(failed), tuple(dict.fromkeys(kept)), report)


class _Round:
    """One pass over a plan: files first, then the objects of each entry, the project file last."""

    def __init__(self, report: ProjectReport, failed: list[str], kept: list[Path]) -> None:
        self._report, self._failed, self._kept = report, failed, kept
        self._project = report.project
        self._done: list[Finding] = []

    def run(self, plan: Sequence[Finding]) -> list[Finding]:
        """Do all of it; what fails is noted."""
        for finding in plan:
            self._file(finding)
        by_entry: dict[int, list[Finding]] = defaultdict(list)
        for finding in plan:
            if finding.entry is not None:
                by_entry[finding.entry].append(finding)
        if self._project is not None:
            self._renames(self._project, plan)
            for entry in self._project.entries:
                self._entry(entry, by_entry.get(entry.id, []))
            self._classes(self._project, plan)
            self._record(self._project, plan)
        return self._done

    def _file(self, finding: Finding) -> None:
        """Put a backup back, or delete a temporary file."""
        if isinstance(finding.repair, PutBack):
            entry = self._entry_of(finding)
            if entry is not None:
                entry.files.check_unchanged()
            aside = put_back(finding.repair.target, finding.repair.backup)
            self._kept += [aside] if aside is not None else []
        elif isinstance(finding.repair, Delete):
            finding.repair.path.unlink(missing_ok=True)
        else:
            return
        self._done.append(finding)

    def _entry_of(self, finding: Finding) -> Entry | None:
        entries = () if self._project is None else self._project.entries
        return next((entry for entry in entries if entry.id == finding.entry), None)

    def _entry(self, entry: Entry, plan: Sequence[Finding]) -> None:
        """Edit the objects of an entry in one write, and its counts."""
        edits = [(finding, finding.repair) for finding in plan if isinstance(finding.repair, EditObjects)]
        if edits:
            try:
                entry.edit(lambda data: _change(data, [repair for _, repair in edits]))
            except (FormatError, GeometryError) as err:
                self._failed.append(str(err))
                return
            self._kept.append(entry.files.folder / BACKUP)
            self._done += [finding for finding, _ in edits]
        counts = [finding for finding in plan if isinstance(finding.repair, WriteSummary)]
        if counts:
            _count_again(entry)
            self._done += counts

    def _renames(self, project: Project, plan: Sequence[Finding]) -> None:
        """Rename in the class list, before renamed objects bring their classes to its end."""
        for finding in plan:
            if isinstance(finding.repair, RenameListed):
                rename_classes(project.folder, _renaming(finding.repair))
                self._done.append(finding)

    def _classes(self, project: Project, plan: Sequence[Finding]) -> None:
        """Add classes to the list."""
        for finding in plan:
            if isinstance(finding.repair, AddClasses):
                add_classes(project.folder, finding.repair.classes)
                self._done.append(finding)

    def _record(self, project: Project, plan: Sequence[Finding]) -> None:
        """Write the project file once, with new URIs and mended records."""
        uris = {f.entry: f.repair.uri for f in plan if isinstance(f.repair, SetUri) and f.entry is not None}
        mended = [finding for finding in plan if isinstance(finding.repair, MendRecord)]
        if not uris and not mended:
            return
        record = relocated_record(project, {**_uris_that_hold(project), **uris}) if uris else dict(project.record)
        if mended:
            record = mended_record(record, [finding.entry for finding in mended if finding.entry is not None])
        write_project(project, record)
        # For its error: what was written has to open.
        open_project(project.path)
        self._kept.append(project.path.with_name(project.path.name + ".backup"))
        self._done += [finding for finding in plan if isinstance(finding.repair, SetUri | MendRecord)]


def _change(data: QpData, repairs: Sequence[EditObjects]) -> None:
    """Make all changes of an entry: first the values, then what goes."""
    objects = data.objects()
    new: dict[str | int, Annotation] = {}
    for repair in repairs:
        for number, change in repair.change.items():
            new[number] = change(new.get(number, objects[number]))
    gone = frozenset[int]().union(*(repair.remove for repair in repairs))
    data.update(new)
    data.remove(sorted(gone))


def _count_again(entry: Entry) -> None:
    data = entry.read()
    write_summary(
        entry.files.summary,
        counts=data.counts(),
        image_type=data.image_type,
        server=entry.server.metadata,
        data=entry.files.data,
    )


def _renaming(repair: RenameListed) -> Callable[[PathClass], PathClass]:
    def rename(path_class: PathClass) -> PathClass:
        for item in repair.renames:
            path_class = item.apply(path_class)
        return path_class

    return rename


def _uris_that_hold(project: Project) -> Mapping[int, str]:
    """URIs of the images that are where the project says."""
    held = {}
    for entry in project.entries:
        present, uri = present_path(entry), entry.server.innermost.uri
        if present is not None and uri is not None and own_path(present) == stored_path(entry):
            held[entry.id] = uri
    return held
