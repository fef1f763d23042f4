"""What comes out of a method: for every canvas a raster of clusters, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.review import PROPOSED
from qpkit_train.unsupervised.canvas import Canvas

Window = tuple[int, int, NDArray[np.uint8]]
"""x, y in raster px, and (h, w) clusters from 1 on; 0 is not tissue."""


@dataclass(frozen=True, slots=True)
class PatchCluster:
    """Where a patch lies, and which cluster is the most probable one for it.

    Args:
        canvas: Name of its slide, or of its tile.
        x, y: Corner, px of the canvas.
        side: Px.
        cluster: From 1 on.
        probability: Of that cluster, 0..1.
    """

    canvas: str
    x: int
    y: int
    side: int
    cluster: int
    probability: float

    @property
    def name(self) -> str:
        """Of its cluster."""
        return PROPOSED.format(self.cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Canvases divided into clusters.

    Args:
        cell: Px of the canvas per px of the raster.
        clusters: How many there are at most.
        windows: Gives the raster of a canvas, window by window; each px at most once, the others are 0.
        patches: Where whole patches are sorted, in the order of canvases.
        facts: What is worth keeping: sizes, losses, which features.
        pictures: PNG files by name, for the page.
        notes: What the user has to know.
    """

    cell: int
    clusters: int
    windows: Callable[[Canvas], Iterator[Window]]
    patches: Sequence[PatchCluster] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def by_darkness(density: NDArray[np.float64]) -> NDArray[np.int64]:
    """New numbers of clusters, so that the first one is the darkest, whatever the seed.

    Args:
        density: (k,) mean optical density of each; NaN for those that are empty, which come last.

    Returns:
        (k,) the new number, from 0, of each old one.
    """
    order = np.argsort(np.where(np.isnan(density), np.inf, -density), kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def density_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical density of each channel, -log10 of the light that comes through: (..., 3) of (..., 3) uint8."""
    return _DENSITY[pixels]


_DENSITY: Final = (-np.log10((np.arange(256) + 1) / 256)).astype(np.float32)
