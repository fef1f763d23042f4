"""Clicks as people make them: into an object, beside it, and where an answer is wrong. Pure; numbers come from `rng`.

Masks are (h, w) bool: `inside` the object, `outside` of it and known. What is neither is unknown: nobody clicks there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qpkit_train.clicks.discs import Click

Mask = NDArray[np.bool_]

_NEAR_PX: Final = 40
"""Clicks outside are at most so far from the object, if anything is known there: as RITM and those before it."""

_TOUCHING: Final = np.ones((3, 3), bool)
"""Pixels that touch at a corner are one area."""


def first_click(inside: Mask, rng: np.random.Generator) -> Click:
    """Click well inside an object: on a pixel at least half as far from its border as the one farthest from it."""
    depth = depth_of(inside)
    return _any_pixel(depth >= depth.max() / 2, rng, is_inside=True)


def further_clicks(inside: Mask, outside: Mask, count: int, rng: np.random.Generator) -> list[Click]:
    """Click `count` times more, each inside or outside with the same probability; outside near the object."""
    found = []
    near = outside & (ndimage.distance_transform_edt(~inside) <= _NEAR_PX) if count else outside
    near = near if near.any() else outside
    for is_inside in rng.random(count) < 0.5:
        mask = inside if is_inside or not near.any() else near
        found.append(_any_pixel(mask, rng, is_inside=mask is inside))
    return found


def corrective_click(answer: Mask, inside: Mask, outside: Mask, clicks: Sequence[Click] = ()) -> Click | None:
    """Click into the middle of the largest error: of the area that is missing, or of the one that is too much.

    With an empty answer and no clicks this is the middle of the object, where people click first.

    Args:
        answer: (h, w) bool, what was answered so far.
        inside, outside: What is true, where it is known.
        clicks: So far; no pixel is clicked on twice.

    Returns:
        A click on the pixel farthest from the border of the largest area, or None where nothing is wrong.
    """
    missing, too_much = inside & ~answer, outside & answer
    areas = [_largest_area(error) for error in (missing, too_much)]
    sizes = [int(area.sum()) for area in areas]
    for at in (0, 1) if sizes[0] >= sizes[1] else (1, 0):
        depth = depth_of(areas[at])
        for click in clicks:
            row, col = click.pixel
            if 0 <= row < depth.shape[0] and 0 <= col < depth.shape[1]:
                depth[row, col] = 0
        if depth.max() > 0:
            row, col = divmod(int(depth.argmax()), depth.shape[1])
            return Click.on_pixel(row, col, is_inside=at == 0)
    return None


def depth_of(mask: Mask) -> NDArray[np.float64]:
    """Distance of each pixel from what is not in the mask, px; the edge of the array is its border, too."""
    depth: NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return depth


def areas_of(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Number the connected areas of a mask from 1, and count them; pixels that touch at a corner are one area."""
    numbers, count = ndimage.label(mask, _TOUCHING)
    return numbers, int(count)


def _largest_area(mask: Mask) -> Mask:
    """The largest connected area, the first of equal ones; nothing of nothing."""
    numbers, count = areas_of(mask)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    sizes[0] = 0
    largest: Mask = mask & (numbers == sizes.argmax())
    return largest


def _any_pixel(mask: Mask, rng: np.random.Generator, *, is_inside: bool) -> Click:
    pixels = np.flatnonzero(mask)
    row, col = divmod(int(pixels[rng.integers(len(pixels))]), mask.shape[1])
    return Click.on_pixel(row, col, is_inside=is_inside)
