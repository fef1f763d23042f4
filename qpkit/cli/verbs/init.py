"""qpkit init: looks at a project, or a folder of images and masks, and writes a study.toml and the commands for it."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say, say_all
from qpkit.cli.shared.study import study_of
from qpkit.errors import OutputError, about
from qpkit.files import replace_file
from qpkit.workflows.doctor.installation.machine import driver_check
from qpkit.workflows.study.draft import draft
from qpkit.workflows.study.look import Found, look_at
from qpkit.workflows.study.steps import FILE_NAME


def command(
    place: Path = typer.Argument(..., help="QuPath project with annotations, or folder of images and masks."),
    out: Path = typer.Option(Path(FILE_NAME), "-o", "--out", help="File to write."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a file that is there."),
) -> None:
    """Look at what is there and write a commented study.toml: what is exported, trained, judged and predicted, and why.

    The commands are printed, too; qpkit run study.toml does all of them.
    """
    if out.exists() and not overwrite:
        raise OutputError(f"{out}: there already; add --overwrite to replace it")
    with progress("look") as update:
        found = look_at(place, on_progress=update)
    source = os.path.relpath(found.place.resolve(), out.resolve().parent)
    if Path(source).parts[:2] == ("..", ".."):  # nothing that moves together
        source = str(found.place.resolve())
    text = draft(found, name=out.name, source=source, out=out.stem, gpu=driver_check().state == "ok")
    replace_file(out, text.encode())
    _show(found)
    say(f"{out} says what is done, and why; the same by hand:")
    for step in study_of(out).steps:
        typer.echo(str(step))
    say(f"all at once, and on after a stop: qpkit run {out}")


def _show(found: Found) -> None:
    what = "slides" if found.kind == "project" else "images with masks"
    say(f"{found.images} {what} in {found.place}, {found.annotated} of them annotated")
    if found.classes:
        say("annotations: " + ", ".join(f"{name} {count:,}" for name, count in found.classes.items()))
    say_all("cannot be read: ", [about(name, reason) for name, reason in found.broken.items()])
    say_all("note: ", found.notes)
