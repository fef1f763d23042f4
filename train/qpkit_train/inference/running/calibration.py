"""Batch-norm statistics of a network estimated anew on the slide that it predicts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from qpkit.core.tiles import Tile
from qpkit.errors import FormatError
from qpkit.slides import Slide
from qpkit_train.appearance import look_of
from qpkit_train.data.surroundings import sample_of
from qpkit_train.stride import stride_for

_MOST_TILES: Final = 64
_SIDE: Final = 256
_BATCH: Final = 16
"""Tiles of which the middle is looked at, its side in px, and how many middles make a batch."""


Run = Callable[[torch.nn.Module, NDArray[np.uint8]], object]
"""Runs a network on (n, h, w, 3) uint8 RGB."""


def batch_norms(network: torch.nn.Module) -> list[_BatchNorm]:
    """The layers that have statistics to estimate."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


def calibrated(network: torch.nn.Module, run: Run, batches: Sequence[NDArray[np.uint8]]) -> torch.nn.Module:
    """Copy a network with the mean statistics of some batches in place of those of its training.

    Args:
        network: In evaluation mode; stays as it is.
        run: Runs the copy.
        batches: What the statistics are of.
    """
    own = copy.deepcopy(network)
    for norm in batch_norms(own):
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    for batch in batches:
        run(own, batch)
    return own.eval()


def middles_of(slide: Slide, tiles: Sequence[Tile], factors: Sequence[int] = (1,)) -> list[NDArray[np.uint8]]:
    """Read the middles of an even choice of tiles, those that show tissue, as batches (n, h, w, 3 k) with surroundings.

    Raises:
        FormatError: None can be read, or none shows tissue.
    """
    found = list(_middles(slide, tiles[:: -(-len(tiles) // _MOST_TILES)] if tiles else (), factors))
    if not found:
        raise FormatError("no tile with tissue can be read, so nothing to estimate --calibrate batch-norm on")
    return [np.stack(found[i : i + _BATCH]) for i in range(0, len(found), _BATCH)]


def _middles(slide: Slide, tiles: Sequence[Tile], factors: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    unit = stride_for(factors) if len(factors) > 1 else 1
    for tile in tiles:
        side = max(unit, min(_SIDE, tile.width, tile.height) // unit * unit)
        # On the px of the widest image.
        x, y = tile.x + (tile.width - side) // 2 // unit * unit, tile.y + (tile.height - side) // 2 // unit * unit
        try:
            pixels = sample_of(slide, replace(tile, x=x, y=y, width=side, height=side, halo=0), factors)
        except (FormatError, OSError):
            continue  # it is named when its turn comes
        if look_of(pixels[..., :3]) is not None:
            yield pixels
