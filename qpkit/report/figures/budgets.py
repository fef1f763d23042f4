"""A figure of how good a model gets by what is annotated: Dice over mm2 and over minutes, a line for each strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qpkit.report.figures.names import add_legend, plain_text, png_of

_COLORS: Final = {"suggest": "#0072b2", "random": "#e69f00", "all": "#333333"}
_WORDS: Final = {"suggest": "suggested regions", "random": "random regions", "all": "everything annotated"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One strategy.

    Args:
        name: suggest, random or all.
        mm2, minutes: Annotated so far, one number a round.
        dice: The same of (mean, lowest, highest) by class, None where undefined.
    """

    name: str
    mm2: Sequence[float]
    minutes: Sequence[float]
    dice: Sequence[Mapping[str, tuple[float, float, float] | None]]


def draw_budgets(curves: Sequence[Curve], names: Sequence[str], baselines: Mapping[str, float]) -> bytes:
    """Draw a row for mm2 and a row for minutes, a column for each of `names` ("mean" of the classes, then classes).

    Lines are means over seeds, bands the range from the lowest to the highest; what has one round alone (everything
    annotated) is a horizontal line, and so is the Dice of calling every pixel one class (`baselines`, by name).

    Returns:
        The content of a PNG file.
    """
    figure = Figure(figsize=(4.2 * len(names), 7), layout="constrained")
    grid = figure.subplots(2, len(names), squeeze=False, sharey=True)
    for row, (axis, unit) in zip(grid, (("mm2", "annotated, mm²"), ("minutes", "minutes of a person")), strict=True):
        for axes, name in zip(row, names, strict=True):
            for curve in curves:
                _draw(axes, curve, getattr(curve, axis), name)
            if name in baselines:
                axes.axhline(baselines[name], color="0.55", linewidth=1, linestyle=":", label="all pixels one class")
            axes.set_title("mean of the classes" if name == "mean" else plain_text(name), fontsize=10)
            axes.set(xlabel=unit, xlim=(0, None), ylim=(0, 1))
            axes.xaxis.set_major_locator(MaxNLocator(5, prune="upper"))
            axes.grid(alpha=0.3)
        row[0].set_ylabel("Dice on held-out slides")
    add_legend(grid[0][0])
    return png_of(figure)


def _draw(axes: Any, curve: Curve, x: Sequence[float], name: str) -> None:
    color, label = _COLORS.get(curve.name, "C3"), _WORDS.get(curve.name, curve.name)
    known = [(at, row[name]) for at, row in zip(x, curve.dice, strict=True) if row.get(name) is not None]
    if not known:
        return
    places = [at for at, _ in known]
    means, lowest, highest = zip(*(spread for _, spread in known if spread is not None), strict=True)
    if curve.name == "all":
        axes.axhline(means[0], color=color, linewidth=1, linestyle="--", label=label)
        axes.axhspan(lowest[0], highest[0], color=color, alpha=0.12, linewidth=0)
        return
    axes.plot(places, means, marker="o", markersize=4, color=color, label=label)
    axes.fill_between(places, lowest, highest, color=color, alpha=0.18, linewidth=0)
