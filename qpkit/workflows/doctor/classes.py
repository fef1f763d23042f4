"""qpkit doctor on class names: spellings that differ by a hair, classes that are not listed, renaming."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import ConfigError
from qpkit.qupath import Entry, Project
from qpkit.workflows.doctor.findings import AddClasses, EditObjects, Finding, Rename, RenameListed
from qpkit.workflows.doctor.objects import counted, placed


@dataclass(slots=True)
class ClassUse:
    """How often each class occurs, over entries; filled entry by entry."""

    counts: Counter[str] = field(default_factory=Counter)
    entries: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    classes: dict[str, PathClass] = field(default_factory=dict)

    def add(self, entry: Entry, objects: Sequence[Annotation]) -> None:
        """Count the classes of an entry's objects."""
        own = Counter(item.path_class for item in objects if item.path_class is not None)
        for path_class, count in own.items():
            name = str(path_class)
            self.counts[name] += count
            self.classes.setdefault(name, path_class)
            if entry.name not in self.entries[name]:
                self.entries[name].append(entry.name)


def parse_rename(text: str, listed: Sequence[PathClass] = ()) -> Rename:
    """Read "OLD=NEW"; OLD is taken as it is, blanks too. NEW gets the colour it has in the class list.

    Raises:
        ConfigError: No "=", or a side without a name.
    """
    old, equals, new = text.partition("=")
    made = [part.strip() for part in new.split(":") if part.strip()]
    if not equals or not old.strip() or not made:
        raise ConfigError(f"--rename-class {text!r}: has to be OLD=NEW, two class names")
    known = next((item.color for item in listed if item.names == tuple(made)), None)
    return Rename(old, PathClass(tuple(made), known))


def check_renames(texts: Sequence[str]) -> None:
    """Refuse renames that are none, or whose result one of them would rename again.

    Raises:
        ConfigError: Names the first.
    """
    renames = [parse_rename(text) for text in texts]
    for text, rename in zip(texts, renames, strict=True):
        if any(other.apply(rename.new).names != rename.new.names for other in renames):
            raise ConfigError(f"--rename-class {text!r}: {rename.new!s} would be renamed again; do one after the other")


def same_name(name: str) -> str:
    """What is left of a class name without case, blanks and ways to write one letter."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def class_findings(project: Project, use: ClassUse) -> list[Finding]:
    """Compare the classes of all entries with each other and with the class list."""
    listed = {str(item) for item in project.classes}
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted({*listed, *use.counts}):
        alike[same_name(name)].append(name)
    found = [_spelling(names, listed, use) for names in alike.values() if len(names) > 1]
    bases = {item.names[0] for item in project.classes}
    near = {same_name(name) for name in listed}
    new = [item for name, item in use.classes.items() if same_name(name) not in near and item.names[0] not in bases]
    return [*found, *([_unlisted(new, use)] if new else [])]


def _spelling(names: Sequence[str], listed: set[str], use: ClassUse) -> Finding:
    told = [f"{name!r} ({_where(name, listed, use)})" for name in names]
    best = max(names, key=lambda name: (name == _clean(name), use.counts[name]))
    rest = " ".join(f'--rename-class "{name}={_clean(best)}"' for name in names if name != _clean(best))
    return Finding(
        kind="class-spelling",
        what=f"class names that may be one: {', '.join(told)}",
        remedy=f"if they are one: --fix {rest}",
        count=len(names),
    )


def _clean(name: str) -> str:
    """The name without blanks at the ends, as QuPath itself makes it."""
    return str(PathClass.parse(name))


def _where(name: str, listed: set[str], use: ClassUse) -> str:
    if not use.counts[name]:
        return "only in the class list"
    entries = use.entries[name]
    place = entries[0] if len(entries) == 1 else counted(len(entries), "entry", "entries")
    return f"{counted(use.counts[name], 'object')} in {place}{', listed' if name in listed else ''}"


def _unlisted(new: Sequence[PathClass], use: ClassUse) -> Finding:
    told = ", ".join(f"{item!s} ({use.counts[str(item)]:,})" for item in new)
    return Finding(
        kind="class-unlisted",
        what=f"{counted(len(new), 'class', 'classes')} of objects not in the project's class list: {told}",
        fix="add to classes.json",
        count=len(new),
        repair=AddClasses(tuple(new)),
    )


def rename_findings(objects: Sequence[Annotation], renames: Sequence[Rename]) -> list[Finding]:
    """Objects of an entry whose class is to be renamed."""
    found = []
    for rename in renames:
        numbers = [n for n, item in enumerate(objects) if _is_renamed(item, rename)]
        if numbers:
            what = f"{counted(len(numbers), 'object')} of class {rename.old!r}"
            change: dict[int, Callable[[Annotation], Annotation]] = dict.fromkeys(numbers, _renamed_by(rename))
            fix = f"rename to {rename.new!s}"
            renamed = Finding(kind="class-rename", what=what, fix=fix, repair=EditObjects(change))
            found.append(placed(renamed, objects, numbers))
    return found


def rename_listed(
    project: Project, renames: Sequence[Rename], use: ClassUse, *, entries: Sequence[Entry]
) -> list[Finding]:
    """Classes of the list that are to be renamed, and renames that fit nothing.

    The list is of all entries: if only some were looked at, the others may have the class, and it stays.
    """
    listed = [item for item in project.classes if any(rename.apply(item).names != item.names for rename in renames)]
    found = []
    if listed and len(entries) == len(project.entries):
        what = f"in the class list: {', '.join(map(str, listed))}"
        repair = RenameListed(tuple(renames))
        found.append(Finding(kind="class-rename", what=what, fix="rename", count=len(listed), repair=repair))
    known = [*project.classes, *use.classes.values()]
    for rename in renames:
        if all(rename.apply(item).names == item.names for item in known):
            what = f"--rename-class: nothing is called {rename.old!r}"
            remedy = f"there are {', '.join(sorted({str(item) for item in known}))}"
            found.append(Finding(kind="unused-option", what=what, remedy=remedy))
    return found


def _is_renamed(item: Annotation, rename: Rename) -> bool:
    return item.path_class is not None and rename.apply(item.path_class).names != item.path_class.names


def _renamed_by(rename: Rename) -> Callable[[Annotation], Annotation]:
    def change(item: Annotation) -> Annotation:
        return item if item.path_class is None else replace(item, path_class=rename.apply(item.path_class))

    return change
