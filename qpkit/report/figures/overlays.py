"""Figures: predictions over slides. Draws on files only, never on a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap, label_colors
from qpkit.report.figures.names import plain_text, png_of
from qpkit.report.figures.tiles import edge_of

_TINT: Final = 0.45
_TRUTH_INK: Final = (10, 10, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture: image (h, w, 3) uint8, truth and predicted (h, w) uint8 label values; um per px for the bar."""

    title: str
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    um_per_px: float | None = None


def overlay(panel: Panel, labels: LabelMap) -> NDArray[np.uint8]:
    """Tint predicted classes over the image and draw the truth's outlines; unknown area is paler.

    Returns:
        (h, w, 3) uint8.
    """
    result = panel.image.astype(np.float32)
    unknown = panel.truth == labels.ignore
    result[unknown] = 0.75 * result[unknown] + 0.25 * 255
    for value, rgb in label_colors(labels).items():
        inside = panel.predicted == value
        result[inside] = (1 - _TINT) * result[inside] + _TINT * np.array(rgb, dtype=np.float32)
    for item in labels.classes:
        result[_outline(panel.truth == item.value)] = _TRUTH_INK
    result[_outline(unknown) & ~unknown] = (90, 90, 90)
    return np.asarray(np.clip(result, 0, 255), dtype=np.uint8)


def _outline(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of an area that touch its outside, two px wide."""
    edge = edge_of(area)
    wide: NDArray[np.bool_] = edge.copy()
    wide[1:] |= edge[:-1]
    wide[:, 1:] |= edge[:, :-1]
    return wide


def save_overlay(
    panels: Sequence[Panel],
    labels: LabelMap,
    path: Path,
    *,
    zooms: Sequence[tuple[float, float, float, float]] = (),
) -> None:
    """Save a figure: the first panel large, the others beside it, a legend below.

    Args:
        panels: The whole slide first, then enlarged places.
        labels: Names and colours.
        path: PNG file.
        zooms: (x, y, width, height) of the enlarged places as fractions of the first panel.
    """
    count = len(panels) - 1
    rows, columns = panels[0].image.shape[:2]
    height = 6.5
    width = height * columns / rows + (height / max(count, 1) * 1.0 if count else 0)
    figure = Figure(figsize=(max(6.0, width), height + 0.6), layout="constrained")
    ratios = [columns / rows] + ([1 / count] if count else [])
    grid = figure.add_gridspec(max(count, 1), len(ratios), width_ratios=ratios)
    whole = figure.add_subplot(grid[:, 0])
    _show(whole, panels[0], labels)
    for number, (x, y, w, h) in enumerate(zooms, start=1):
        corner = (x * columns, y * rows)
        whole.add_patch(Rectangle(corner, w * columns, h * rows, fill=False, edgecolor="black", linewidth=1.2))
        whole.annotate(f"({number})", corner, fontsize=9, va="bottom")
    for number, panel in enumerate(panels[1:]):
        _show(figure.add_subplot(grid[number, 1]), panel, labels)
    handles = [
        Patch(facecolor=tuple(c / 255 for c in rgb), alpha=0.7, label=f"predicted {plain_text(labels.name_of(value))}")
        for value, rgb in label_colors(labels).items()
    ]
    handles.append(Patch(facecolor="none", edgecolor="black", label="outline: annotated by people"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
    path.write_bytes(png_of(figure))


def _show(axes: Any, panel: Panel, labels: LabelMap) -> None:
    axes.imshow(overlay(panel, labels), interpolation="antialiased")
    axes.set_title(panel.title, fontsize=9, parse_math=False)
    axes.set_axis_off()
    if panel.um_per_px:
        _scale_bar(axes, panel)


def _scale_bar(axes: Any, panel: Panel) -> None:
    """A bar of a round number of um, about a fifth of the panel's width."""
    rows, columns = panel.image.shape[:2]
    wanted = columns * (panel.um_per_px or 1) / 5
    size = max(v for v in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if v <= max(wanted, 10))
    length = size / (panel.um_per_px or 1)
    text = f"{size} µm" if size < 1000 else f"{size // 1000} mm"
    axes.plot([columns * 0.03, columns * 0.03 + length], [rows * 0.97] * 2, color="black", linewidth=2.5)
    axes.annotate(text, (columns * 0.03, rows * 0.955), fontsize=7, va="bottom")
