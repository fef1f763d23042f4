"""Figures of a training: its curves over the epochs, and precision, recall and Dice over the threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qpkit.ops.scores.confusion import ClassScore
from qpkit.report.figures.names import add_legend, numbers, plain_text, png_of

_BEST: Final = "#c00000"
_ACROSS: Final = 3
"""Classes beside each other."""


def draw_curves(history: Sequence[Mapping[str, Any]], names: Sequence[str], *, best_epoch: int) -> bytes:
    """Draw losses, the Dice of each class and the learning rate over the epochs, the best epoch marked.

    Args:
        history: One row per epoch: epoch, lr, train_loss, val_loss, mean_dice and dice by class name.
        names: Classes to draw.
        best_epoch: From 1; 0 for none.

    Returns:
        The content of a PNG file.
    """
    figure = Figure(figsize=(12.5, 3.8), layout="constrained")
    losses, dice, rates = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in history]
    for key, label in (("train_loss", "training"), ("val_loss", "measured tiles")):
        losses.plot(epochs, numbers([row[key] for row in history]), marker=".", label=label)
    for name in names:
        dice.plot(epochs, numbers([row["dice"].get(name) for row in history]), marker=".", label=plain_text(name))
    mean = numbers([row["mean_dice"] for row in history])
    dice.plot(epochs, mean, color="black", linestyle="--", linewidth=1, label="mean of the classes")
    rates.plot(epochs, numbers([row["lr"] for row in history]), marker=".", color="0.3")
    dice.set_ylim(-0.02, 1.02)
    for axes, title in ((losses, "Loss"), (dice, "Dice on the measured tiles"), (rates, "Learning rate (last step)")):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if best_epoch:
            axes.axvline(best_epoch, color=_BEST, linewidth=1, linestyle=":", label=f"best: {best_epoch}")
        if axes is not rates:
            add_legend(axes)
    return png_of(figure)


def draw_scores_over_thresholds(curves: Mapping[str, Sequence[ClassScore]]) -> bytes:
    """Draw precision, recall and Dice (F1) over the probability from which a pixel is called the class.

    Args:
        curves: By class, 256 scores each, at thresholds t / 255.

    Returns:
        The content of a PNG file, one picture per class.
    """
    across = min(_ACROSS, len(curves))
    down = math.ceil(len(curves) / across)
    figure = Figure(figsize=(4.2 * across, 3.2 * down), layout="constrained")
    places = figure.subplots(down, across, squeeze=False).ravel()
    for axes in places[len(curves) :]:
        axes.set_visible(False)
    for axes, (name, scores) in zip(places, curves.items(), strict=False):
        thresholds = [t / 255 for t in range(len(scores))]
        for metric, label in (("precision", "precision"), ("recall", "recall"), ("dice", "F1 (Dice)")):
            axes.plot(thresholds, numbers([getattr(score, metric) for score in scores]), label=label)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="threshold")
        axes.set_title(plain_text(name), fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return png_of(figure)
