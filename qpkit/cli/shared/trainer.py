"""What the commands that train share: several processes, and the size of a network."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from qpkit.cli.shared.console import progress, say
from qpkit.errors import QpkitError
from qpkit.extras import extra

if TYPE_CHECKING:
    from qpkit_train.inference.predict import PredictReport

HALO_PX: Final = 128
TILE_PX: Final = 768
BATCH_SIZE: Final = 2


def start_processes(devices: int) -> bool:
    """Start as many processes of this command as asked for, unless they are; says whether this one speaks for all."""
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


def say_thresholds(report: PredictReport) -> None:
    """Say below which chances a prediction gave the background."""
    if report.thresholds:
        limits = ", ".join(f"{name} {chance:g}" for name, chance in report.thresholds.items())
        say(f"background below these chances: {limits}")
    for line in report.notes:
        say(f"note: {line}")
