"""What tiles look like, slide by slide, and how far another slide is from that. Knows no network and no files.

The distance is Mahalanobis': in standard deviations of what the training slides' tiles look like, between slides and
within them. The training slides have one, too, each from the others: what is farther than they are is unlike them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from qpkit_train.luma import LUMA

FEATURES: Final = (
    "red OD", "green OD", "blue OD", "spread of red OD", "spread of green OD", "spread of blue OD", "contrast",
    "sharpness", "tissue fraction",
)  # fmt: skip
"""Mean and standard deviation of the optical density of tissue; standard deviation of grey levels; log10 of the
variance of the Laplacian of grey levels; fraction of the pixels that are tissue."""

_FLOOR: Final = np.array([0.01] * 6 + [1.0, 0.05, 0.02])
"""Standard deviations below which differences mean nothing."""

_DENSITY: Final = -np.log10((np.arange(256) + 1) / 256).astype(np.float32)
_TISSUE: Final = 0.45
"""Sum of the optical densities of red, green and blue from which a pixel is tissue."""

_STEP: Final = 4
_SIDE: Final = 256
"""Colours are those of every fourth row and column; contrast and sharpness those of the middle, px."""


def look_of(pixels: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Measure the FEATURES of a tile: (9,) from (h, w, 3) uint8 RGB; None without tissue."""
    density = np.ascontiguousarray(_DENSITY[pixels[::_STEP, ::_STEP]].reshape(-1, 3).T)
    is_tissue = density.sum(axis=0) > _TISSUE
    if not is_tissue.any():
        return None
    tissue = density[:, is_tissue].astype(np.float64)
    top, left = (max(0, (size - _SIDE) // 2) for size in pixels.shape[:2])
    grey = pixels[top : top + _SIDE, left : left + _SIDE].astype(np.float32) @ np.array(LUMA, np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    edges = 4 * grey[1:-1, 1:-1] - around
    variance = float(edges.var(dtype=np.float64)) if edges.size else 0.0
    texture = [float(grey.std(dtype=np.float64)), np.log10(1 + variance), is_tissue.mean()]
    return np.concatenate([tissue.mean(axis=1), tissue.std(axis=1), texture])


class Appearance(msgspec.Struct, frozen=True, kw_only=True):
    """What the tiles of some slides look like.

    Args:
        slides: Mean of the FEATURES of each slide's tiles.
        within: Covariance of the FEATURES of tiles around their slide's mean.
        downsamples: The smallest and the largest at which the slides were read.
    """

    slides: dict[str, list[float]]
    within: list[list[float]]
    downsamples: tuple[float, float] = (1.0, 1.0)

    def distance(self, look: NDArray[np.float64]) -> float:
        """Mahalanobis distance of (9,) FEATURES from all slides."""
        return self._distance(look, np.array(list(self.slides.values())))

    def left_out(self) -> tuple[float, float] | None:
        """Smallest and largest distance of a slide from the others; None of a single one."""
        means = np.array(list(self.slides.values()))
        if len(means) < 2:
            return None
        found = [self._distance(means[i], np.delete(means, i, axis=0)) for i in range(len(means))]
        return min(found), max(found)

    def strangest(self, look: NDArray[np.float64]) -> str:
        """The feature in which something differs most from the slides, by itself."""
        means = np.array(list(self.slides.values()))
        deviations = np.abs(look - means.mean(axis=0)) / np.sqrt(np.diag(self._covariance(means)))
        return FEATURES[int(deviations.argmax())]

    def _distance(self, look: NDArray[np.float64], means: NDArray[np.float64]) -> float:
        off = look - means.mean(axis=0)
        return float(np.sqrt(off @ np.linalg.solve(self._covariance(means), off)))

    def _covariance(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of tiles: between slides and within them."""
        between = np.cov(means.T, bias=True) if len(means) > 1 else 0.0
        return np.asarray(between + np.array(self.within) + np.diag(_FLOOR**2))


def appearance_of(
    looks: Mapping[str, Sequence[NDArray[np.float64]]], downsamples: Sequence[float]
) -> Appearance | None:
    """Sum up the looks of tiles, by slide; None if no slide has any.

    Args:
        looks: FEATURES of tiles by slide.
        downsamples: At which they were read.
    """
    tiles = {name: np.array(found) for name, found in looks.items() if len(found)}
    if not tiles:
        return None
    off = np.concatenate([found - found.mean(axis=0) for found in tiles.values()])
    return Appearance(
        slides={name: np.round(found.mean(axis=0), 6).tolist() for name, found in tiles.items()},
        within=np.round(off.T @ off / len(off), 8).tolist(),
        downsamples=(min(downsamples), max(downsamples)),
    )
