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
    "sharpness", "tissue fraction", "size of structures",
)  # fmt: skip
"""Mean and standard deviation of the optical density of tissue; standard deviation of grey levels; log10 of the
variance of the Laplacian of grey levels; fraction of the pixels that are tissue; log10 of the length in px over which
the optical density of red, that of nuclei, changes by its standard deviation. Earlier versions measured no size."""

_FLOOR: Final = np.array([0.01] * 6 + [1.0, 0.05, 0.02, 0.02])
"""Standard deviations below which differences mean nothing."""

_LEAST_SIDE: Final = 8

_LARGER: Final = 1.2
_SMALLER: Final = 0.8
"""Times the largest and the smallest of the training slides, from which a size is odd. Trained on P1 and P2 of
composed-train, P3 and P4 are at 0.97 to 1.05 of the mean; P4 resampled to half its size at 0.76, to twice at 1.27."""

_ODDS: Final = 4.0
"""Times the odds of a class on any training slide, from which its fraction is odd."""

_SIZE: Final = FEATURES.index("size of structures")

_DENSITY: Final = -np.log10((np.arange(256) + 1) / 256).astype(np.float32)
_TISSUE: Final = 0.45
"""Sum of the optical densities of red, green and blue from which a pixel is tissue."""

_STEP: Final = 4
_SIDE: Final = 256
"""Colours are those of every fourth row and column; contrast and sharpness those of the middle, px."""


def look_of(pixels: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Measure the FEATURES of a tile: (10,) from (h, w, 3) uint8 RGB; None without tissue."""
    density = np.ascontiguousarray(_DENSITY[pixels[::_STEP, ::_STEP]].reshape(-1, 3).T)
    is_tissue = density.sum(axis=0) > _TISSUE
    if not is_tissue.any():
        return None
    tissue = density[:, is_tissue].astype(np.float64)
    top, left = (max(0, (size - _SIDE) // 2) for size in pixels.shape[:2])
    middle = pixels[top : top + _SIDE, left : left + _SIDE]
    grey = middle.astype(np.float32) @ np.array(LUMA, np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    edges = 4 * grey[1:-1, 1:-1] - around
    variance = float(edges.var(dtype=np.float64)) if edges.size else 0.0
    size = np.log10(_size_of_structures(_DENSITY[middle[..., 0]]))
    texture = [float(grey.std(dtype=np.float64)), np.log10(1 + variance), is_tissue.mean(), size]
    return np.concatenate([tissue.mean(axis=1), tissue.std(axis=1), texture])


def look_in_parts(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float64] | None:
    """Measure a tile by parts as large as the training tiles: in larger ones glass, contrast and structures are others.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        side: px, as `Appearance.side` has it; 0 and what is no smaller than the part that `look_of` takes measures the
            whole tile.

    Returns:
        (10,) the mean of the FEATURES of parts with tissue, spread evenly over the tile, which together have no more px
        than `look_of` takes; None without tissue.
    """
    height, width = pixels.shape[:2]
    if not 0 < side < _SIDE or max(height, width) <= side:
        return look_of(pixels)
    rows, columns = (_starts(length, side) for length in (height, width))
    looks = [look_of(pixels[y : y + side, x : x + side]) for y in rows for x in columns]
    shown = [look for look in looks if look is not None]
    return np.mean(shown, axis=0) if shown else None


def _starts(length: int, side: int) -> list[int]:
    """Where parts of a length begin, each in the middle of its share."""
    count = max(1, min(_SIDE // side, length // side))
    return [max(0, round((i + 0.5) * length / count - side / 2)) for i in range(count)]


def _size_of_structures(density: NDArray[np.float32]) -> float:
    """The length in px over which a density changes by its standard deviation; 1 of what is even or too small."""
    if min(density.shape) < _LEAST_SIDE:
        return 1.0
    rows = density[:-2] + density[1:-1] + density[2:]
    smooth = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]  # noise has no size
    down, right = smooth[2:] - smooth[:-2], smooth[:, 2:] - smooth[:, :-2]
    change = float(down.var(dtype=np.float64) + right.var(dtype=np.float64)) / 4
    return max(1.0, (float(smooth.var(dtype=np.float64)) / change) ** 0.5) if change else 1.0


class Appearance(msgspec.Struct, frozen=True, kw_only=True):
    """What the tiles of some slides look like.

    Args:
        slides: Mean of the FEATURES of each slide's tiles.
        fractions: Of the labelled pixels of each slide's tiles, by class; empty in runs of earlier versions.
        within: Covariance of the FEATURES of tiles around their slide's mean.
        downsamples: The smallest and the largest at which the slides were read.
        side: Side of the tiles, px, by which slides are measured, too (see `look_in_parts`); 0 of earlier versions.
    """

    slides: dict[str, list[float]]
    within: list[list[float]]
    downsamples: tuple[float, float] = (1.0, 1.0)
    fractions: dict[str, dict[str, float]] = {}
    side: int = 0

    def distance(self, look: NDArray[np.float64]) -> float:
        """Mahalanobis distance of (10,) FEATURES from all slides, by those that were measured of these."""
        means = np.array(list(self.slides.values()))
        return self._distance(look[: means.shape[1]], means)

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
        deviations = np.abs(look[: means.shape[1]] - means.mean(axis=0)) / np.sqrt(np.diag(self._covariance(means)))
        return FEATURES[int(deviations.argmax())]

    def odd_size(self, look: NDArray[np.float64]) -> float | None:
        """How many times as large structures are as on the training slides; None unless that is odd."""
        sizes = [10 ** mean[_SIZE] for mean in self.slides.values() if len(mean) > _SIZE]
        if not sizes:
            return None
        own = 10 ** float(look[_SIZE])
        is_odd = own > _LARGER * max(sizes) or own < _SMALLER * min(sizes)
        return own / float(np.median(sizes)) if is_odd else None

    def odd_classes(
        self, pixels: Mapping[str, int], *, background: str, in_regions: bool
    ) -> dict[str, tuple[float, float, float]]:
        """Classes with a fraction unlike that on every training slide.

        Args:
            pixels: Predicted, by class.
            background: The class that is never odd: glass is background, too.
            in_regions: Whether only regions like those that were annotated are predicted. Elsewhere a class may well be
                rarer than where people annotated it.

        Returns:
            The fraction, and the smallest and the largest of a training slide, by class.
        """
        found, total = {}, max(1, sum(pixels.values()))
        for name, count in pixels.items():
            theirs = [slide.get(name, 0.0) for slide in self.fractions.values()]
            if any(theirs) and name != background:
                own, low, high = (_odds(fraction) for fraction in (count / total, min(theirs), max(theirs)))
                if own > _ODDS * high or (in_regions and own < low / _ODDS):
                    found[name] = count / total, min(theirs), max(theirs)
        return found

    def _distance(self, look: NDArray[np.float64], means: NDArray[np.float64]) -> float:
        off = look - means.mean(axis=0)
        return float(np.sqrt(off @ np.linalg.solve(self._covariance(means), off)))

    def _covariance(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of tiles: between slides and within them."""
        between = np.cov(means.T, bias=True) if len(means) > 1 else 0.0
        return np.asarray(between + np.array(self.within) + np.diag(_FLOOR[: means.shape[1]] ** 2))


def _odds(fraction: float) -> float:
    return fraction / max(1 - fraction, 1e-9)


def appearance_of(
    looks: Mapping[str, Sequence[NDArray[np.float64]]],
    downsamples: Sequence[float],
    pixels: Mapping[str, Mapping[str, int]] | None = None,
    *,
    side: int = 0,
) -> Appearance | None:
    """Sum up the looks of tiles, by slide; None if no slide has any.

    Args:
        looks: FEATURES of tiles by slide.
        downsamples: At which they were read.
        pixels: Labelled ones of all tiles, by slide and class.
        side: Of the tiles, px.
    """
    tiles = {name: np.array(found) for name, found in looks.items() if len(found)}
    if not tiles:
        return None
    off = np.concatenate([found - found.mean(axis=0) for found in tiles.values()])
    return Appearance(
        slides={name: np.round(found.mean(axis=0), 6).tolist() for name, found in tiles.items()},
        within=np.round(off.T @ off / len(off), 8).tolist(),
        downsamples=(min(downsamples), max(downsamples)),
        fractions={
            slide: {name: round(count / sum(counts.values()), 6) for name, count in counts.items()}
            for slide, counts in (pixels or {}).items()
            if sum(counts.values())
        },
        side=side,
    )
