"""qpkit project: makes a QuPath project, adds slides, writes metadata, shares it out among readers."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from qpkit.cli.shared.console import BROKEN, progress, say, table, took
from qpkit.cli.shared.flags import with_options
from qpkit.errors import ConfigError
from qpkit.qupath import Project, open_project
from qpkit.settings import pairs_of
from qpkit.workflows.hand_out import NAME, HandOutSettings, hand_out
from qpkit.workflows.project import (
    AddReport,
    ImageSettings,
    add_images,
    new_project_of,
    read_metadata_table,
    write_metadata,
)

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command("create")
@with_options
def create(
    folder: Path = typer.Argument(..., help="Folder to make; the project is project.qpproj in it."),
    images: list[Path] = typer.Argument(None, metavar="[IMAGE|FOLDER]...", help="Slides to add, or folders of them."),
    *,
    settings: ImageSettings,
) -> None:
    """Make a project that QuPath 0.2 to 0.7 open, with the given slides."""
    start = time.perf_counter()
    with progress("add") as update:
        made, report = new_project_of(
            folder, images or [], settings, timestamp_ms=int(time.time() * 1000), on_progress=update
        )
    say(str(made.path))
    _show(made, report, start)


@app.command("add-images")
@with_options
def add_images_command(
    project: Path = typer.Argument(..., help="QuPath project. Close it in QuPath first."),
    images: list[Path] = typer.Argument(..., metavar="IMAGE|FOLDER...", help="Slides to add, or folders of them."),
    *,
    settings: ImageSettings,
) -> None:
    """Add slides to a project, with thumbnails; those it has already are left out."""
    opened, start = open_project(project), time.perf_counter()
    with progress("add") as update:
        report = add_images(opened, images, settings, on_progress=update)
    _show(opened, report, start)


@app.command("set-metadata")
def set_metadata_command(
    project: Path = typer.Argument(..., help="QuPath project. Close it in QuPath first."),
    pairs: list[str] = typer.Argument(None, metavar="[KEY=VALUE]...", help="KEY= removes a key."),
    entry: list[str] = typer.Option([], help="Entry to change, by name or id (repeatable). Default: all."),
    from_csv: Path | None = typer.Option(
        None, "--from-csv", help="Table instead: first column the entry's name or id, a column for each key."
    ),
) -> None:
    """Write metadata of the images, such as patient and split, into a project."""
    start = time.perf_counter()
    opened = open_project(project)
    if (from_csv is None) == (not pairs):
        raise ConfigError("give either KEY=VALUE pairs or --from-csv FILE")
    if from_csv is not None:
        if entry:
            raise ConfigError("--entry goes with KEY=VALUE pairs, not with --from-csv")
        changes = read_metadata_table(from_csv)
    else:
        values = {key: value or None for key, value in pairs_of(pairs).items()}
        changes = dict.fromkeys(entry or [str(item.id) for item in opened.entries], values)
    changed = write_metadata(opened, changes)
    entries = open_project(opened.path).entries
    rows = [(item.id, item.name, ", ".join(f"{k}={v}" for k, v in item.metadata.items())) for item in entries]
    table(f"{opened.path}", ("id", "entry", "metadata"), rows)
    say(f"{changed} of {len(rows)} entries changed ({took(start)})")


@app.command("hand-out")
@with_options
def hand_out_command(
    project: Path = typer.Argument(..., help="QuPath project to share out; it stays as it is."),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make; it gets a project for each reader."),
    *,
    settings: HandOutSettings,
) -> None:
    """Make a project for each reader, with some slides in two of them; qpkit compare and qpkit merge take them back."""
    start = time.perf_counter()
    made = hand_out(open_project(project), out, settings)
    rows = [(reader, str(out / own.folder), ", ".join(own.slides)) for reader, own in made.readers.items()]
    table("Handed out", ("reader", "project", "slides"), rows)
    given = [slide for own in made.readers.values() for slide in own.slides]
    twice = len(given) - len(set(given))
    say(f"{len(set(given))} slide(s), {twice} of them read twice; who has what: {out / NAME} ({took(start)})")


def _show(project: Project, report: AddReport, start: float) -> None:
    rows = [(item.entry, item.name, f"{item.width} x {item.height}", item.mpp) for item in report.added]
    if rows:
        table(f"Added to {project.path}", ("id", "entry", "px", "um/px"), rows)
    for path in report.known:
        say(f"note: {path} is in the project already; left out")
    for item in report.added:
        if item.mpp is None:
            say(f"note: {item.name} has no um/px; state it with --mpp, or set it in QuPath")
    for path, reason in report.refused.items():
        say(f"note: NOT ADDED: {reason if str(path) in reason else f'{path}: {reason}'}")
    say(f"{len(rows)} image(s) added ({took(start)})")
    if report.refused:
        raise typer.Exit(BROKEN)
