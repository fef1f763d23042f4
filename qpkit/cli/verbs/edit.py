"""qpkit edit."""

from __future__ import annotations

import math
import time
from pathlib import Path

import typer

from qpkit.cli.shared.console import pairs_of, progress, say, table, took
from qpkit.errors import ConfigError

_KINDS = ("annotation", "detection", "cell", "tile", "tma_core")


def command(
    project: Path = typer.Argument(..., help="QuPath project. Close it in QuPath first."),
    entry: list[str] = typer.Option([], help="Only this entry, by name or id (repeatable)."),
    class_name: list[str] = typer.Option([], "--class", help='Objects of this class ("" for none; repeatable).'),
    kind: list[str] = typer.Option([], help="annotation, detection, cell, tile or tma_core (repeatable)."),
    name: list[str] = typer.Option([], help="Objects of this name (repeatable)."),
    identity: list[str] = typer.Option([], "--id", help="The object with this id (repeatable)."),
    everything: bool = typer.Option(False, "--all", help="All objects."),
    set_class: str | None = typer.Option(None, help='New class, "Tumor: Positive"; "" takes it away.'),
    set_name: str | None = typer.Option(None, help='New name; "" takes it away.'),
    set_color: str | None = typer.Option(None, help="Colour of the objects themselves, #rrggbb."),
    lock: bool | None = typer.Option(None, "--lock/--unlock", help="Lock or unlock them."),
    measure: list[str] = typer.Option([], metavar="KEY=NUMBER", help="Add or change a measurement (repeatable)."),
    set_metadata: list[str] = typer.Option([], metavar="KEY=VALUE", help="Add or change metadata (repeatable)."),
    remove: bool = typer.Option(False, "--remove", help="Take them out; what is below them moves up."),
    move_to: str | None = typer.Option(None, help="Put them below the object with this id, or below the root: root."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only count."),
) -> None:
    """Change objects of a project: reclassify, rename, lock, measure, describe, remove, move."""
    from qpkit.qupath import open_project
    from qpkit.workflows.edit import Change, Selection, edit_objects

    start = time.perf_counter()
    _require_selection(kind, everything, [class_name, kind, name, identity])
    change = Change(
        class_name=set_class,
        name=set_name,
        color=None if set_color is None else _color(set_color),
        locked=lock,
        measurements={key: _number(key, value) for key, value in pairs_of(measure).items()},
        metadata=pairs_of(set_metadata),
        remove=remove,
        move_to=move_to,
    )
    selection = Selection(classes=class_name, kinds=kind, names=name, ids=identity)
    opened = open_project(project)
    with progress("edit") as update:
        done = edit_objects(opened, selection, change, entries=entry, dry_run=dry_run, on_progress=update)
    if not any(item.selected for item in done):
        say("note: no object fits; qpkit info shows the classes, upper and lower case count")
    title = "Would change" if dry_run else "Changed"
    table(
        f"{title} in {opened.path}", ("entry", "selected", "changed"), [(d.entry, d.selected, d.changed) for d in done]
    )
    say(f"{sum(item.changed for item in done):,} object(s) {'would change' if dry_run else 'changed'} ({took(start)})")


def _require_selection(kinds: list[str], everything: bool, selectors: list[list[str]]) -> None:
    strange = [kind for kind in kinds if kind not in _KINDS]
    if strange:
        raise ConfigError(f"--kind {strange[0]!r}: has to be one of {', '.join(_KINDS)}")
    if everything == any(selectors):
        raise ConfigError("say which objects: --class, --kind, --name or --id, or --all")


def _color(text: str) -> int:
    from qpkit.core.annotation import argb

    digits = text.removeprefix("#")
    try:
        red, green, blue = bytes.fromhex(digits)
    except ValueError as err:
        raise ConfigError(f"--set-color {text!r}: has to be #rrggbb") from err
    return argb(red, green, blue)


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as err:
        raise ConfigError(f"--measure {key}={text}: has to be a number") from err
    if math.isinf(value):
        raise ConfigError(f"--measure {key}={text}: has to be a finite number, or nan")
    return value
