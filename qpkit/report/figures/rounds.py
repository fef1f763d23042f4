"""Rounds of pseudo-labels as one figure: what was added, how right it is, whether it helped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from qpkit.report.figures.names import add_legend, numbers, plain_text, png_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PlottedRound:
    """What the figure shows of a round.

    Args:
        dice: Mean of the validation patients.
        by_class: Dice of each class over all of them.
        interval: Of the difference to the network that labelled, 95 %.
        difference: Itself; None for the base.
        accepted: Whether that counts as help.
        added: Area that was added by class.
        precision: Fraction of it that is right, by class; None where no truth is known.
    """

    dice: float | None
    by_class: Mapping[str, float | None]
    interval: tuple[float | None, float | None]
    difference: float | None
    accepted: bool
    added: Mapping[str, float]
    precision: Mapping[str, float | None]


def rounds_png(rounds: Sequence[PlottedRound], *, best: int, unit: str, over: str) -> bytes:
    """Dice by round, its difference with the interval, what was added by class, and its precision where known.

    Args:
        rounds: The first one is the base.
        best: Number of the one that is marked.
        unit: Of what was added, "mm2" or "px".
        over: What the interval is over, "patients".
    """
    is_known = any(value is not None for item in rounds for value in item.precision.values())
    figure = Figure(figsize=(14 if is_known else 11, 4), layout="constrained")
    dice, helped, added, *rest = figure.subplots(1, 4 if is_known else 3)
    at = list(range(len(rounds)))
    names = list(rounds[0].by_class)
    for number, name in enumerate(names):
        values = numbers([item.by_class.get(name) for item in rounds])
        dice.plot(at, values, "--", linewidth=1, color=f"C{number}", label=plain_text(name))
    dice.plot(at, numbers([item.dice for item in rounds]), "k.-", label=f"mean over {over}")
    dice.plot([best], numbers([rounds[best].dice]), "o", markersize=11, fillstyle="none", color="#c00000", label="best")
    dice.set(ylabel="Dice on the validation tiles", ylim=(0, 1))
    add_legend(dice)
    _helped(helped, rounds, over)
    _bars(added, rounds, names)
    added.set(ylabel=f"pseudo-labels, {unit.replace('mm2', 'mm²')}")
    for axes in rest:
        for number, name in enumerate(names):
            axes.plot(at, numbers([item.precision.get(name) for item in rounds]), ".-", color=f"C{number}")
        axes.set(ylabel="precision of pseudo-labels", ylim=(0, 1.02))
    for axes in (dice, helped, added, *rest):
        axes.set(xlabel="round", xticks=at, xlim=(-0.5, len(rounds) - 0.5))
        axes.grid(alpha=0.3)
    return png_of(figure)


def _helped(axes: Any, rounds: Sequence[PlottedRound], over: str) -> None:
    """Differences with intervals; filled where the round was accepted."""
    axes.axhline(0, color="black", linewidth=1)
    for number, item in enumerate(rounds):
        if item.difference is None:
            continue
        low, high = item.interval
        if low is not None and high is not None:
            axes.plot([number, number], [low, high], color="C7", linewidth=3, alpha=0.6)
        axes.plot(number, item.difference, "ko", fillstyle="full" if item.accepted else "none")
    axes.set(ylabel=f"difference of Dice to the teacher\n(filled: accepted; bar: 95 % over {over})")


def _bars(axes: Any, rounds: Sequence[PlottedRound], names: Sequence[str]) -> None:
    bottom = np.zeros(len(rounds))
    for number, name in enumerate(names):
        heights = np.array([item.added.get(name, 0.0) for item in rounds])
        axes.bar(range(len(rounds)), heights, bottom=bottom, color=f"C{number}", label=plain_text(name))
        bottom += heights
