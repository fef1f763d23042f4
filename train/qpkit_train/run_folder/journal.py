"""What a run folder says of a training as it goes: curves, confusion matrices, run.json, and the report at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from qpkit.files import replace_file
from qpkit.ops.scores.confusion import accuracy, class_scores, mean_score
from qpkit.report.figures import curves as figures
from qpkit_train.data.training_tiles import TrainingTiles
from qpkit_train.run_folder import records
from qpkit_train.run_folder.fit_report import FitReport
from qpkit_train.run_folder.records import RunFile, State
from qpkit_train.validation.counts import Measured


def history_row(
    epoch: int, rate: float, train_loss: float, measured: Measured, *, data: TrainingTiles
) -> dict[str, Any]:
    """One row of curves.csv: losses, mean Dice and IoU without background, Dice of every class.

    Args:
        epoch: From 1.
        rate: Learning rate of its last step.
        train_loss: Mean over its steps.
        measured: Of the measured tiles.
        data: Names the classes.
    """
    scores = class_scores(measured.confusion, data.names)
    return {
        "epoch": epoch,
        "lr": rate,
        "train_loss": train_loss,
        "val_loss": measured.loss,
        "mean_dice": mean_score(scores, "dice", background=data.background),
        "mean_iou": mean_score(scores, "iou", background=data.background),
        "dice": {score.name: score.dice for score in scores},
    }


def write_epoch(root: Path, file: RunFile, state: State, data: TrainingTiles) -> None:
    """Bring curves, confusion matrices and run.json up to the end of an epoch."""
    confusion = np.array(state.confusion, np.int64)
    replace_file(root / "curves.csv", figures.curves_csv(state.history, data.names))
    replace_file(root / "curves.png", figures.curves_png(state.history, data.names, where=data.validated_on))
    replace_file(root / "confusion.csv", figures.confusion_csv(confusion, data.names))
    replace_file(root / "confusion.png", figures.confusion_png(confusion, data.names))
    records.write_run_file(root, _described(file, state, data, "running"))


def close(root: Path, file: RunFile, state: State, data: TrainingTiles, *, is_lead: bool) -> RunFile:
    """Mark the run as finished, if this process is the one that writes; gives run.json as it stands then."""
    finished = _described(file, state, data, "finished")
    if is_lead:
        records.write_run_file(root, finished)
    return finished


def _described(file: RunFile, state: State, data: TrainingTiles, status: str) -> RunFile:
    confusion = np.array(state.confusion, np.int64)
    scores = class_scores(confusion, data.names)
    metrics = {
        "accuracy": accuracy(confusion),
        "mean_dice": mean_score(scores, "dice", background=data.background),
        "mean_iou": mean_score(scores, "iou", background=data.background),
        "classes": msgspec.to_builtins(scores),
    }
    return msgspec.structs.replace(
        file,
        status=status,
        epochs=state.epoch,
        best_epoch=state.watch.best_epoch,
        metrics=metrics,
        thresholds=state.thresholds,
        seconds=round(state.seconds, 3),
        seconds_per_step=round(state.training_seconds / max(state.steps, 1), 5),
        waiting_fraction=round(state.waiting_seconds / max(state.training_seconds, 1e-9), 4),
    )


def fit_report(root: Path, file: RunFile, state: State, data: TrainingTiles, *, resumed_from: int) -> FitReport:
    """Make the report of a finished training.

    Args:
        root: Run folder.
        file: As `close` gave it.
        state: Of the last epoch.
        data: What was trained on.
        resumed_from: Epochs that were there already.
    """
    return FitReport(
        run=file.id,
        root=root,
        recipe=file.recipe["name"],
        device=file.device,
        precision=file.precision,
        epochs=state.epoch,
        best_epoch=file.best_epoch,
        stopped_early=state.epoch < file.recipe["optim"]["epochs"],
        resumed_from=resumed_from,
        scores=class_scores(np.array(state.confusion, np.int64), data.names),
        mean_dice=file.metrics["mean_dice"],
        mean_iou=file.metrics["mean_iou"],
        accuracy=file.metrics["accuracy"],
        thresholds=file.thresholds,
        validated_on=data.validated_on,
        train_tiles=len(data.train),
        val_tiles=file.tiles["val"],
        parameters=file.parameters,
        steps=state.steps,
        seconds=file.seconds,
        seconds_per_step=file.seconds_per_step,
        waiting_fraction=file.waiting_fraction,
        sampler=file.sampler,
        notes=tuple(file.notes),
    )
