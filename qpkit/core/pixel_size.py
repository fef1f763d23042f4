"""um per px where the file has two: pixels that are not quite square, as real scanners have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SAME: Final = 0.01
"""Relative difference of the sides up to which pixels count as square."""


@dataclass(frozen=True, slots=True)
class PixelSize:
    """The size of a pixel.

    Args:
        x, y: um per px along x and along y, > 0.
    """

    x: float
    y: float

    @property
    def mean(self) -> float | None:
        """The one number that stands for both; None if they differ by more than 1 %.

        An area is off by less than 0.003 % with it.
        """
        if abs(self.x - self.y) > _SAME * max(self.x, self.y):
            return None
        return (self.x + self.y) / 2

    @property
    def turned(self) -> PixelSize:
        """Of the image turned by a quarter."""
        return PixelSize(self.y, self.x)

    def __str__(self) -> str:
        return f"{self.x:.5g} x {self.y:.5g} um"

    def mean_note(self, width: int, height: int) -> str:
        """Say how far off lengths are with the mean, over a slide of so many px; "" if that is less than one px."""
        mean = self.mean
        if mean is None:
            return ""
        off_x, off_y = width * abs(self.x / mean - 1), height * abs(self.y / mean - 1)
        if max(off_x, off_y) < 1:
            return ""
        return f"the mean of {self}: over the slide, lengths are {off_x:.0f} px in x and {off_y:.0f} px in y off"
