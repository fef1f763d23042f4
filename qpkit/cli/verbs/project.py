"""qpkit project: makes a QuPath project, adds slides, writes metadata."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qpkit.cli.shared.console import progress, say, table, took
from qpkit.errors import ConfigError
from qpkit.settings import pairs_of

if TYPE_CHECKING:
    from qpkit.qupath import Entry, Project
    from qpkit.workflows.project import AddReport

app = typer.Typer(no_args_is_help=True, add_completion=False)

_TYPES = "he, hdab, brightfield, fluorescence, other, or unset: QuPath asks when it opens the image."


@app.command("create")
def create(
    folder: Path = typer.Argument(..., help="Folder to make; the project is project.qpproj in it."),
    images: list[Path] = typer.Argument(None, metavar="[IMAGE]...", help="Slides to add."),
    image_type: str = typer.Option("unset", help=_TYPES),
    mpp: float | None = typer.Option(None, help="um per px of the slides that do not state theirs."),
    metadata: list[str] = typer.Option([], "--metadata", metavar="KEY=VALUE", help="For each image (repeatable)."),
) -> None:
    """Make a project that QuPath 0.2 to 0.7 open, with the given slides."""
    from qpkit.workflows.project import new_project_of

    start = time.perf_counter()
    pairs = pairs_of(metadata)
    with progress("add") as update:
        made, report = new_project_of(
            folder,
            images or [],
            timestamp_ms=int(time.time() * 1000),
            image_type=image_type,
            mpp=mpp,
            metadata=pairs,
            on_progress=update,
        )
    say(str(made.path))
    _show(made, report, start)


@app.command("add-images")
def add_images_command(
    project: Path = typer.Argument(..., help="QuPath project. Close it in QuPath first."),
    images: list[Path] = typer.Argument(..., metavar="IMAGE...", help="Slides to add."),
    image_type: str = typer.Option("unset", help=_TYPES),
    mpp: float | None = typer.Option(None, help="um per px of the slides that do not state theirs."),
    metadata: list[str] = typer.Option([], "--metadata", metavar="KEY=VALUE", help="For each image (repeatable)."),
) -> None:
    """Add slides to a project, with thumbnails; those it has already are left out."""
    from qpkit.qupath import open_project

    _add(open_project(project), images, image_type, mpp, pairs_of(metadata))


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
    from qpkit.qupath import open_project
    from qpkit.workflows.project import read_metadata_table, write_metadata

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
    rows = [(item.id, item.name, ", ".join(f"{k}={v}" for k, v in item.metadata.items())) for item in _again(opened)]
    table(f"{opened.path}", ("id", "entry", "metadata"), rows)
    say(f"{changed} of {len(rows)} entries changed ({took(start)})")


def _again(project: Project) -> tuple[Entry, ...]:
    from qpkit.qupath import open_project

    return open_project(project.path).entries


def _add(project: Project, images: list[Path], image_type: str, mpp: float | None, metadata: dict[str, str]) -> None:
    from qpkit.workflows.project import add_images

    start = time.perf_counter()
    with progress("add") as update:
        report = add_images(project, images, image_type=image_type, mpp=mpp, metadata=metadata, on_progress=update)
    _show(project, report, start)


def _show(project: Project, report: AddReport, start: float) -> None:
    rows = [(item.entry, item.name, f"{item.width} x {item.height}", item.mpp) for item in report.added]
    if rows:
        table(f"Added to {project.path}", ("id", "entry", "px", "um/px"), rows)
    for path in report.known:
        say(f"note: {path} is in the project already; left out")
    for item in report.added:
        if item.mpp is None:
            say(f"note: {item.name} has no um/px; state it with --mpp, or set it in QuPath")
    say(f"{len(rows)} image(s) added ({took(start)})")
