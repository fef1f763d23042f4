"""Change many objects of a project at once: reclassify, rename, lock, measure, describe, remove, move."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Final

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.provenance import is_prediction, run_of
from qpkit.errors import ConfigError, ProjectError, QpkitError, or_else
from qpkit.files import AnyPath
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import Entry, Project, QpData, open_project
from qpkit.settings import Flag, Settings, pairs_of
from qpkit.workflows.inputs.slides import entries_where

UNCLASSIFIED = ""
"""Selects objects without a class."""

ROOT = "root"
"""Moves objects out of their parents."""

KINDS: Final = ("annotation", "detection", "cell", "tile", "tma_core")
"""Of objects."""


def _kinds(texts: Sequence[str]) -> tuple[str, ...]:
    strange = [text for text in texts if text not in KINDS]
    if strange:
        raise ConfigError(f"--kind {strange[0]!r}: has to be one of {', '.join(KINDS)}")
    return tuple(texts)


def _color(text: str) -> int:
    try:
        red, green, blue = bytes.fromhex(text.removeprefix("#"))
    except ValueError as err:
        raise ConfigError(f"--set-color {text!r}: has to be #rrggbb") from err
    return argb(red, green, blue)


def _measurements(texts: Sequence[str]) -> dict[str, float]:
    return {key: _number(key, value) for key, value in pairs_of(texts).items()}


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as err:
        raise ConfigError(f"--measure {key}={text}: has to be a number") from err
    if math.isinf(value):
        raise ConfigError(f"--measure {key}={text}: has to be a finite number, or nan")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection(Settings):
    """Which objects are meant: those that fit every list that is not empty.

    Args:
        classes: Objects of this class, "Tumor: Positive" ("" for none; repeatable).
        kinds: annotation, detection, cell, tile or tma_core (repeatable).
        names: Objects of this name (repeatable).
        ids: The object with this id (repeatable).
        runs: Objects that this run predicted, whatever became of them (repeatable).
        imported: Predictions, whether or not a person has changed or locked them since.
        drawn: Objects that people drew.
    """

    classes: Annotated[Sequence[str], Flag(name="--class", many=True)] = ()
    kinds: Annotated[Sequence[str], Flag(name="--kind", parse=_kinds, many=True)] = ()
    names: Annotated[Sequence[str], Flag(name="--name", many=True)] = ()
    ids: Annotated[Sequence[str], Flag(name="--id", many=True)] = ()
    runs: Annotated[Sequence[str], Flag(name="--run", many=True)] = ()
    imported: bool = False
    drawn: bool = False

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if self.imported and self.drawn:
            yield "--imported and --drawn exclude each other; --all selects both"

    def fits(self, item: Annotation) -> bool:
        """Whether an object is meant."""
        return (
            (not self.classes or (item.class_name or UNCLASSIFIED) in self.classes)
            and (not self.kinds or item.kind in self.kinds)
            and (not self.names or item.name in self.names)
            and (not self.ids or item.id in self.ids)
            and (not self.runs or run_of(item) in self.runs)
            and (not self.imported or is_prediction(item))
            and (not self.drawn or not is_prediction(item))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Settings):
    """What becomes of the objects that are meant; None leaves a thing as it is.

    Args:
        class_name: New class, "Tumor: Positive"; "" takes it away.
        class_map: New class for all objects of another one, such as "Proposed: 2=Tumor" (repeatable); without a
            selection all objects of these classes are meant.
        name: New name; "" takes it away.
        color: Colour of the objects themselves, #rrggbb; from Python a signed ARGB number.
        locked: Lock or unlock them.
        measurements: Add or change a measurement (repeatable).
        metadata: Add or change metadata (repeatable).
        remove: Take them out; what is below them moves up.
        move_to: Put them below the object with this id, or below the root: root.
    """

    class_name: Annotated[str | None, Flag(name="--set-class")] = None
    class_map: Annotated[Mapping[str, str], Flag(name="--map", parse=pairs_of, many=True, metavar="CLASS=NAME")] = (
        field(default_factory=dict)
    )
    name: Annotated[str | None, Flag(name="--set-name")] = None
    color: Annotated[int | None, Flag(name="--set-color", parse=_color)] = None
    locked: Annotated[bool | None, Flag(name="--lock/--unlock")] = None
    measurements: Annotated[
        Mapping[str, float], Flag(name="--measure", parse=_measurements, many=True, metavar="KEY=NUMBER")
    ] = field(default_factory=dict)
    metadata: Annotated[
        Mapping[str, str], Flag(name="--set-metadata", parse=pairs_of, many=True, metavar="KEY=VALUE")
    ] = field(default_factory=dict)
    remove: bool = False
    move_to: str | None = None

    def faults(self) -> Iterator[str]:
        """Say that exactly one thing has to be done."""
        if self.class_name is not None and self.class_map:
            yield "--set-class and --map exclude each other"
        values = (
            self.class_name,
            self.class_map or None,
            self.name,
            self.color,
            self.locked,
            self.measurements or None,
            self.metadata or None,
        )
        wanted = [any(value is not None for value in values), self.remove, self.move_to is not None]
        if sum(wanted) != 1:
            yield "say what to do: either change, or remove, or move; not several of them, not nothing"


@dataclass(frozen=True, slots=True)
class EntryEdit:
    """What was done to one entry: objects that were meant, and those that are different now."""

    entry: str
    selected: int
    changed: int


def edit_objects(
    project: AnyPath,
    selection: Selection,
    change: Change,
    *,
    entries: Sequence[str] = (),
    where: Mapping[str, str] = MappingProxyType({}),
    dry_run: bool = False,
    on_progress: OnProgress = no_progress,
) -> list[EntryEdit]:
    """Change objects, each entry in one safe write (see `Entry.edit`).

    Args:
        project: A project, or where it is. QuPath has to be closed.
        selection: Which objects.
        change: What becomes of them.
        entries: Only these entries, by name or id.
        where: Only entries with these metadata; * and ? stand for any text.
        dry_run: Only count.
        on_progress: Called for each entry.

    Raises:
        ProjectError: An entry does not exist, no chosen entry has the object to move to, or the files changed since
            they were read.
        ConfigError: No object of the chosen entries is selected, and its class, name, id or run is nowhere.
        FormatError: A file cannot be edited; entries before it are done, and it is named.
    """
    project = open_project(project)
    chosen = entries_where(project.chosen(entries), where)
    if change.class_map:
        selection = replace(selection, classes=selection.classes or tuple(change.class_map))
    if change.move_to not in (None, ROOT) and not any(_has(entry, change.move_to or "") for entry in chosen):
        raise ProjectError(f"{project.path}: no object has the id {change.move_to!r}, so nothing was moved")
    _require_known(chosen, selection)
    made = []
    for done, entry in enumerate(chosen):
        on_progress(done, len(chosen), entry.name)
        if entry.has_data:
            try:
                made.append(_edit(entry, selection, _action(project, change), dry_run))
            except QpkitError as err:
                raise type(err)(f"{_so_far(made)}{err}") from err
    return made


def _require_known(entries: Sequence[Entry], selection: Selection) -> None:
    """Raise if something is selected by a class, name, id or run that no object has: it is misspelt."""
    wanted = {"--class": selection.classes, "--name": selection.names, "--id": selection.ids, "--run": selection.runs}
    if not any(wanted.values()):
        return
    objects = [item for entry in entries if entry.has_data for item in entry.objects()]
    there: dict[str, set[str]] = {
        "--class": {item.class_name or UNCLASSIFIED for item in objects},
        "--name": {item.name or "" for item in objects},
        "--id": {item.id or "" for item in objects},
        "--run": {run_of(item) or "" for item in objects},
    }
    for option, names in wanted.items():
        for name in names:
            if name not in there[option]:
                known = sorted(there[option] - {""})
                raise ConfigError(f"{option} {name!r}: no object has it; {or_else(name, known)}")


def _has(entry: Entry, identity: str) -> bool:
    return any(item.id == identity for item in entry.objects())


def _so_far(made: Sequence[EntryEdit]) -> str:
    changed = sum(item.changed > 0 for item in made)
    return f"{changed} entries were changed before this: " if changed else ""


def _edit(entry: Entry, selection: Selection, action: Callable[[QpData, list[int]], int], dry_run: bool) -> EntryEdit:
    selected = changed = 0

    def change(data: QpData) -> None:
        nonlocal selected, changed
        numbers = [number for number, item in enumerate(data.objects()) if selection.fits(item)]
        selected = len(numbers)
        changed = action(data, numbers) if numbers else 0

    if dry_run:
        change(entry.read())
    else:
        entry.edit(change)
    return EntryEdit(entry.name, selected, changed)


def _action(project: Project, change: Change) -> Callable[[QpData, list[int]], int]:
    """What to do with the numbers of the objects that are meant; gives how many are different then."""
    if change.remove:
        return lambda data, numbers: data.remove(numbers)
    if change.move_to is not None:
        return lambda data, numbers: _move(data, numbers, change.move_to or "")
    path_class = None if change.class_name is None else _class(project, change.class_name)
    mapped = {old: _class(project, new) for old, new in change.class_map.items()}
    return lambda data, numbers: _update(data, numbers, change, path_class, mapped)


def _update(
    data: QpData,
    numbers: Sequence[int],
    change: Change,
    path_class: tuple[PathClass | None] | None,
    mapped: Mapping[str, tuple[PathClass | None]],
) -> int:
    objects = data.objects()
    classes = {number: mapped.get(objects[number].class_name or UNCLASSIFIED, path_class) for number in numbers}
    return data.update({number: _changed(objects[number], change, classes[number]) for number in numbers})


def _move(data: QpData, numbers: Sequence[int], to: str) -> int:
    """Move the topmost of the objects; those below them go along."""
    objects = data.objects()
    target = None if to == ROOT else next((n for n, item in enumerate(objects) if item.id == to), None)
    if to != ROOT and target is None:
        return 0  # the new parent is in another entry
    there = [n for n in numbers if n != target and objects[n].parent != target]
    meant = set(there)
    topmost = [n for n in there if not any(above in meant for above in _above(objects, n))]
    data.move(topmost, to=target)
    return len(topmost)


def _above(objects: Sequence[Annotation], number: int) -> list[int]:
    found = []
    parent = objects[number].parent
    while parent is not None:
        found.append(parent)
        parent = objects[parent].parent
    return found


def _class(project: Project, name: str) -> tuple[PathClass | None]:
    """The class of this name with its colour in the project, or a new one."""
    # In a tuple, which tells "no class" from "no change".
    if name == UNCLASSIFIED:
        return (None,)
    try:
        path_class = PathClass.parse(name)
        return (project.known_classes({str(path_class)}).get(str(path_class), path_class),)
    except ValueError as err:
        raise ConfigError(f"class {name!r}: {err}") from err


def _changed(item: Annotation, change: Change, path_class: tuple[PathClass | None] | None) -> Annotation:
    return dataclasses.replace(
        item,
        path_class=item.path_class if path_class is None else path_class[0],
        name=item.name if change.name is None else change.name or None,
        color=item.color if change.color is None else change.color,
        locked=item.locked if change.locked is None else change.locked,
        measurements={**item.measurements, **change.measurements},
        metadata={**item.metadata, **change.metadata},
    )
