"""What a piece of tissue looks like in a few numbers: colour in optical density, and how rough it is."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NAMES: Final = (
    *(f"{what} of {channel}" for what in ("mean", "deviation") for channel in ("red", "green", "blue")),
    *(f"{share} % quantile" for share in (10, 50, 90)),
    *(f"roughness at {step} px" for step in (1, 2, 4)),
)


def texture_of(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Describe pixels by mean and deviation of the optical density, its quantiles, and its differences.

    Args:
        pixels: (h, w, 3) uint8 RGB, at least 8 px high and wide.

    Returns:
        (12,) as NAMES says; optical density is -log10 of the light that comes through, roughness the mean difference
        of neighbours at a distance, on the mean of the channels.
    """
    density = -np.log10((pixels.astype(np.float64) + 1) / 256)
    grey = density.mean(axis=2)
    rough = [
        (np.abs(grey[step:] - grey[:-step]).mean() + np.abs(grey[:, step:] - grey[:, :-step]).mean()) / 2
        for step in (1, 2, 4)
    ]
    return np.array(
        [*density.mean(axis=(0, 1)), *density.std(axis=(0, 1)), *np.quantile(grey, (0.1, 0.5, 0.9)), *rough]
    )
