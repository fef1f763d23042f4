"""Baselines that cost nothing: k-means on the colour of small cells, on colour and texture, and on superpixels.

A cell is 8 x 8 px. Its colour is the mean optical density around it; its texture is how often each of the ten uniform
local binary patterns (Ojala et al. 2002; 8 neighbours at 1 px) turns up around it. Superpixels (SLIC, Achanta et al.
2012) are made of cells, and have the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import vq
from scipy.ndimage import uniform_filter
from skimage.feature import local_binary_pattern
from skimage.segmentation import slic

from qpkit.errors import ConfigError
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit_train.unsupervised.canvas import Canvas
from qpkit_train.unsupervised.division import Division, Window, by_darkness, density_of
from qpkit_train.unsupervised.kmeans import kmeans
from qpkit_train.unsupervised.samples import check_clusters

CELL: Final = 8
"""Px."""

_WINDOW: Final = 1024
_MARGIN: Final = 128
"""Px around a window that are looked at, too: at least half of what texture and superpixels see."""

_COLOUR_CELLS: Final = 3
_TEXTURE_CELLS: Final = 9
"""Cells across over which colour, and patterns, are averaged."""

_PATTERNS: Final = 10
_TEXTURE_WEIGHT: Final = 0.5
"""Of the patterns' standardised numbers beside the colour's, so that ten do not outweigh three."""

_SUPERPIXEL_CELLS: Final = 36
_SAMPLE: Final = 40_000
"""Cells that means are found on."""

Look = Literal["kmeans", "kmeans-texture", "superpixels"]


def divide_cells(
    canvases: Sequence[Canvas], look: Look, *, clusters: int, seed: int, on_progress: OnProgress = no_progress
) -> Division:
    """Find the means of all canvases together, so that a number means the same everywhere.

    Args:
        canvases: What is divided.
        look: What of a cell is compared.
        clusters: How many.
        seed: Of the sample and the means.
        on_progress: Called with (windows done, windows, canvas).

    Raises:
        ConfigError: Less tissue than clusters, or all of it looks the same.
        FormatError: A slide cannot be read.
    """
    places = [(canvas, x, y) for canvas in canvases for x, y in canvas.windows(_side(canvas))]
    tick = Ticker(len(places), on_progress)
    rng = np.random.default_rng((seed, 0))
    each = max(1, -(-2 * _SAMPLE // max(1, len(places))))
    found = []
    for canvas, x, y in places:
        features, inside = _features(canvas, x, y, look)
        own = features[inside]
        found.append(own[rng.permutation(len(own))[:each]])
        tick(canvas.name)
    sample = np.concatenate(found) if found else np.zeros((0, 3))
    sample = sample[rng.permutation(len(sample))[:_SAMPLE]].astype(np.float64)
    check_clusters(len(sample), clusters, what=f"cells of {CELL} px with tissue")
    scale = sample.std(axis=0)
    if not scale.any():
        raise ConfigError("all tissue has one colour, so nothing divides it; give slides with tissue")
    weight = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0)
    weight[3:] *= _TEXTURE_WEIGHT
    labels = kmeans(sample * weight, clusters, seed=seed)
    there = [number for number in range(clusters) if (labels == number).any()]
    means = np.array([sample[labels == number].mean(axis=0) for number in there])
    order = by_darkness(means[:, :3].mean(axis=1))
    means = means[np.argsort(order)] * weight

    def windows(canvas: Canvas) -> Iterator[Window]:
        for x, y in canvas.windows(_side(canvas)):
            features, inside = _features(canvas, x, y, look)
            clustered = np.zeros(inside.shape, np.uint8)
            clustered[inside] = vq(features[inside].astype(np.float64) * weight, means)[0] + 1
            yield x // CELL, y // CELL, clustered

    notes = (f"{len(means)} clusters instead of {clusters}: no more differ",) if len(means) < clusters else ()
    facts = {"look": look, "cells": len(sample), "windows": len(places)}
    return Division(cell=CELL, clusters=clusters, windows=windows, facts=facts, notes=notes)


def _side(canvas: Canvas) -> int:
    return canvas.window_side(_WINDOW, CELL)


def _features(canvas: Canvas, x: int, y: int, look: Look) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What the cells of a window look like: (rows, columns, d), and (rows, columns) whether they are tissue."""
    side, margin = _side(canvas) // CELL, _MARGIN // CELL
    wide = _side(canvas) + 2 * _MARGIN
    pixels = canvas.read(x - _MARGIN, y - _MARGIN, width=wide, height=wide)
    colour = _cell_means(density_of(pixels))
    smooth = uniform_filter(colour, (_COLOUR_CELLS, _COLOUR_CELLS, 0))
    if look == "superpixels":
        smooth = _superpixel_means(colour)
    parts = [smooth]
    if look == "kmeans-texture":
        parts.append(uniform_filter(_patterns(pixels), (_TEXTURE_CELLS, _TEXTURE_CELLS, 0)))
    features = np.concatenate(parts, axis=-1)[margin:-margin, margin:-margin]
    return features, canvas.tissue_in(x // CELL, y // CELL, width=side, height=side, cell=CELL)


def _cell_means(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w, d) to (h / CELL, w / CELL, d)."""
    rows, columns, depth = values.shape
    cells = values.reshape(rows // CELL, CELL, columns // CELL, CELL, depth)
    return np.asarray(cells.mean(axis=(1, 3)), np.float32)


def _patterns(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How often each uniform pattern is in each cell: (rows, columns, 10), 0..1."""
    grey = (pixels.astype(np.uint16).sum(axis=2) // 3).astype(np.uint8)
    found = local_binary_pattern(grey, 8, 1, method="uniform").astype(np.uint8)
    return np.concatenate([_cell_means((found == n)[..., None].astype(np.float32)) for n in range(_PATTERNS)], axis=-1)


def _superpixel_means(colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean colour of the superpixel that each cell belongs to."""
    count = max(1, colour.shape[0] * colour.shape[1] // _SUPERPIXEL_CELLS)
    numbers = slic(colour, n_segments=count, compactness=0.1, channel_axis=-1, convert2lab=False, start_label=0)
    sizes = np.bincount(numbers.ravel())
    means = [np.bincount(numbers.ravel(), colour[..., n].ravel()) / np.maximum(sizes, 1) for n in range(3)]
    return np.asarray(np.stack(means, axis=-1)[numbers], np.float32)
