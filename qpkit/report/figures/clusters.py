"""Pictures of a clustering: what each cluster looks like, and how its loss fell.

Where patches lie among each other is `draw_tile_map` of `neighbour_plane`, with clusters as groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from qpkit.report.figures.names import add_legend, plain_text, png_of

_SIDE: Final = 1.1
"""Of a picture, inches."""


def examples_of(labels: NDArray[np.int64], clusters: int, *, count: int, seed: int) -> list[NDArray[np.int64]]:
    """Draw some members of each cluster.

    Args:
        labels: (n,) clusters from 0.
        clusters: How many there are.
        count: Members of each, at most; fewer where a cluster has fewer.
        seed: Which.

    Returns:
        Sorted numbers of things, for each cluster; empty where it has none.
    """
    rng = np.random.default_rng((seed, 4))
    members = [np.flatnonzero(labels == cluster) for cluster in range(clusters)]
    return [np.sort(rng.permutation(own)[:count]) for own in members]


def draw_clusters(
    examples: Sequence[Sequence[NDArray[np.uint8]]],
    names: Sequence[str],
    *,
    means: Sequence[NDArray[np.uint8]] | None = None,
) -> bytes:
    """Put patches of each cluster into a row of its own.

    Args:
        examples: (h, w, 3) RGB, some for each cluster; a cluster may have none.
        names: Of the clusters, such as "1 (31 %)".
        means: What the mean of each cluster looks like to a decoder, first in its row.

    Returns:
        The content of a PNG file.
    """
    rows = [list(own) if means is None else [means[number], *own] for number, own in enumerate(examples)]
    columns = max(1, *map(len, rows))
    figure = Figure(figsize=(_SIDE * (columns + 1), _SIDE * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, pictures, name in zip(grid, rows, names, strict=True):
        for place, axis in enumerate(axes):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if place < len(pictures):
                axis.imshow(pictures[place])
        axes[0].set_ylabel(plain_text(name), fontsize=8, rotation=0, ha="right", va="center")
    if means is not None:
        grid[0, 0].set_title("decoded mean", fontsize=7)
    return png_of(figure)


def draw_losses(curves: Mapping[str, Sequence[float]], *, x: str = "epoch") -> bytes:
    """Draw losses over epochs, each curve on axes of its own, as their sizes differ.

    Args:
        curves: By name, a number for each epoch.
        x: What is counted.

    Returns:
        The content of a PNG file.
    """
    figure = Figure(figsize=(4.2 * len(curves), 3.4), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        axes.plot(range(1, len(values) + 1), values, marker=".", label=plain_text(name))
        axes.set(xlabel=x)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        add_legend(axes)
    return png_of(figure)
