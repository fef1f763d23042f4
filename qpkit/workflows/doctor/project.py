"""qpkit doctor for a QuPath project: looks at everything, changes nothing; `fix` mends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final

from qpkit.errors import ProjectError, QpkitError
from qpkit.files import AnyPath
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import Entry, Project, open_project
from qpkit.qupath.project.images.relocation import Relocation, parse_relocation
from qpkit.settings import Flag, Settings, Where
from qpkit.workflows.doctor.classes import (
    ClassUse,
    check_renames,
    class_findings,
    parse_rename,
    rename_findings,
    rename_listed,
)
from qpkit.workflows.doctor.data import broken_project, data_findings, folder_findings, record_findings
from qpkit.workflows.doctor.findings import Finding, ProjectReport, Rename, check_kinds, in_order
from qpkit.workflows.doctor.images import ImagePlaces, image_findings, image_places, stored_path
from qpkit.workflows.doctor.objects import object_findings
from qpkit.workflows.inputs.slides import entries_where


def _relocations(texts: Sequence[str]) -> tuple[Relocation, ...]:
    return tuple(parse_relocation(text) for text in texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorSettings(Settings):
    """What the user says to the doctor of a project.

    Args:
        relocate: Project: images in folder OLD are in NEW now (repeatable; Windows paths too).
        search: Project: look for missing images below, by name and size in px (repeatable).
        rename: Project: --fix renames this class everywhere (repeatable).
        entries: Project: only these entries, by name or id (repeatable).
        where: Project: only entries with this metadata, such as Split=test; * and ? stand for any text (repeatable: all
            of it).
        only: Project: report and fix only this kind of finding, such as image-moved (repeatable); that a project does
            not open is always reported.
    """

    relocate: Annotated[tuple[Relocation, ...], Flag(parse=_relocations, many=True, metavar="OLD=NEW")] = ()
    search: Annotated[tuple[Path, ...], Flag(metavar="FOLDER")] = ()
    rename: Annotated[tuple[str, ...], Flag(name="--rename-class", metavar="OLD=NEW")] = ()
    entries: Annotated[tuple[str, ...], Flag(name="--entry")] = ()
    where: Where = field(default_factory=dict)
    only: Annotated[tuple[str, ...], Flag(metavar="KIND")] = ()


DEFAULT_SETTINGS: Final = DoctorSettings()


def examine_project(
    path: AnyPath, settings: DoctorSettings = DEFAULT_SETTINGS, *, on_progress: OnProgress = no_progress
) -> ProjectReport:
    """Examine a project: its file, images, data, objects and classes. Nothing is written.

    Args:
        path: A .qpproj file or its folder; it may be damaged, or have only its backup left.
        settings: See there.
        on_progress: Called with (entries done, entries, name).

    Raises:
        ProjectError: There is no project, no such entry, or no folder to search in.
        ConfigError: An unknown kind, or a rename that is none.
    """
    path = Path(path)
    check_kinds(settings.only)
    check_renames(settings.rename)
    file = project_file(path)
    try:
        project = open_project(file)
    except QpkitError as err:
        broken = in_order(_only_told(broken_project(file, err), settings.only))
        return ProjectReport(path=file, version="", entries=0, objects=0, findings=broken, project=None)
    entries = entries_where(project.chosen(settings.entries), settings.where)
    findings, objects = _findings(project, entries, settings, on_progress)
    return ProjectReport(
        path=project.path,
        version=project.version,
        entries=len(entries),
        objects=objects,
        findings=in_order(findings, settings.only),
        project=project,
    )


def _only_told(findings: Sequence[Finding], only: Sequence[str]) -> list[Finding]:
    """Nothing was found that could be reported instead, so all is told; what was not asked for is not mended."""
    return [
        item if not only or item.kind in only else replace(item, repair=None, fix="", remedy=item.remedy or item.fix)
        for item in findings
    ]


def _findings(
    project: Project, entries: Sequence[Entry], settings: DoctorSettings, on_progress: OnProgress
) -> tuple[list[Finding], int]:
    places = image_places(entries, settings.relocate, settings.search)
    renames = [parse_rename(text, project.classes) for text in settings.rename]
    chosen = {entry.id for entry in entries}
    found = [item for item in record_findings(project) if item.entry is None or item.entry in chosen]
    found += [*_stamps(project), *folder_findings(project, now=time.time())]
    use, objects = ClassUse(), 0
    for done, entry in enumerate(entries):
        on_progress(done, len(entries), entry.name)
        own, count = _entry_findings(entry, places, renames, use)
        found += [replace(item, entry=entry.id, entry_name=entry.name) for item in own]
        objects += count
    on_progress(len(entries), len(entries), "")
    found += class_findings(project, use)
    found += rename_listed(project, renames, use, entries=entries)
    return found + _unused(settings.relocate, entries), objects


def _stamps(project: Project) -> list[Finding]:
    stamps = project.stamps()
    if not stamps:
        return []
    what = f"{len(stamps)} qTrace stamp(s): data files that change no longer fit them"
    remedy = "work on a copy of the project if they matter"
    return [Finding(kind="stamped", what=what, where=str(stamps[0].parent), remedy=remedy, count=len(stamps))]


def _entry_findings(
    entry: Entry, places: ImagePlaces, renames: Sequence[Rename], use: ClassUse
) -> tuple[list[Finding], int]:
    """Findings of an entry, and how many objects it has."""
    found = image_findings(entry, places)
    about_data, data = data_findings(entry)
    found += about_data
    if data is None:
        return found, 0
    objects = data.objects()
    use.add(entry, objects)
    own = object_findings(entry, objects) + rename_findings(objects, renames)
    if data.unknown:  # such a file is never rewritten
        own = [replace(item, repair=None, fix="", remedy=item.remedy or "mend it in QuPath") for item in own]
    return found + own, len(objects)


def _unused(relocations: Sequence[Relocation], entries: Sequence[Entry]) -> list[Finding]:
    """Relocations that fit no image."""
    stored = [path for entry in entries if (path := stored_path(entry)) is not None]
    found = []
    for rule in relocations:
        if all(rule.apply(path) is None for path in stored):
            first = f"the first is {stored[0]}" if stored else "there are none"
            what = f"--relocate: no image is in {rule.old}"
            found.append(
                Finding(kind="unused-option", what=what, remedy=f"give the folder as the project has it; {first}")
            )
    return found


def project_file(path: Path) -> Path:
    """Find the project file, also one of which only the backup is left.

    Raises:
        ProjectError: There is none, or several.
    """
    if path.is_dir():
        found = sorted(path.glob("*.qpproj")) or [item.with_suffix("") for item in sorted(path.glob("*.qpproj.backup"))]
        if len(found) == 1:
            return found[0]
        names = ", ".join(item.name for item in found) or "none"
        raise ProjectError(f"{path}: exactly one .qpproj file is expected there, found {names}; name the file")
    if not path.exists() and not path.with_name(path.name + ".backup").exists():
        raise ProjectError(f"{path}: there is no such project")
    return path
