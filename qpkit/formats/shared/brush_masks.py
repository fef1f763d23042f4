"""Dense run lengths: pixels of an image row by row, as pairs of a number and how many pixels in turn have it.

Source: `raster_layer.dense_rle` of V7's Darwin JSON 2.0, as darwin-py decodes it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.errors import FormatError
from qpkit.formats.shared.run_lengths import require_traceable, traced_runs
from qpkit.ops.vectors.vectorize import outlines_of

_MOST_NUMBERS: Final = 255
"""V7 has at most 255 masks in an image."""


def read_dense_rle(runs: Any, *, width: int, height: int, where: str) -> dict[int, BaseGeometry]:
    """Trace the areas of equal numbers.

    Args:
        runs: [number, pixels, number, pixels ...]; 0 is background.
        width, height: Of the image, px.
        where: For messages.

    Returns:
        A Polygon or MultiPolygon along pixel edges for each number, holes kept; image px.

    Raises:
        FormatError: No pairs of whole numbers, they do not fill the image, or it is too large.
    """
    require_traceable(width, height, where)
    if not isinstance(runs, list) or len(runs) % 2 or not all(type(n) is int and 0 <= n < 1 << 62 for n in runs):
        raise FormatError(f"{where}: dense run lengths are not pairs of a number and its pixels")
    numbers, counts = runs[0::2], runs[1::2]
    if sum(counts) != width * height:
        raise FormatError(f"{where}: run lengths of {sum(counts)} px do not fill {width} x {height} px")
    if max(numbers, default=0) > _MOST_NUMBERS:
        raise FormatError(f"{where}: numbers masks up to {max(numbers)}; at most {_MOST_NUMBERS} are read")
    values, ends = np.array(numbers, dtype=np.uint8), np.cumsum(np.array(counts, dtype=np.int64))
    found = outlines_of(traced_runs(values, ends, line_px=width)).by_value()
    return {number: parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts) for number, parts in found.items()}
