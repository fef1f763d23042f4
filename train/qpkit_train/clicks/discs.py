"""How clicks become the two channels that a promptable network sees. The only place that knows; no torch, no files.

Each click is a disc: RITM (Sofiiuk et al. 2021) found discs of 5 px better than distance maps, and a further click
changes only what is near it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CHANNELS: Final = 2
"""Of clicks behind those of an image: inside first, then outside."""


@dataclass(frozen=True, slots=True)
class Click:
    """A click, in px from the upper left edge of an array: pixel i has its centre at i + 0.5.

    Args:
        x, y: Where.
        is_inside: On what is meant; False for a place that does not belong to it.
    """

    x: float
    y: float
    is_inside: bool = True

    @classmethod
    def on_pixel(cls, row: int, col: int, *, is_inside: bool) -> Click:
        """Click on the centre of a pixel."""
        return cls(int(col) + 0.5, int(row) + 0.5, is_inside)

    @property
    def pixel(self) -> tuple[int, int]:
        """(row, col) of the pixel that holds it."""
        return math.floor(self.y), math.floor(self.x)


def click_channels(clicks: Sequence[Click], *, height: int, width: int, radius_px: int) -> NDArray[np.uint8]:
    """Draw clicks as discs.

    Args:
        clicks: Those outside the array show what of their disc lies in it.
        height, width: Of the array.
        radius_px: A pixel is in a disc if its centre is at most so far from the click.

    Returns:
        (2, height, width) uint8: 255 in the discs of clicks inside, and in those of clicks outside; 0 elsewhere.
    """
    channels = np.zeros((CHANNELS, height, width), np.uint8)
    for click in clicks:
        top, left = max(0, math.floor(click.y - radius_px)), max(0, math.floor(click.x - radius_px))
        bottom, right = math.ceil(click.y + radius_px), math.ceil(click.x + radius_px)
        part = channels[0 if click.is_inside else 1, top : max(bottom, 0), left : max(right, 0)]
        down = top + np.arange(part.shape[0])[:, np.newaxis] + 0.5 - click.y
        across = left + np.arange(part.shape[1]) + 0.5 - click.x
        part[down**2 + across**2 <= radius_px**2] = 255
    return channels


def clicked_image(image: NDArray[np.uint8], clicks: Sequence[Click], *, radius_px: int) -> NDArray[np.uint8]:
    """Put the channels of clicks behind those of an image: (h, w, 3) to (h, w, 5) uint8."""
    height, width = image.shape[:2]
    channels = click_channels(clicks, height=height, width=width, radius_px=radius_px)
    return np.concatenate([image, np.moveaxis(channels, 0, -1)], axis=-1)
