"""Figure: where the classes of a table of tiles lie, and what its splits and groups are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from qpkit.core.labels import LabelMap, label_colors
from qpkit.report.figures.names import plain_text, png_of

_MOST: Final = 40
"""Groups that are drawn; more cannot be read."""

_SPLIT_COLORS: Final = {"train": "#2f4b66", "val": "#6c93b8", "test": "#b5803a"}
_BACKGROUND: Final = "#d9d9d9"
_BRIGHT: Final = 0.55
_LABEL_FROM: Final = 0.04
"""Fraction from which a piece of a bar has room for its figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A split or a group: its name, where it is ("train", or "train/val" if it leaks), tiles, mask px by value."""

    name: str
    split: str
    tiles: int
    pixels: Mapping[int, int]


def draw_class_fractions(splits: Sequence[Bar], groups: Sequence[Bar], labels: LabelMap) -> bytes:
    """Draw each class over the splits; the classes of each split; the classes of each group.

    Pixels of the value ignore are left out.

    Args:
        splits: In the order of the legend.
        groups: From top to bottom; the first 40 are drawn, the rest is counted.
        labels: Names and colours.

    Returns:
        The content of a PNG file.
    """
    shown = groups[:_MOST]
    top = 0.9 + 0.34 * max(len(splits), len(labels.trained_values))
    bottom = 0.9 + 0.26 * len(shown)
    figure = Figure(figsize=(10.5, top + bottom + 0.5), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[top, bottom])
    _classes_over_splits(figure.add_subplot(grid[0, 0]), splits, labels)
    _made_of(figure.add_subplot(grid[0, 1]), splits, labels, title="What each split is made of (labelled area)")
    rest = f", first {len(shown)} of {len(groups)}" if len(groups) > len(shown) else ""
    below = figure.add_subplot(grid[1, :])
    _made_of(below, shown, labels, title=f"What each group is made of (labelled area){rest}", with_split=True)
    handles = [Patch(color=color, label=plain_text(labels.name_of(value))) for value, color in _colors(labels).items()]
    handles += [Patch(color=_SPLIT_COLORS[bar.name], label=bar.name) for bar in splits]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(8, len(handles)), frameon=False, fontsize=8)
    return png_of(figure)


def _colors(labels: LabelMap) -> dict[int, Any]:
    """Background and classes in the order of the bars."""
    classes = {value: tuple(c / 255 for c in rgb) for value, rgb in label_colors(labels).items()}
    return {**classes, labels.background: _BACKGROUND}


def _classes_over_splits(axes: Any, splits: Sequence[Bar], labels: LabelMap) -> None:
    names = []
    for row, value in enumerate(_colors(labels)):
        total = sum(bar.pixels.get(value, 0) for bar in splits)
        names.append(labels.name_of(value))
        pieces = [(bar.pixels.get(value, 0) / total, _SPLIT_COLORS[bar.name]) for bar in splits] if total else []
        _stack(axes, row, pieces)
    tiles = sum(bar.tiles for bar in splits)
    _stack(axes, len(names), [(bar.tiles / tiles, _SPLIT_COLORS[bar.name]) for bar in splits])
    _finish(axes, [*names, "tiles"], "How each class is shared out over the splits")


def _made_of(axes: Any, bars: Sequence[Bar], labels: LabelMap, *, title: str, with_split: bool = False) -> None:
    names = []
    for row, bar in enumerate(bars):
        total = sum(bar.pixels.get(value, 0) for value in labels.trained_values)
        pieces = [(bar.pixels.get(v, 0) / total, color) for v, color in _colors(labels).items()] if total else []
        _stack(axes, row, pieces)
        if not pieces:
            axes.text(0.01, row, "nothing labelled", va="center", fontsize=7, color="#777777")
        names.append(f"{_short(bar.name)} ({f'{bar.split}, ' if with_split else ''}{bar.tiles:,} tiles)")
    _finish(axes, names, title)
    if with_split:
        for text, bar in zip(axes.get_yticklabels(), bars, strict=True):
            text.set_color(_SPLIT_COLORS.get(bar.split, "#c00000"))


def _short(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:15]}…{name[-16:]}"


def _stack(axes: Any, row: int, pieces: Sequence[tuple[float, Any]]) -> None:
    left = 0.0
    for fraction, color in pieces:
        axes.barh(row, fraction, left=left, color=color, height=0.8, edgecolor="white", linewidth=0.4)
        if fraction >= _LABEL_FROM:
            ink = "black" if _brightness(color) > _BRIGHT else "white"
            axes.text(left + fraction / 2, row, f"{fraction:.0%}", ha="center", va="center", fontsize=7, color=ink)
        left += fraction


def _brightness(color: Any) -> float:
    """0 is black, 1 is white, as the eye weighs red, green and blue."""
    red, green, blue = to_rgb(color)
    return float(0.3 * red + 0.59 * green + 0.11 * blue)


def _finish(axes: Any, names: Sequence[str], title: str) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda fraction, _: f"{fraction:.0%}")
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title(title, fontsize=9, loc="left")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
