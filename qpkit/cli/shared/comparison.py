"""qpkit train --compare: several recipes, one table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qpkit.cli.shared.console import progress, say, say_all, table, took
from qpkit.cli.shared.trainer import measured_on, report_after_training
from qpkit.errors import about
from qpkit.extras import extra

if TYPE_CHECKING:
    from qpkit_train.compare import ComparisonReport


def run_comparison(tiles: Path, names: Sequence[str], out: Path, setting: Sequence[str]) -> None:
    """Train recipes one after the other and show them side by side; exit code 2 if one could not be trained."""
    with extra("train"):
        from qpkit_train.compare import compare
        from qpkit_train.recipe.load import load_recipe
        from qpkit_train.training_page import PAGE_NAME

    start = time.perf_counter()
    recipes = [load_recipe(name.strip(), setting) for name in names if name.strip()]
    with progress("train") as update:
        report = compare(tiles, out, recipes, on_progress=update)
    _show(report)
    for model in report.models:
        if not model.taken_over or not (model.fit.root / PAGE_NAME).is_file():  # killed before it was written
            report_after_training(model.fit.root)
    say(f"table: {out / 'compare.csv'}, figure: {out / 'compare.png'} ({took(start)})")
    if report.failed:
        for name, reason in report.failed:
            say(f"not trained: {about(name, reason)}")
        raise typer.Exit(2)


def _show(report: ComparisonReport) -> None:
    rows = []
    for model in report.models:
        fit = model.fit
        epochs = f"{fit.best_epoch} of {fit.epochs}"
        rows.append((fit.recipe, fit.mean_dice, fit.mean_iou, fit.parameters["all"], fit.parameters["learning"],
                     epochs, fit.steps, fit.seconds))  # fmt: skip
    columns = ("recipe", "Dice", "IoU", "parameters", "learning", "best epoch", "steps", "seconds")
    table(f"Best epochs on the {measured_on(report.models[0].fit)} tiles", columns, rows)
    for model in report.models:
        if model.taken_over:
            say(f"{model.fit.recipe}: was finished before, taken over from {model.fit.root}")
        elif model.fit.resumed_from:
            say(f"{model.fit.recipe}: went on after epoch {model.fit.resumed_from}")
        say_all(f"note: {model.fit.recipe}: ", model.fit.notes)
