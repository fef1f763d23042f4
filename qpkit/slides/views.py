"""How QuPath shows an image: cropped, turned by right angles, mirrored, in any order; as a part of the file's pixels.

Whatever the order, the outcome is a rectangle of the file in one of eight orientations. Source: RotatedImageServer,
CroppedImageServer (0.2 to 0.7) and FlippedImageServer (0.7) of QuPath. ROTATE_90 turns clockwise, as the thumbnail of
a rotated entry that QuPath itself made shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import FormatError


@dataclass(frozen=True, slots=True)
class Turn:
    """Turn clockwise by `quarters` times 90 degrees."""

    quarters: int

    def __str__(self) -> str:
        return f"turn:{self.quarters}"


@dataclass(frozen=True, slots=True)
class Crop:
    """Show this rectangle only; px of the frame before."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"crop:{self.x},{self.y},{self.width},{self.height}"


@dataclass(frozen=True, slots=True)
class Flip:
    """Mirror left and right (`across`), upside down (`down`), or both."""

    across: bool
    down: bool

    def __str__(self) -> str:
        return f"flip:{int(self.across)},{int(self.down)}"


Step = Turn | Crop | Flip


def parse_step(text: str) -> Step:
    """Read what str() makes of a step: "turn:1", "crop:100,50,400,300", "flip:1,0".

    Raises:
        FormatError: Anything else.
    """
    kind, _, rest = text.partition(":")
    try:
        numbers = [int(part) for part in rest.split(",")]
        match kind, numbers:
            case "turn", [quarters]:
                return Turn(quarters)
            case "crop", [x, y, width, height]:
                return Crop(x, y, width, height)
            case "flip", [across, down]:
                return Flip(bool(across), bool(down))
    except ValueError:
        pass
    raise FormatError(f"{text!r} is no way to show a slide (turn:N, crop:X,Y,W,H or flip:0|1,0|1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A rectangle of the file's level-0 px, then transposed, then mirrored.

    Args:
        x, y, width, height: The rectangle, in the file's own frame.
        transposed: Columns become rows; done first.
        mirrored_x, mirrored_y: Mirrored left and right, upside down, after that.
    """

    x: int
    y: int
    width: int
    height: int
    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False

    @property
    def shown_width(self) -> int:
        """Width as shown, level-0 px."""
        return self.height if self.transposed else self.width

    @property
    def shown_height(self) -> int:
        """Height as shown, level-0 px."""
        return self.width if self.transposed else self.height

    def then(self, step: Step) -> View:
        """Show this view through one more step."""
        if isinstance(step, Crop):
            return self._cropped(step)
        if isinstance(step, Flip):
            return replace(self, mirrored_x=self.mirrored_x != step.across, mirrored_y=self.mirrored_y != step.down)
        view = self
        # Clockwise is transposed, then mirrored left and right; what was mirrored upside down before now is so, too.
        for _ in range(step.quarters % 4):
            view = replace(
                view, transposed=not view.transposed, mirrored_x=not view.mirrored_y, mirrored_y=view.mirrored_x
            )
        return view

    def _cropped(self, crop: Crop) -> View:
        x = self.shown_width - crop.x - crop.width if self.mirrored_x else crop.x
        y = self.shown_height - crop.y - crop.height if self.mirrored_y else crop.y
        width, height = crop.width, crop.height
        if self.transposed:
            x, y, width, height = y, x, height, width
        return replace(self, x=self.x + x, y=self.y + y, width=width, height=height)

    def in_file(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Where a rectangle of the view lies in the file: (x, y, width, height), level-0 px of both."""
        left = self.shown_width - x - width if self.mirrored_x else x
        top = self.shown_height - y - height if self.mirrored_y else y
        if self.transposed:
            left, top, width, height = top, left, height, width
        return self.x + left, self.y + top, width, height

    def show(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn pixels as they lie in the file into the view's orientation. (h, w, 3) uint8 both."""
        shown = pixels.transpose(1, 0, 2) if self.transposed else pixels
        shown = shown[:, ::-1] if self.mirrored_x else shown
        return shown[::-1] if self.mirrored_y else shown
