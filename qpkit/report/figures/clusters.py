"""Clusters that nobody has named yet: rows of examples, and how the loss fell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from qpkit.report.figures.names import plain_text, png_of

_SIDE = 1.1
"""Inches of a picture."""


def draw_clusters(rows: Mapping[str, Sequence[NDArray[np.uint8]]], *, first: str = "") -> bytes:
    """Draw a row of pictures for each cluster.

    Args:
        rows: By title, (h, w, 3) uint8 each.
        first: What stands above the first column, where it is not an example.

    Returns:
        The content of a PNG file.
    """
    columns = max(len(pictures) for pictures in rows.values())
    figure = Figure(figsize=(_SIDE * columns + 1.6, _SIDE * len(rows) + 0.3), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (title, pictures) in zip(grid, rows.items(), strict=True):
        for part in axes:
            part.set(xticks=[], yticks=[])
            part.spines[:].set_visible(False)
        for part, picture in zip(axes, pictures, strict=False):
            part.imshow(picture)
        axes[0].set_ylabel(plain_text(title), rotation=0, ha="right", va="center", fontsize=8)
    if first:
        grid[0, 0].set_title(first, fontsize=8)
    return png_of(figure)


def loss_curve(losses: Sequence[float], *, what: str) -> bytes:
    """Draw the loss of each epoch, as the content of a PNG file."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(losses) + 1), losses, marker="." if len(losses) < 40 else "")
    axes.set(xlabel="epoch", ylabel=what)
    axes.grid(alpha=0.3)
    return png_of(figure)
