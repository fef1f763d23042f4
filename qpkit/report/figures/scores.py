"""Figures of an evaluation: the confusion matrix, and what the probabilities are worth at every threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.figure import Figure

from qpkit.ops.scores.confusion import ClassScore
from qpkit.ops.scores.probability_levels import ReliabilityBin
from qpkit.report.figures.names import add_legend, numbers, plain_text, png_of

_DARK_FROM: Final = 0.55
"""Fraction from which white letters are read more easily."""

_LESS_KNOWN: Final = 0.35


def draw_confusion(
    pixels: Sequence[Sequence[int]], fractions: Sequence[Sequence[float]], names: Sequence[str]
) -> bytes:
    """Draw pixels on the left, fractions of each true class on the right, both coloured by fraction; gives a PNG."""
    side = 2.6 + 0.8 * len(names)
    figure = Figure(figsize=(2 * side, side), layout="constrained")
    texts = (
        [[f"{count:,}" for count in row] for row in pixels],
        [[f"{fraction:.1%}" for fraction in row] for row in fractions],
    )
    for axes, text, title in zip(figure.subplots(1, 2), texts, ("pixels", "fraction of the true class"), strict=True):
        axes.imshow(fractions, vmin=0, vmax=1, cmap="Blues")
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="predicted", ylabel="annotated")
        axes.set_xticks(range(len(names)), [plain_text(name) for name in names], rotation=45, ha="right")
        axes.set_yticks(range(len(names)), [plain_text(name) for name in names])
        for row, words in enumerate(text):
            for column, word in enumerate(words):
                ink = "white" if fractions[row][column] > _DARK_FROM else "black"
                axes.text(column, row, word, ha="center", va="center", color=ink, fontsize=8)
    return png_of(figure)


def draw_thresholds(
    curves: Mapping[str, Sequence[ClassScore]], reliability: Mapping[str, Sequence[ReliabilityBin]]
) -> bytes:
    """Draw Dice over the threshold, precision over recall, sensitivity over specificity, and calibration.

    Args:
        curves: By class, 256 scores each, at thresholds t / 255.
        reliability: By class.

    Returns:
        The content of a PNG file.
    """
    figure = Figure(figsize=(10.5, 9.5), layout="constrained")
    (dice, precision), (roc, calibration) = figure.subplots(2, 2)
    for number, (name, scores) in enumerate(curves.items()):
        color = f"C{number}"
        dice.plot([t / 255 for t in range(len(scores))], _numbers(scores, "dice"), color=color, label=plain_text(name))
        prior = _prior(scores)
        precision.plot(_numbers(scores, "recall"), _numbers(scores, "precision"), color=color, label=plain_text(name))
        precision.axhline(prior, color=color, linestyle=":", linewidth=1)
        dice.axhline(2 * prior / (1 + prior), color=color, linestyle=":", linewidth=1)
        false_alarms = [1 - v for v in _numbers(scores, "specificity")]
        roc.plot([*false_alarms, 0], [*_numbers(scores, "recall"), 0], color=color, label=plain_text(name))
        _draw_reliability(calibration, reliability[name], color=color, name=name)
    for axes in (roc, calibration):
        axes.plot([0, 1], [0, 1], color="0.5", linestyle=":", linewidth=1)
    _label(dice, "probability from which a pixel is called the class", "Dice", "Dice (dotted: calling everything it)")
    _label(precision, "recall", "precision", "Precision and recall (dotted: the class's fraction of the pixels)")
    _label(roc, "1 - specificity", "sensitivity", "ROC (dotted: at random)")
    _label(
        calibration, "predicted probability", "fraction that is of the class", "Calibration (size: number of pixels)"
    )
    return png_of(figure)


def _draw_reliability(axes: Any, table: Sequence[ReliabilityBin], *, color: str, name: str) -> None:
    predicted, true = [row.predicted for row in table], [row.true for row in table]
    most = max((row.pixels for row in table), default=1)
    axes.plot(predicted, true, color=color, alpha=_LESS_KNOWN, linewidth=1)
    sizes = [8 + 80 * (row.pixels / most) ** 0.5 for row in table]
    axes.scatter(predicted, true, s=sizes, color=color, label=plain_text(name), alpha=0.8, linewidth=0)


def _prior(scores: Sequence[ClassScore]) -> float:
    """Fraction of the class: at threshold 0 everything is called it."""
    return scores[0].precision or 0.0


def _numbers(scores: Sequence[ClassScore], metric: str) -> list[float]:
    return numbers([getattr(score, metric) for score in scores])


def _label(axes: Any, x: str, y: str, title: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(title, fontsize=10)
    add_legend(axes)
    axes.grid(alpha=0.3)
