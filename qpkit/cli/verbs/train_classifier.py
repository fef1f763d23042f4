"""qpkit train-classifier: trains a network that says whether a tile shows a lesion."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import typer

from qpkit.cli.shared.console import progress, say, table, took
from qpkit.cli.shared.trainer import measured_on, say_how_it_ran, show_draws, start_processes
from qpkit.dataset.manifest import require_tile_set
from qpkit.extras import extra
from qpkit.files import require_run_folder

if TYPE_CHECKING:
    from qpkit_train.classify import ClassifierReport


_DEFAULT: Final = "bracs-classifier"


def command(
    tiles: Path | None = typer.Argument(None, help="Folder that qpkit export made; with --resume that of the run."),
    out: Path = typer.Option(..., "-o", "--out", help="Run folder to make (or to resume)."),
    recipe: str = typer.Option(
        "", help=f"Name of a shipped recipe with a tile-classifier, or a TOML file; {_DEFAULT} if not given."
    ),
    positive: list[str] = typer.Option(
        [], "--class", metavar="NAME", help="A tile that shows this class is positive; several add up. Default: any."
    ),
    setting: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="Change a setting, e.g. optim.lr=3e-4."),
    resume: bool = typer.Option(
        False,
        "--resume",
        help="Go on with the run in --out and its settings; --set optim.epochs=N prolongs it.",
    ),
    devices: int = typer.Option(1, min=1, help="Processes on this machine that train together, one per GPU."),
) -> None:
    """Train a classifier that says whether a tile shows a lesion; its encoder can start a segmentation."""
    # Before torch, whose import takes seconds.
    if tiles is not None:
        require_tile_set(tiles)
    require_run_folder(out, resume=resume)
    with extra("train"):
        from qpkit_train.classify import fit_classifier, help_fit
        from qpkit_train.run_folder.resuming import tiles_and_recipe

    start = time.perf_counter()
    tiles, chosen = tiles_and_recipe(out, tiles, recipe, setting, resume=resume, default=_DEFAULT)
    if positive:
        chosen = msgspec.structs.replace(chosen, positive=positive)
    if not start_processes(devices):
        help_fit(tiles, out, chosen, resume=resume)
        return
    with progress("train") as update:
        report = fit_classifier(tiles, out, chosen, resume=resume, on_progress=update)
    _show(report, out, start)


def _show(report: ClassifierReport, out: Path, start: float) -> None:
    trained = report.fit
    show_draws(trained.sampler)
    scores = {"the model": report.model, **report.baselines}
    rows = [(name, j.accuracy, j.precision, j.recall, j.f1, j.auc) for name, j in scores.items()]
    epoch = f"Epoch {trained.best_epoch} of {trained.epochs} on the {measured_on(trained)} tiles"
    columns = ("predictor", "accuracy", "precision", "recall", "F1", "AUC")
    table(f"Does a tile show {report.asked}? {epoch}", columns, rows)
    shown = [
        (name, *counts, *(count / max(sum(counts), 1) for count in counts))
        for name, counts in zip(("without", "with"), report.confusion.tolist(), strict=True)
    ]
    table(
        "Tiles by truth (rows) and answer",
        ("", "predicted without", "predicted with", "fraction without", "fraction with"),
        shown,
    )
    say_how_it_ran(trained)
    say(f"run {trained.run} in {out} ({took(start)}); its encoder: --set model.encoder_weights=run:{out}")
