"""The result of fit(), with everything that the command line shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpkit.ops.scores.confusion import ClassScore


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """The result of a training.

    Args:
        run: Id.
        root: Run folder.
        recipe: Name.
        device, precision: What it ran on.
        epochs: That ran, best_epoch the best of them (from 1).
        stopped_early: Whether patience ended it.
        resumed_from: Epochs that were there already.
        scores: One per class, background included, of the best epoch on `validated_on` tiles.
        mean_dice, mean_iou: Over the classes without background; None if undefined.
        accuracy: Fraction of known pixels predicted right.
        thresholds: Probabilities by class name with the highest Dice on those tiles: --threshold validated of qpkit
            predict.
        validated_on: "val", or "train" where there is no validation split.
        train_tiles, val_tiles: In the splits.
        parameters: "all" of the network, and those that are "learning".
        steps: Done.
        seconds: Spent in all, earlier sessions included.
        seconds_per_step: Of training, waiting for tiles included.
        waiting_fraction: Fraction of the training time spent waiting for tiles, 0..1.
        sampler: What an epoch shows (BalancedSampler.describe).
        notes: What the user has to know.
    """

    run: str
    root: Path
    recipe: str
    device: str
    precision: str
    epochs: int
    best_epoch: int
    stopped_early: bool
    resumed_from: int
    scores: tuple[ClassScore, ...]
    mean_dice: float | None
    mean_iou: float | None
    accuracy: float | None
    thresholds: dict[str, float]
    validated_on: str
    train_tiles: int
    val_tiles: int
    parameters: dict[str, int]
    steps: int
    seconds: float
    seconds_per_step: float
    waiting_fraction: float
    sampler: dict[str, Any]
    notes: tuple[str, ...]
