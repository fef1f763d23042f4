"""How segments of many scales and templates become a division: a square of a slide, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.segmentation import mark_boundaries

from qpkit.report.figures.names import plain_text, png_of

_COLUMNS: Final = 4
_SIDE: Final = 2.6


def draw_segments(
    pixels: NDArray[np.uint8],
    scales: Mapping[str, NDArray[np.int32]],
    probabilities: Mapping[str, NDArray[np.float32]],
    clusters: NDArray[np.uint8],
) -> bytes:
    """Draw the picture, its segments at each scale, probabilities, and what comes out.

    Args:
        pixels: (h, w, 3).
        scales: By title, (h, w) numbers of segments.
        probabilities: By title, (rows, columns) 0..1 of the same square.
        clusters: (rows, columns) from 1.

    Returns:
        The content of a PNG file.
    """
    count = 2 + len(scales) + len(probabilities)
    rows = -(-count // _COLUMNS)
    figure = Figure(figsize=(_SIDE * _COLUMNS, (_SIDE + 0.25) * rows), layout="constrained")
    axes = iter(figure.subplots(rows, _COLUMNS, squeeze=False).ravel())
    _show(next(axes), "picture", pixels)
    for title, numbers in scales.items():
        _show(next(axes), title, mark_boundaries(pixels, numbers, color=(1, 1, 0)))
    for title, values in probabilities.items():
        part = next(axes)
        part.imshow(values, vmin=0, vmax=1, cmap="viridis")
        part.set_title(plain_text(title), fontsize=8)
        part.set_axis_off()
    last = next(axes)
    last.imshow(clusters, vmin=1, vmax=max(2, int(clusters.max())), cmap="tab10", interpolation="nearest")
    last.set_title("clusters", fontsize=8)
    last.set_axis_off()
    for part in axes:
        part.set_axis_off()
    return png_of(figure)


def _show(part: object, title: str, pixels: NDArray[np.generic]) -> None:
    part.imshow(pixels)  # type: ignore[attr-defined] # of matplotlib
    part.set_title(plain_text(title), fontsize=8)  # type: ignore[attr-defined]
    part.set_axis_off()  # type: ignore[attr-defined]
