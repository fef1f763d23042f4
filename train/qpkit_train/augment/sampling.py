"""Moves of image and mask together, by one sampling grid.

A place is where an output pixel's centre lies in the source, (x, y) in px from its upper left edge: pixel i has its
centre at i + 0.5. The moves follow one another in it, so that the image is interpolated only once; the mask takes the
pixel that holds the place, so that no label is made up. Outside of the source the mask is IGNORE_INDEX and the image is
mirrored at its edge. None of them folds tissue over itself.

A sample's wider images are moved by the same moves: each of their pixels is asked for where it lies among the tile's
px, around the common centre, also beyond the tile. So a place of the slide is at the same um in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.augment.random import Stream
from qpkit_train.augment.transforms import Drawn, Move, of_kind
from qpkit_train.recipe.settings import AugmentConfig


@dataclass(frozen=True, slots=True)
class SamplingGrid:
    """Where the pixels of m images come from.

    Args:
        x, y: (m, width) and (m, height) float64, of whole columns and rows: what moves these comes first.
        across, down: x and y of every pixel, float32 tensors that broadcast to (m, height, width).
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    across: Tensor
    down: Tensor

    @classmethod
    def on_axes(cls, x: NDArray[np.float64], y: NDArray[np.float64], device: torch.device) -> SamplingGrid:
        """SamplingGrid of which a column has one x and a row one y."""
        across, down = (torch.from_numpy(v).float().to(device) for v in (x[:, np.newaxis, :], y[:, :, np.newaxis]))
        return cls(x, y, across, down)

    def at(self, across: Tensor, down: Tensor) -> SamplingGrid:
        """The same columns and rows, every pixel somewhere else."""
        return replace(self, across=across, down=down)


def moves_of(config: AugmentConfig) -> list[Move]:
    """The moves of a recipe, in their order in the sampling grid."""
    return sorted(of_kind(Move, config), key=lambda move: move.turn)


def reach(config: AugmentConfig, side: int) -> int:
    """How far beyond a crop of `side` px its pixels may come from, px."""
    half = side / 2
    for move in moves_of(config):
        half = move.reach(half, side)
    return math.ceil(half - side / 2)


def warp(
    images: Tensor,
    targets: Tensor,
    config: AugmentConfig,
    stream: Stream,
    *,
    margin: int = 0,
    factors: Sequence[int] = (1,),
) -> tuple[Tensor, Tensor]:
    """Move image and mask by one sampling grid.

    Args:
        images: (n, 3 k, h + 2 margin, w + 2 margin) float32.
        targets: (n, h + 2 margin, w + 2 margin) uint8.
        config: Which moves, and how far.
        stream: Random numbers.
        margin: px on each side that are there to be moved into the crop; `reach` is enough.
        factors: How many times their surroundings the k images show, 1 first.

    Returns:
        (n, 3 k, h, w) and (n, h, w) of the same types; images that nothing fell on keep their bits.
    """
    crops, masks = without_margin(images, margin), without_margin(targets, margin)
    count, (height, width) = len(masks), masks.shape[-2:]
    drawn = [move.draw(count, height, width, stream) for move in moves_of(config)]
    chosen = np.flatnonzero(np.any([part.moved for part in drawn], axis=0))
    if not len(chosen):
        return crops, masks
    at = torch.from_numpy(chosen).to(images.device)
    found = [places_of(drawn, chosen, height, width, device=images.device, factor=factor) for factor in factors]
    places = [(x + margin, y + margin) for x, y in found]
    parts = images[at].chunk(len(factors), dim=1)
    moved = [sample_image(part, x, y) for part, (x, y) in zip(parts, places, strict=True)]
    return (
        crops.index_copy(0, at, moved[0] if len(moved) == 1 else torch.cat(moved, dim=1)),
        masks.index_copy(0, at, sample_mask(targets[at], *places[0])),
    )


def without_margin(batch: Tensor, margin: int) -> Tensor:
    """The middle of (..., h + 2 margin, w + 2 margin)."""
    height, width = batch.shape[-2:]
    return batch[..., margin : height - margin, margin : width - margin]


def places_of(
    drawn: Sequence[Drawn],
    chosen: NDArray[np.int64],
    height: int,
    width: int,
    *,
    device: torch.device,
    factor: int = 1,
) -> tuple[Tensor, Tensor]:
    """Where the pixels of the chosen images come from: x and y, (m, height, width) float32 each.

    Args:
        drawn: In px of the tile.
        chosen: Which images.
        height, width: Of them.
        device: To work on.
        factor: How many times its surroundings they show; places are in px of theirs.
    """
    x, y = (
        np.tile(length / 2 + (np.arange(length) + 0.5 - length / 2) * factor, (len(chosen), 1))
        for length in (width, height)
    )
    places = SamplingGrid.on_axes(x, y, device)
    for part in drawn:
        places = part.lead(places, chosen)
    shape = len(chosen), height, width
    across, down = places.across.expand(shape), places.down.expand(shape)
    if factor == 1:
        return across, down
    return width / 2 + (across - width / 2) / factor, height / 2 + (down - height / 2) / factor


def sample_image(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Interpolate (n, c, h, w) float between its pixels (bilinear), mirrored at the edges."""
    height, width = images.shape[-2:]
    places = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], dim=-1)
    return F.grid_sample(images, places, mode="bilinear", padding_mode="reflection", align_corners=False)


def sample_beside(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Take (n, c, h, w) from so many px further right and down, (n,) or (n, h, w) each; mirrored at the edges."""
    count, _, height, width = images.shape
    x, y = (torch.arange(side, device=images.device, dtype=images.dtype) + 0.5 for side in (width, height))
    right, below = (part.view(count, *part.shape[1:] or (1, 1)) for part in (across, down))
    shape = count, height, width
    return sample_image(images, (x + right).expand(shape), (y.unsqueeze(-1) + below).expand(shape))


def sample_mask(targets: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Take from (n, h, w) uint8 the pixels that hold the places (n, rows, columns); IGNORE_INDEX outside."""
    height, width = targets.shape[-2:]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, row = x.clamp(0, width - 1).long(), y.clamp(0, height - 1).long()
    taken = targets.flatten(1).gather(1, (row * width + column).flatten(1)).view_as(row)
    return taken.masked_fill(~inside, IGNORE_INDEX)
