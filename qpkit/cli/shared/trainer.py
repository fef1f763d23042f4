"""What the commands that train share: several processes, and the size of a network."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say
from qpkit.errors import QpkitError
from qpkit.extras import extra


def start_processes(devices: int) -> bool:
    """Start this command in as many processes as asked for, and end with them; in one of them (or in the only one) say
    whether it is the one that shows progress and results.
    """
    with extra("train"):
        from qpkit_train.machine.processes import is_launched, launch, rank

    if devices > 1 and not is_launched():
        raise typer.Exit(launch(devices, sys.argv[1:]))
    return rank() == 0


def parameters_line(parameters: Mapping[str, int]) -> str:
    """Say how many parameters a network has, and how many of them learn."""
    return f"{parameters['all']:,} parameters, {parameters['learning']:,} of them learn"


def report_after_training(run: Path) -> None:
    """Write RUN/report.html; a training is not lost because its page cannot be made."""
    from qpkit_train.training_page import PAGE_NAME, write_training_page

    page = run / PAGE_NAME
    try:
        with progress("report") as update:
            note = write_training_page(run, page, on_progress=update)
    except (QpkitError, OSError, MemoryError, RuntimeError, ValueError) as err:
        say(f"note: no {PAGE_NAME}: {err}; the run itself is complete, try again with: qpkit report {run}")
        return
    if note:
        say(f"note: {note}")
    say(f"report: {page}")
