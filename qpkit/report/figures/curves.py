"""Tables and pictures of a training: curves and confusion matrices, as CSV and PNG bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from qpkit.files import csv_bytes
from qpkit.ops.scores.confusion import row_normalized
from qpkit.report.figures.names import add_legend, numbers, plain_text, png_of

_MEASURED: Final = {"val": "validation tiles", "train": "training tiles (no validation split)"}
"""What scores are about, by split."""

_WIDE: Final = 20
"""Losses whose largest is more than so many times the smallest are drawn on a logarithmic axis."""


def curves_csv(history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bytes:
    """One row per epoch: epoch, lr, train_loss, val_loss, mean_dice, mean_iou, dice_<class> ...; blank for None.

    Before the classes pseudo_labelled, where a mean teacher labels: the fraction of the unlabelled pixels that it did.
    """
    plain = ["epoch", "lr", "train_loss", "val_loss", "mean_dice", "mean_iou"]
    plain += [name for name in ("pseudo_labelled",) if history and name in history[0]]
    rows: list[list[Any]] = [[*plain, *(f"dice_{name}" for name in names)]]
    rows += [[*(row[key] for key in plain), *(row["dice"][name] for name in names)] for row in history]
    return csv_bytes(rows)


def curves_png(history: Sequence[Mapping[str, Any]], names: Sequence[str], *, where: str) -> bytes:
    """Loss over epochs on the left, Dice of each class on the right, on the split `where` ("val" or "train")."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for key, label in (("train_loss", "training"), ("val_loss", _MEASURED[where])):
        left.plot(epochs, numbers([row[key] for row in history]), marker=".", label=label)
    for name in names:
        right.plot(epochs, numbers([row["dice"][name] for row in history]), marker=".", label=plain_text(name))
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel=f"Dice on {_MEASURED[where]}", ylim=(0, 1))
    for axes in (left, right):
        add_legend(axes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    return png_of(figure)


def comparison_png(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    ends: Mapping[str, tuple[float | None, float | None]],
    *,
    sizes: Mapping[str, str],
    where: str,
) -> bytes:
    """Losses, validation Dice and the best epoch's scores of several models, a colour each.

    Args:
        curves: Rows of curves.csv by model.
        ends: (Dice, IoU) of the best epoch by model.
        sizes: What stands below each model's name: parameters and time.
        where: Split that was measured, "val" or "train".
    """
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    losses, dice, bars = figure.subplots(1, 3)
    for number, (name, history) in enumerate(curves.items()):
        color, epochs = f"C{number}", [row["epoch"] for row in history]
        losses.plot(epochs, numbers([row["train_loss"] for row in history]), "--", color=color, linewidth=1)
        losses.plot(epochs, numbers([row["val_loss"] for row in history]), marker=".", color=color)
        dice.plot(
            epochs, numbers([row["mean_dice"] for row in history]), marker=".", color=color, label=plain_text(name)
        )
        for offset, value, shade in zip((-0.2, 0.2), ends[name], (1.0, 0.5), strict=True):
            bars.barh(number + offset, value or 0, height=0.38, color=color, alpha=shade)
            bars.text((value or 0) + 0.01, number + offset, "-" if value is None else f"{value:.3f}", va="center")
    losses.set(xlabel="epoch", ylabel="each recipe's own loss (dashed: training)")
    if _is_wide([row[name] for rows in curves.values() for row in rows for name in ("train_loss", "val_loss")]):
        losses.set(yscale="log", ylabel="each recipe's own loss, logarithmic (dashed: training)")
    dice.set(xlabel="epoch", ylabel=f"mean Dice on {_MEASURED[where]}", ylim=(0, 1))
    bars.set(xlabel="best epoch: Dice (full colour) and IoU (pale)", xlim=(0, 1.15), yticks=range(len(curves)))
    bars.set_yticklabels([f"{plain_text(name)}\n{sizes[name]}" for name in curves])
    bars.invert_yaxis()
    add_legend(dice)
    for axes in (losses, dice):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    return png_of(figure)


def _is_wide(values: Sequence[float | None]) -> bool:
    """Whether one network's first epochs would press all other curves flat."""
    positive = [value for value in values if value is not None and 0 < value < math.inf]
    return bool(positive) and max(positive) > _WIDE * min(positive)


def range_test_png(rates: Sequence[float], losses: Sequence[float], suggestion: float) -> bytes:
    """Smoothed loss over the learning rate (logarithmic), the suggestion marked."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    axes.axvline(suggestion, color="#c00000", linewidth=1, label=f"steepest: {suggestion:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss (smoothed)")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    return png_of(figure)


def confusion_csv(confusion: NDArray[np.int64], names: Sequence[str]) -> bytes:
    """Pixels by true class (rows) and predicted class (columns), then the same as fractions of each row."""
    rows: list[list[Any]] = [["true \\ predicted", *names, *(f"fraction_{name}" for name in names)]]
    for name, counts, fractions in zip(names, confusion, row_normalized(confusion), strict=True):
        rows.append([name, *counts.tolist(), *(round(fraction, 6) for fraction in fractions.tolist())])
    return csv_bytes(rows)


def confusion_png(confusion: NDArray[np.int64], names: Sequence[str], *, unit: str = "pixels") -> bytes:
    """Pixels (or tiles) on the left, fractions of each true class on the right, both coloured by fraction."""
    fractions = row_normalized(confusion)
    side = 2.5 + 0.7 * len(names)
    figure = Figure(figsize=(2 * side, side), layout="constrained")
    texts = (
        np.vectorize("{:,}".format, otypes=[str])(confusion),
        np.vectorize("{:.3f}".format, otypes=[str])(fractions),
    )
    for axes, text, title in zip(figure.subplots(1, 2), texts, (unit, "fraction of the true class"), strict=True):
        axes.imshow(fractions, vmin=0, vmax=1, cmap="Blues")
        axes.set(title=title, xlabel="predicted", ylabel="true")
        axes.set_xticks(range(len(names)), [plain_text(name) for name in names], rotation=45, ha="right")
        axes.set_yticks(range(len(names)), [plain_text(name) for name in names])
        for (row, col), fraction in np.ndenumerate(fractions):
            color = "white" if fraction > 0.5 else "black"
            axes.text(col, row, text[row, col], ha="center", va="center", color=color, fontsize="small")
    return png_of(figure)
