"""What qpkit doctor finds in a project: findings, their kinds, and what would mend them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import ConfigError
from qpkit.qupath import Project

Severity = Literal["error", "warning", "note"]
"""error: something does not work, or labels come out wrong. warning: hardly meant. note: good to know."""

KINDS: Final[Mapping[str, Severity]] = {
    "project-unreadable": "error",
    "project-record": "error",
    "entry-id": "error",
    "stamped": "note",
    "image-missing": "error",
    "image-unreadable": "error",
    "image-size": "error",
    "image-moved": "warning",
    "image-relocated": "note",
    "image-unsupported": "note",
    "image-arguments": "note",
    "image-profile": "error",
    "image-elsewhere": "note",
    "no-mpp": "error",
    "mpp-differs": "warning",
    "data-unreadable": "error",
    "data-emptied": "warning",
    "data-unknown": "note",
    "no-data": "note",
    "backup-left": "note",
    "summary": "note",
    "leftover": "note",
    "orphan": "note",
    "object-id": "error",
    "duplicate": "warning",
    "no-shape": "warning",
    "flat-shape": "warning",
    "invalid-shape": "warning",
    "sliver": "warning",
    "fragments": "note",
    "outside": "warning",
    "over-edge": "note",
    "off-plane": "warning",
    "overlap": "warning",
    "nested": "note",
    "unclassified": "note",
    "class-spelling": "error",
    "class-unlisted": "note",
    "class-rename": "note",
    "unused-option": "note",
}
"""Every kind of finding, in the order of the report, and how bad it is."""

EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Spot:
    """One object of a finding: its id (None before QuPath 0.4), the centre of its box in slide px, and what it has."""

    id: str | None
    x: float | None
    y: float | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class PutBack:
    """Copy a broken file aside and put its backup in its place."""

    target: Path
    backup: Path


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a temporary file."""

    path: Path


@dataclass(frozen=True, slots=True)
class SetUri:
    """Write another URI for an entry's image."""

    uri: str


@dataclass(frozen=True, slots=True)
class MendRecord:
    """Mend an entry's record in project.qpproj, or the project's own keys."""


@dataclass(frozen=True, slots=True)
class EditObjects:
    """Change and remove objects of an entry, by position; changes of one object are made one after the other."""

    change: Mapping[int, Callable[[Annotation], Annotation]] = field(default_factory=dict)
    remove: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class WriteSummary:
    """Count an entry's objects again for its summary.json."""


@dataclass(frozen=True, slots=True)
class AddClasses:
    """Add classes to the project's list."""

    classes: tuple[PathClass, ...]


@dataclass(frozen=True, slots=True)
class RenameListed:
    """Rename classes in the project's list."""

    renames: tuple[Rename, ...]


Repair = PutBack | Delete | SetUri | MendRecord | EditObjects | WriteSummary | AddClasses | RenameListed


@dataclass(frozen=True, slots=True)
class Rename:
    """One --rename-class: what is called `old` (or begins with it, "tumor: Positive") becomes `new`."""

    old: str
    new: PathClass

    def apply(self, path_class: PathClass) -> PathClass:
        """Give the class its new name, and the new class's colour if that is known; others stay."""
        for count in range(1, len(path_class.names) + 1):
            if ": ".join(path_class.names[:count]) == self.old:
                rest = path_class.names[count:]
                color = path_class.color if rest or self.new.color is None else self.new.color
                return PathClass((*self.new.names, *rest), color)
        return path_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be.

    Args:
        kind: A key of KINDS.
        what: One sentence, with numbers.
        about: `what` without its numbers, where findings of several entries may be shown as one; "" where not.
        entry: Id of the entry; None for the project.
        entry_name: Its name.
        where: File or place; "" if the entry says it all.
        remedy: What a person can do; "" if nothing has to be done.
        fix: What --fix does; "" if it does nothing.
        count: How many objects (or files, classes) it is about.
        spots: The first few objects.
        repair: `fix` as a value.
    """

    kind: str
    what: str
    about: str = ""
    entry: int | None = None
    entry_name: str = ""
    where: str = ""
    remedy: str = ""
    fix: str = ""
    count: int = 1
    spots: tuple[Spot, ...] = ()
    repair: Repair | None = field(default=None, repr=False)

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind]

    def record(self) -> dict[str, Any]:
        """The finding for JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "entry": None if self.entry is None else {"id": self.entry, "name": self.entry_name},
            "what": self.what,
            "where": self.where,
            "remedy": self.remedy,
            "fix": self.fix,
            "count": self.count,
            "objects": [{"id": spot.id, "x": spot.x, "y": spot.y, "text": spot.text} for spot in self.spots],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectReport:
    """What was found in a project.

    Args:
        path: The .qpproj file.
        version: QuPath's version that wrote it; "" if it does not open.
        entries: How many were examined.
        objects: How many objects they have.
        findings: In the order of KINDS, then of the entries.
        project: As it was opened; None if it does not open.
    """

    path: Path
    version: str
    entries: int
    objects: int
    findings: tuple[Finding, ...]
    project: Project | None = field(repr=False)

    @property
    def is_healthy(self) -> bool:
        """Whether there is no error; warnings and notes may be there."""
        return all(finding.severity != "error" for finding in self.findings)

    def fixable(self) -> list[Finding]:
        """What --fix would mend."""
        return [finding for finding in self.findings if finding.repair is not None]


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuse kinds that there are not.

    Raises:
        ConfigError: Names them all.
    """
    strange = [kind for kind in kinds if kind not in KINDS]
    if strange:
        raise ConfigError(f"--only {strange[0]}: has to be one of {', '.join(KINDS)}")


def in_order(findings: Sequence[Finding], only: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Sort findings for the report: errors first, by kind, then in the order they were found."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    worst = {"error": 0, "warning": 1, "note": 2}
    kept = [finding for finding in findings if not only or finding.kind in only]
    return tuple(sorted(kept, key=lambda finding: (worst[finding.severity], rank[finding.kind])))
