"""Binary templates of kinds of tissue, matched by Hamming distance, and added up to a soft mask.

A template is a piece of tissue of 64 x 64 px as bits: for each cell of 8 x 8 px whether its mean grey is above the
quartiles of all tissue, three bits. (One bit would call whatever is mostly light the lightest template: two random
pieces of which a tenth and a half is dark differ more from each other than both do from an empty one.) How well a
template fits is said in standard deviations of the distance between bits thrown by a coin: (n / 2 - d) / (sqrt(n) / 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import ConfigError
from qpkit.ops.texture import texture_of
from qpkit_train.unsupervised.division import by_darkness
from qpkit_train.unsupervised.kmeans import kmeans
from qpkit_train.unsupervised.samples import check_clusters

SIDE: Final = 64
"""Px of a template."""

_CELL: Final = 8
STEP: Final = 16
"""Px from one place where templates are tried to the next; px of the soft mask."""

_CELLS: Final = SIDE // _CELL
_BEST: Final = 3
"""Templates that have a say at each place."""

_EACH: Final = 24
"""Templates of a kind, at most."""


@dataclass(frozen=True, slots=True)
class Templates:
    """What kinds of tissue look like.

    Args:
        bits: (t, n) bool.
        kinds: (t,) int64, from 0 on.
        levels: (3,) float, the grey levels that divide tissue into quarters.
    """

    bits: NDArray[np.bool_]
    kinds: NDArray[np.int64]
    levels: NDArray[np.float64]

    @property
    def count(self) -> int:
        """How many kinds."""
        return int(self.kinds.max()) + 1


def templates_of(pieces: NDArray[np.uint8], kinds: Sequence[int]) -> Templates:
    """Make templates of pieces of tissue whose kind is known.

    Args:
        pieces: (t, 64, 64, 3) uint8.
        kinds: Of each, from 0 on.

    Raises:
        ConfigError: Fewer than two kinds, or all pieces are of one grey.
    """
    check_clusters(len(pieces), len(set(kinds)), what="templates")
    means = _cell_greys(grey_of(pieces))
    levels = np.quantile(means, (0.25, 0.5, 0.75))
    if levels[0] == levels[-1]:
        raise ConfigError("all templates have one grey, so nothing tells them apart; give slides with tissue")
    return Templates(_bits(means, levels).reshape(len(pieces), -1), np.array(kinds, np.int64), levels)


def templates_by_look(pieces: NDArray[np.uint8], clusters: int, *, seed: int) -> Templates:
    """Make templates where nobody has said of what: of the most typical pieces of each cluster by colour and texture.

    Args:
        pieces: (n, 64, 64, 3) uint8 with tissue.
        clusters: Kinds.
        seed: Of the clusters.

    Raises:
        ConfigError: Fewer pieces than clusters, fewer than two clusters, or all look the same.
    """
    check_clusters(len(pieces), clusters, what=f"pieces of {SIDE} px with tissue")
    looks = np.array([texture_of(piece) for piece in pieces])
    if not np.ptp(looks, axis=0).any():
        raise ConfigError("all tissue looks the same, so nothing divides it; give slides with tissue")
    spread = looks.std(axis=0)
    scaled = (looks - looks.mean(axis=0)) / np.where(spread > 0, spread, 1)
    labels = kmeans(scaled, clusters, seed=seed)
    density = [looks[labels == n, :3].mean() if (labels == n).any() else np.nan for n in range(clusters)]
    labels = by_darkness(np.array(density))[labels]
    typical = []
    for number in range(clusters):
        own = np.flatnonzero(labels == number)
        far = ((scaled[own] - scaled[own].mean(axis=0)) ** 2).sum(axis=1) if len(own) else np.zeros(0)
        typical.append(own[np.argsort(far, kind="stable")[:_EACH]])
    chosen = np.concatenate(typical)
    return templates_of(pieces[chosen], labels[chosen].tolist())


def soft_mask(grey: NDArray[np.uint8], templates: Templates) -> NDArray[np.float32]:
    """Say how probable each kind is, by the templates that fit best around.

    Args:
        grey: (h, w) uint8, both multiples of 16 and at least 64.
        templates: Of each kind.

    Returns:
        (h / 16, w / 16, kinds) float32, sums to 1; the same for all kinds where nothing fits better than a coin.
    """
    bits = _bits(_cell_greys(grey), templates.levels)
    view = np.lib.stride_tricks.sliding_window_view(bits, (_CELLS, _CELLS), axis=(0, 1))
    places = np.moveaxis(view[:: STEP // _CELL, :: STEP // _CELL], 2, -1)
    rows, columns = places.shape[:2]
    n = templates.bits.shape[1]
    distance = hamming(places.reshape(rows * columns, n), templates.bits)
    fit = np.maximum(0, (n / 2 - distance) / (np.sqrt(n) / 2)).astype(np.float32)
    best = np.argsort(-fit, axis=1, kind="stable")[:, :_BEST]
    votes = np.zeros((rows * columns, templates.count), np.float32)
    for turn in best.T:
        np.add.at(votes, (np.arange(len(votes)), templates.kinds[turn]), fit[np.arange(len(votes)), turn])
    return _spread(votes.reshape(rows, columns, -1), grey.shape)


def hamming(places: NDArray[np.bool_], templates: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Count the bits that differ: (p, t) of (p, n) and (t, n)."""
    signs = 2 * places.astype(np.float32) - 1, 2 * templates.astype(np.float32) - 1
    return np.asarray((places.shape[1] - signs[0] @ signs[1].T) / 2, np.float32)


def _spread(votes: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Give each px of the soft mask the votes of all places that cover it, as fractions."""
    found = np.zeros((shape[0] // STEP, shape[1] // STEP, votes.shape[-1]), np.float32)
    rows, columns = votes.shape[:2]
    for down in range(SIDE // STEP):
        for across in range(SIDE // STEP):
            found[down : down + rows, across : across + columns] += votes
    total = found.sum(axis=-1, keepdims=True)
    even = np.float32(1 / votes.shape[-1])
    return np.where(total > 1e-6, found / np.where(total > 1e-6, total, 1), even).astype(np.float32)


def grey_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean of red, green and blue: (...) uint8 of (..., 3) uint8."""
    return np.asarray(np.round(pixels.mean(axis=-1, dtype=np.float32)), dtype=np.uint8)


def _cell_greys(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Means of cells: (..., h / 8, w / 8)."""
    *leading, rows, columns = grey.shape
    cells = grey.reshape(*leading, rows // _CELL, _CELL, columns // _CELL, _CELL)
    return np.asarray(cells.mean(axis=(-3, -1), dtype=np.float64))


def _bits(means: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Above which levels: (..., 3)."""
    return means[..., np.newaxis] > levels
