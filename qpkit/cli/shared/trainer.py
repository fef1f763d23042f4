"""What the commands that train share: several processes, and the size of a network."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qpkit.cli.shared.console import progress, say, say_all, table
from qpkit.errors import QpkitError
from qpkit.extras import extra

if TYPE_CHECKING:
    from qpkit_train.run_folder.fit_report import FitReport


def start_processes(devices: int) -> bool:
    """Start this command in as many processes as asked for, and end with them; in one of them (or in the only one) say
    whether it is the one that shows progress and results.
    """
    with extra("train"):
        from qpkit_train.machine.processes import is_launched, launch, rank

    if devices > 1 and not is_launched():
        raise typer.Exit(launch(devices, sys.argv[1:]))
    return rank() == 0


def show_draws(sampler: Mapping[str, Any]) -> None:
    """Print what an epoch shows, by kind of tile."""
    rows = [(g["name"], g["tiles"], g["per_epoch"], g["repeats"]) for g in sampler["groups"]]
    table("What an epoch shows", ("tiles", "there are", "drawn", "times each"), rows)


def measured_on(fit: FitReport) -> str:
    """The tiles that the figures of a training are of."""
    return "validation" if fit.validated_on == "val" else "TRAINING (there is no validation split)"


def say_how_it_ran(fit: FitReport) -> None:
    """Say the notes of a training, how many parameters the network has, and the speed."""
    say_all("note: ", fit.notes)
    say(f"{fit.parameters['all']:,} parameters, {fit.parameters['learning']:,} of them learn")
    say(
        f"{fit.recipe} on {fit.device}, {fit.precision}: {fit.steps:,} steps of "
        f"{fit.seconds_per_step:.2f} s, {fit.waiting_fraction:.0%} of it waiting for tiles"
    )


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
