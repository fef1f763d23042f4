"""qpkit run: does the steps of a study.toml that are not done yet."""

from __future__ import annotations

from pathlib import Path

import typer

from qpkit.cli.shared.study import run_study, study_of
from qpkit.workflows.study.steps import FILE_NAME


def command(
    study: Path = typer.Argument(Path(FILE_NAME), help="File that qpkit init wrote, or the folder that it is in."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the commands and do nothing."),
) -> None:
    """Do the steps of a study.toml: each is a command of its own, printed before it runs.

    Run it again after a stop, or after a change of the file: steps whose command, inputs and result are as they were
    are left out. The first step that fails ends it, with that step's exit code; 2 says that something was left out.
    """
    found = study_of(study)
    if dry_run:
        for step in found.steps:
            typer.echo(str(step))
        return
    code = run_study(found)
    if code:
        raise typer.Exit(code)
