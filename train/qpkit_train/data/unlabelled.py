"""The other half of a semi-supervised step: tiles of which nobody, or nearly nobody, annotated anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.dataset import TileRecord
from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.data.sampler import Epoch, Group

UNLABELLED_GROUP: Final = Group(
    name="unlabelled", tiles=np.zeros(0, np.int64), draws=0, wanted=(IGNORE_INDEX,), is_negative=False
)
"""What crops are drawn for: a pixel that nobody annotated."""

_STREAM: Final = 5
"""Of the order; 0, 1, 3 and 4 are the sampler's, 2 the loop's."""


def unlabelled_tiles(
    tiles: Sequence[TileRecord], labels: LabelMap, *, tile_size: int, least: float
) -> NDArray[np.int64]:
    """Indices of the tiles of which at least this fraction is ignore, ascending."""
    ignored = np.array([tile.pixels.get(labels.ignore, 0) for tile in tiles], np.int64)
    return np.flatnonzero(ignored >= max(1.0, least * tile_size**2))


def unlabelled_epoch(tiles: NDArray[np.int64], *, batches: int, batch_size: int, key: tuple[int, int]) -> Epoch:
    """Draw whole batches: each tile once in random order, then each once more.

    Args:
        tiles: (n,) indices, at least one.
        batches: How many.
        batch_size: Tiles in each.
        key: (seed, epoch number), on which alone it depends.
    """
    wanted = batches * batch_size
    rng = np.random.default_rng((*key, _STREAM, 1))
    drawn = np.concatenate([rng.permutation(tiles) for _ in range(-(-wanted // len(tiles)))])[:wanted]
    return Epoch(
        tiles=drawn, groups=np.zeros(wanted, np.int64), starts=np.arange(0, wanted + 1, batch_size, dtype=np.int64)
    )
