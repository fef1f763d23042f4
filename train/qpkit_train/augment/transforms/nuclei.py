"""Nuclei: what is blue and what is brown, for immunohistochemistry. Hues stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from qpkit.settings import FRACTION
from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.augment.transforms import Recolor

if TYPE_CHECKING:
    from torch import Tensor

_BLUE: Final = (195.0, 265.0)
_BROWN: Final = (5.0, 50.0)
"""Hues of haematoxylin alone and of DAB, degrees of the colour circle; beside eosin all is at 270 to 350."""

_MEASURED: Final = (((-40.0, 61.0), (-60.0, 61.0)), ((-30.0, 81.0), (-80.0, 81.0)))
"""Blue, then brown: how far saturation and value of nuclei vary, of 255; measured on patches of breast in ER, PR, HER2
and Ki67 for the multi-stain network of two resolutions (its table 6)."""

_SOFT: Final = 10.0
"""Degrees over which the change fades in and out at both ends of the hues."""

_LEAST_SATURATION: Final = 0.1
"""Of a nucleus: the change sets in here and is whole at twice as much. Glass and white have less."""


class Nuclei(Recolor, frozen=True, kw_only=True):
    """Shift saturation and value where the hue is that of haematoxylin or DAB.

    Args:
        nuclei: Saturation and value (of HSV) of what is blue and, apart from it, of what is brown are shifted by +-
            strength. For immunohistochemistry: beside eosin nuclei are not told from stroma by their hue.
        nuclei_range: "even" is +- strength for all four. "measured" is how far they vary in breast between stainings
            (more towards strong stains, brown more than blue), times the strength: 1 is as measured.
        nuclei_p: Probability of it.
    """

    nuclei: Annotated[float, FRACTION] = 0.0
    nuclei_range: Literal["even", "measured"] = "even"
    nuclei_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 60
    stream: ClassVar = ("nuclei", 4)
    shown: ClassVar = (("nuclei", "blue and brown: saturation and value ± {:g}", "nuclei_p"),)

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Shift some of (n, 3, h, w) in 0..1."""
        if not self.nuclei:
            return images
        rng = stream("nuclei")
        chosen = chosen_of(rng, len(images), self.nuclei_p)
        shifts = self.nuclei * self._within_range(rng.uniform(-1, 1, (len(images), 2, 2)))
        return replaced(images, chosen, lambda part: _shift_nuclei(part, like(shifts[chosen], part)))

    def _within_range(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Stretch (n, 2 hues, saturation and value) in -1..1 over the range that was asked for."""
        if self.nuclei_range == "even":
            return drawn
        low, high = np.moveaxis(np.array(_MEASURED) / 255, -1, 0)
        return np.asarray(low + (drawn + 1) / 2 * (high - low))


def _shift_nuclei(images: Tensor, shifts: Tensor) -> Tensor:
    """Shift blue and brown, (n, 2 hues, saturation and value)."""
    import torch

    hue, saturation, value = hue_saturation_value(images)
    result = images
    for kind, (low, high) in enumerate((_BLUE, _BROWN)):
        weight = _within(hue, low, high) * (saturation / _LEAST_SATURATION - 1).clamp(0, 1)
        more_saturation, more_value = (shifts[:, kind, i].view(-1, 1, 1) for i in (0, 1))
        ratio = (saturation + more_saturation).clamp(0, 1) / saturation.clamp(min=_LEAST_SATURATION)
        top = value.unsqueeze(1)
        shifted = (top - (top - images) * ratio.unsqueeze(1)) / top.clamp(min=1e-3)
        shifted = shifted * (value + more_value).clamp(0, 1).unsqueeze(1)
        result = torch.lerp(result, shifted, weight.unsqueeze(1))
    return result.clamp(0, 1)


def hue_saturation_value(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in degrees (0 for grey), saturation and value in 0..1 of (n, 3, h, w) RGB, (n, h, w) each."""
    import torch

    value, least = images.amax(dim=1), images.amin(dim=1)
    spread = (value - least).clamp(min=1e-6)
    red, green, blue = images.unbind(dim=1)
    hue = torch.where(
        value == red,
        (green - blue) / spread % 6,
        torch.where(value == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    return hue * 60, (value - least) / value.clamp(min=1e-6), value


def _within(hue: Tensor, low: float, high: float) -> Tensor:
    """1 between low and high, falling to 0 over _SOFT degrees outside of them."""
    import torch

    return (torch.minimum(hue - low, high - hue) / _SOFT + 1).clamp(0, 1)
