"""Figures: which objects were found, which were missed, and which are none."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from qpkit.report.figures.names import plain_text, png_of

_FOUND: Final = (153, 216, 199)
_MISSED: Final = (245, 205, 121)
_FALSE: Final = (213, 94, 0)
_AGREED: Final = (0, 90, 65)
"""Of Okabe and Ito's colours, told apart by colour-blind readers; areas are paler than outlines."""


def object_picture(
    true: NDArray[Any], predicted: NDArray[Any], found: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Fill true objects and outline predicted ones.

    Args:
        true, predicted: (h, w) numbers of objects, 0 is none.
        found, right: Numbers of the true and of the predicted objects that have a partner.

    Returns:
        (h, w, 3) uint8.
    """
    picture = np.full((*true.shape, 3), 255, np.uint8)
    picture[true > 0] = _MISSED
    picture[np.isin(true, found) & (true > 0)] = _FOUND
    outline = _outline(predicted)
    is_right = np.isin(predicted, right)
    picture[outline & ~is_right] = _FALSE
    picture[outline & is_right] = _AGREED
    return picture


def draw_objects(picture: NDArray[np.uint8], title: str) -> bytes:
    """A picture of `object_picture` with its legend, as the content of a PNG file."""
    rows, columns = picture.shape[:2]
    height = 6.5
    figure = Figure(figsize=(max(6.0, height * columns / rows), height + 0.6), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(plain_text(title), fontsize=9)
    axes.set_axis_off()
    areas = {"true, found": _FOUND, "true, missed": _MISSED}
    lines = {"predicted, matched": _AGREED, "predicted, false alarm": _FALSE}
    handles = [Patch(facecolor=_unit(rgb), label=name) for name, rgb in areas.items()]
    handles += [Patch(facecolor="none", edgecolor=_unit(rgb), label=name) for name, rgb in lines.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return png_of(figure)


def _outline(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of objects that touch another number; the picture's own edge is none."""
    padded = np.pad(numbers, 1, mode="edge")
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.asarray((numbers > 0) & np.any([side != numbers for side in sides], axis=0))


def _unit(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = rgb
    return red / 255, green / 255, blue / 255
