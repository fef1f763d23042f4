"""qpkit edit: reclassifies, renames, locks, measures, removes or moves objects of a project."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say, table, took
from qpkit.cli.shared.stamps import warn_of_stamps
from qpkit.errors import ConfigError
from qpkit.qupath import open_project
from qpkit.settings import pairs_of
from qpkit.workflows.edit import Change, Selection, edit_objects


def command(
    project: Path = typer.Argument(..., help="QuPath project. Close it in QuPath first."),
    entry: list[str] = typer.Option([], help="Only this entry, by name or id (repeatable)."),
    where: list[str] = typer.Option(
        [], metavar="KEY=VALUE", help="Only entries with this metadata, such as Split=test (repeatable: all of it)."
    ),
    *,
    selection: Selection,
    everything: bool = typer.Option(False, "--all", help="All objects."),
    change: Change,
    dry_run: bool = typer.Option(False, "--dry-run", help="Only count."),
) -> None:
    """Change objects of a project: reclassify, rename, lock, measure, describe, remove, move."""
    start = time.perf_counter()
    if everything != (selection == Selection()) and not (change.class_map and not everything):
        raise ConfigError(
            "say which objects: --class, --kind, --name, --id, --run, --imported or --drawn, or --all; or --map"
        )
    opened = open_project(project)
    if not dry_run:
        warn_of_stamps(opened)
    with progress("edit") as update:
        done = edit_objects(
            opened, selection, change, entries=entry, where=pairs_of(where), dry_run=dry_run, on_progress=update
        )
    if not any(item.selected for item in done):
        say("note: no object fits; qpkit info shows the classes, upper and lower case count")
    title = "Would change" if dry_run else "Changed"
    table(
        f"{title} in {opened.path}", ("entry", "selected", "changed"), [(d.entry, d.selected, d.changed) for d in done]
    )
    say(f"{sum(item.changed for item in done):,} object(s) {'would change' if dry_run else 'changed'} ({took(start)})")
