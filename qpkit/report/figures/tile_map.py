"""A map of tiles: alike ones beside each other, coloured by what they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from qpkit.report.figures.names import add_legend, plain_text, png_of

_COLUMNS: Final = 2
_SIDE: Final = 5.2
_DOT: Final = 10
"""Area of a dot, points squared."""


def draw_tile_map(places: NDArray[np.float64], groups: Mapping[str, Sequence[str]], *, axes: tuple[str, str]) -> bytes:
    """Draw the same dots once for each grouping.

    Args:
        places: (n, 2).
        groups: By its title, the name of each tile's group.
        axes: What x and y are.

    Returns:
        The content of a PNG file.
    """
    rows = -(-len(groups) // _COLUMNS)
    figure = Figure(figsize=(_SIDE * min(_COLUMNS, len(groups)), 0.85 * _SIDE * rows), layout="constrained")
    grid = figure.subplots(rows, min(_COLUMNS, len(groups)), squeeze=False).ravel()
    for part, (title, names) in zip(grid, groups.items(), strict=False):
        known = np.array(names)
        for number, name in enumerate(dict.fromkeys(sorted(names))):
            own = places[known == name]
            part.scatter(own[:, 0], own[:, 1], s=_DOT, alpha=0.6, linewidths=0, color=f"C{number}",
                         label=plain_text(name))  # fmt: skip
        part.set_title(f"by {plain_text(title)}", fontsize=10)
        part.set(xlabel=axes[0], ylabel=axes[1])
        add_legend(part)
    for part in grid[len(groups) :]:
        part.set_axis_off()
    return png_of(figure)
