"""Eosin, haematoxylin and mean optical density of a slide, for models that take them: see docs/training.md.

The stain vectors are Macenko's (2009, A method for normalizing histology slides for quantitative analysis): the
extreme directions of the optical density of tissue in the plane of its largest variance. Each channel is scaled
by its first and last percentile on the whole picture, to 0..1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def stains_of_slide(picture: NDArray[np.uint8]) -> Callable[[NDArray[np.uint8]], NDArray[np.float64]]:
    """Estimate stains and percentiles on a picture of a slide, (h, w, 3); gives what prepares (n, h, w, 3) tiles.

    Raises:
        ValueError: Hardly anything of it is tissue.
    """
    rgb = picture.astype(np.float64)
    brightest, darkest = rgb.max(axis=2), rgb.min(axis=2)
    is_glass = (brightest > 0.83 * 255) & (brightest - darkest < 0.12 * brightest)
    white = float(np.clip(rgb[is_glass].mean(), 200, 255)) if is_glass.sum() >= 100 else 240.0

    def density(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        return -np.log10(np.clip(pixels, 1, white) / white)

    tissue = density(rgb[~is_glass])
    tissue = tissue[(tissue > 0.06).all(axis=1)]
    if len(tissue) < 100:
        raise ValueError("hardly any tissue")
    eosin, haematoxylin = _amounts(tissue)
    channels = np.stack([eosin, haematoxylin, np.full(3, 1 / 3)], axis=1)
    low, high = np.percentile((density(rgb) @ channels).reshape(-1, 3), (1, 99), axis=0)
    return lambda tiles: np.clip((density(tiles.astype(np.float64)) @ channels - low) / (high - low + 1e-8), 0, 1)


def _amounts(tissue: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By what (n, 3) optical densities are multiplied to get how much eosin, and haematoxylin, there is."""
    _, directions = np.linalg.eigh(np.cov(tissue.T))
    plane = directions[:, [2, 1]] * np.sign(directions[:, [2, 1]].sum(axis=0))
    along, across = (tissue @ plane).T
    ends = [plane @ (np.cos(angle), np.sin(angle)) for angle in np.percentile(np.arctan2(across, along), (1, 99))]
    # Haematoxylin takes more of the red.
    haematoxylin, eosin = sorted((end * np.sign(end.sum()) for end in ends), key=lambda end: -end[0])
    stains = np.stack([haematoxylin, eosin, np.cross(haematoxylin, eosin)], axis=1)
    inverse = np.linalg.inv(stains)
    return inverse[1], inverse[0]
