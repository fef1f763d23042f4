"""Many small pictures on one sheet, each with its title."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from qpkit.report.figures.names import plain_text, png_of

_COLUMNS: Final = 5
_MOST: Final = 60
"""Pictures; a sheet with more would be larger than a screen can show."""


def contact_sheet(pictures: Sequence[NDArray[np.uint8]], titles: Sequence[str]) -> bytes:
    """Put pictures in rows, as the content of a PNG file; the first 60 where there are more, and it says so.

    Args:
        pictures: (h, w, 3) uint8 each.
        titles: One for each; lines are kept.
    """
    shown = pictures[:_MOST]
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    tallest = max(picture.shape[0] / picture.shape[1] for picture in shown)
    figure = Figure(figsize=(2.7 * columns, (2.7 * tallest + 0.4) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, axis in enumerate(axes):
        axis.set_axis_off()
        if number < len(shown):
            axis.imshow(shown[number])
            title = "\n".join(plain_text(line)[:44] for line in titles[number].splitlines())
            axis.set_title(title, fontsize=7)
    if len(pictures) > len(shown):
        figure.suptitle(f"the first {len(shown)} of {len(pictures)}", fontsize=9)
    return png_of(figure)
