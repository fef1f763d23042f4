"""Area resampling: each output pixel is the mean over exactly the area it covers. Compiled by numba."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled

_TIE: Final = 1e-6
"""Grey levels: a mean this little below one half is one half that float arithmetic missed, so tiles agree."""


def area_resample(
    pixels: NDArray[np.uint8], *, x_edges: NDArray[np.floating[Any]], y_edges: NDArray[np.floating[Any]]
) -> NDArray[np.uint8]:
    """Average source pixels over the area of each output pixel.

    Output pixel (r, c) covers x_edges[c] to x_edges[c + 1] and y_edges[r] to y_edges[r + 1]; source pixels on a
    border are weighted by the part of them that is covered.

    Args:
        pixels: (h, w, 3) uint8.
        x_edges: (columns + 1,) ascending source px from the left edge of `pixels`, 0..w; what lies outside is cut off.
        y_edges: (rows + 1,) the same for rows.

    Returns:
        (rows, columns, 3) uint8, rounded half up.
    """
    result = np.empty((len(y_edges) - 1, len(x_edges) - 1, 3), np.uint8)
    height, width = pixels.shape[:2]
    compiled(_average)(np.ascontiguousarray(pixels), np.clip(x_edges, 0, width), np.clip(y_edges, 0, height), result)
    return result


def _average(
    pixels: NDArray[np.uint8], x_edges: NDArray[np.float64], y_edges: NDArray[np.float64], result: NDArray[np.uint8]
) -> None:
    """Sum the rows of one output row, then the columns of each of its pixels."""
    height, width = pixels.shape[0], pixels.shape[1]
    sums = np.empty(width * 3, np.float64)
    flat = pixels.reshape(height, width * 3)
    for r in range(result.shape[0]):
        top, bottom = y_edges[r], y_edges[r + 1]
        first = min(int(top), height - 1)
        sums[:] = 0.0
        y = first
        while y == first or (y < height and y < bottom):
            part = min(bottom, y + 1.0) - max(top, float(y))
            # Edges were cut off at the picture: what lies beyond it has no height and shows the row at the edge.
            part = part if bottom > top else 1.0
            for k in range(width * 3):
                sums[k] += part * flat[y, k]
            y += 1
        tall = bottom - top if bottom > top else 1.0
        for c in range(result.shape[1]):
            left, right = x_edges[c], x_edges[c + 1]
            x = min(int(left), width - 1)
            red = green = blue = 0.0
            start = x
            while x == start or (x < width and x < right):
                part = min(right, x + 1.0) - max(left, float(x))
                part = part if right > left else 1.0
                red += part * sums[3 * x]
                green += part * sums[3 * x + 1]
                blue += part * sums[3 * x + 2]
                x += 1
            area = tall * (right - left if right > left else 1.0)
            result[r, c, 0] = int(red / area + 0.5 + _TIE)
            result[r, c, 1] = int(green / area + 0.5 + _TIE)
            result[r, c, 2] = int(blue / area + 0.5 + _TIE)
