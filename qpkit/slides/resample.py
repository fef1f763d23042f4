"""Area resampling: each output pixel is the mean over exactly the area it covers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def area_resample(
    pixels: NDArray[np.uint8], *, x: int, y: int, columns: int, rows: int, scale: float, left: int, top: int
) -> NDArray[np.uint8]:
    """Average source pixels over the area of each output pixel.

    Output pixel (r, c) covers source px [(x + c) * scale, (x + c + 1) * scale) x [(y + r) * scale, ...); borders are
    weighted by the part they cover. The edges depend on absolute positions only, so tiles agree where they meet.

    Args:
        pixels: (h, w, 3) uint8, source pixels from (left, top) on; they cover the whole output.
        x, y: Output position of the first output pixel.
        columns, rows: Output size in px.
        scale: Source px per output px; below 1 the source is enlarged.
        left, top: Source position of pixels[0, 0].

    Returns:
        (rows, columns, 3) uint8, rounded half up.
    """
    horizontal = _mean_between(pixels, (x + np.arange(columns + 1)) * scale - left, axis=1)
    both = _mean_between(horizontal, (y + np.arange(rows + 1)) * scale - top, axis=0)
    return np.asarray(np.floor(both + 0.5), dtype=np.uint8)


def _mean_between(values: NDArray[np.generic], edges: NDArray[np.floating[Any]], *, axis: int) -> NDArray[np.float64]:
    """Mean of `values` along `axis` between consecutive `edges` (in px from the start of the axis)."""
    length = values.shape[axis]
    clipped = np.clip(edges, 0, length)
    shape = list(values.shape)
    shape[axis] = length + 1
    sums = np.zeros(shape)
    np.cumsum(values, axis=axis, dtype=np.float64, out=sums[(slice(None),) * axis + (slice(1, None),)])
    whole = np.minimum(clipped.astype(np.int64), length - 1)
    weight_shape = [1] * values.ndim
    weight_shape[axis] = -1
    part = (clipped - whole).reshape(weight_shape)
    at_edges = np.take(sums, whole, axis=axis) + part * np.take(values, whole, axis=axis)
    spans = np.maximum(np.diff(clipped), 1e-12).reshape(weight_shape)
    return np.asarray(np.diff(at_edges, axis=axis) / spans, dtype=np.float64)
