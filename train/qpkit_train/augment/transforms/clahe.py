"""Contrast-limited adaptive histogram equalisation (Pizer et al. 1987, Zuiderveld 1994) of whole batches.

Written here because kornia 0.9's takes several times as long and changes a grey ramp by 6 % at a clip limit of 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import numpy as np

from qpkit.settings import FRACTION, Range
from qpkit_train.augment.random import Stream, chosen_of, like, replaced
from qpkit_train.augment.transforms import Recolor
from qpkit_train.luma import LUMA

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CELLS: Final = 8
"""Cells each way, each with a histogram of its own."""

_LEVELS: Final = 256

_HALVINGS: Final = 16
"""Of the interval in which the gift to all levels is sought."""


class Clahe(Recolor, frozen=True, kw_only=True):
    """Contrast-limited adaptive histogram equalisation of the luma; what it gains, red, green and blue gain alike.

    Args:
        clahe: In 8 x 8 cells; clip limits (how much steeper contrasts may become) from 1, which changes nothing, to
            this, 1..10.
        clahe_p: Probability of it.
    """

    clahe: Annotated[float, Range(at_least=0, at_most=10)] = 0.0
    clahe_p: Annotated[float, FRACTION] = 0.5

    place: ClassVar = 80
    stream: ClassVar = ("clahe", 6)
    shown: ClassVar = (("clahe", "local equalisation, clip limits up to {:g}", "clahe_p"),)

    def faults(self) -> Iterator[str]:
        """Name a clip limit below that which changes nothing."""
        if 0 < self.clahe < 1:
            yield f"augment.clahe = {self.clahe} has to be 0 or in 1..10"

    def apply(self, images: Tensor, stream: Stream) -> Tensor:
        """Equalise some of (n, 3, h, w) in 0..1."""
        if not self.clahe:
            return images
        rng = stream("clahe")
        chosen = chosen_of(rng, len(images), self.clahe_p)
        limits = rng.uniform(1, self.clahe, len(images))
        return replaced(images, chosen, lambda part: _equalized(part, like(limits[chosen], part)))


def _equalized(images: Tensor, limits: Tensor) -> Tensor:
    import torch

    weights = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
    luma = (images * weights).sum(dim=1)
    return (images + (equalized_luma(luma, limits) - luma).unsqueeze(1)).clamp(0, 1)


def equalized_luma(luma: Tensor, limits: Tensor) -> Tensor:
    """Equalise each cell's histogram and blend between the cells.

    Args:
        luma: (n, h, w) float32 in 0..1.
        limits: (n,) how many times the mean a level may count, at least 1; no contrast grows by
            more; at 1 nothing changes but by rounding, at 256 nothing is clipped.

    Returns:
        (n, h, w) float32 in 0..1.
    """
    import torch

    count, height, width = luma.shape
    level = (luma * (_LEVELS - 1)).round().long()
    curves = _curves(level, limits)
    row, column = (_between(length, luma.device) for length in (height, width))
    result = torch.zeros_like(luma)
    for down, fraction_down in row:
        for across, fraction_across in column:
            cell = down.view(-1, 1) * CELLS + across.view(1, -1)
            at = (cell * _LEVELS + level).flatten(1)
            result += fraction_down.view(-1, 1) * fraction_across * curves.gather(1, at).view(count, height, width)
    return result


def _curves(level: Tensor, limits: Tensor) -> Tensor:
    """(n, CELLS * CELLS * 256): the new luma by cell and level, the middle of the level's part of the sum."""
    import torch
    import torch.nn.functional as F

    count, height, width = level.shape
    padded = F.pad(level.float().unsqueeze(1), (0, -width % CELLS, 0, -height % CELLS), mode="replicate").long()
    rows, columns = padded.shape[-2] // CELLS, padded.shape[-1] // CELLS
    cells = padded.view(count, CELLS, rows, CELLS, columns).transpose(2, 3).reshape(count * CELLS**2, rows * columns)
    # One bincount for all cells: each has 256 numbers of its own.
    offset = torch.arange(len(cells), device=level.device).view(-1, 1) * _LEVELS
    counts = torch.bincount((cells + offset).flatten(), minlength=len(cells) * _LEVELS).view(-1, _LEVELS)
    fraction = counts.float() / (rows * columns)
    most = limits.repeat_interleave(CELLS**2).view(-1, 1) / _LEVELS
    kept = _clipped(fraction, most)
    total = kept.cumsum(dim=1)
    # Scaled so that a flat histogram changes nothing: level k becomes k / 255.
    middle = (total - kept / 2) * (_LEVELS / (_LEVELS - 1)) - 0.5 / (_LEVELS - 1)
    return middle.clamp(0, 1).view(count, -1)


def _clipped(fraction: Tensor, most: Tensor) -> Tensor:
    """Cut (cells, 256) fractions off at `most`; what was cut off goes to all levels alike, as far as they have room."""
    import torch

    low, high = torch.zeros_like(most), torch.full_like(most, 1 / _LEVELS)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_too_little = (fraction + middle).minimum(most).sum(dim=1, keepdim=True) < 1
        low, high = torch.where(is_too_little, middle, low), torch.where(is_too_little, high, middle)
    kept = (fraction + high).minimum(most)
    return kept / kept.sum(dim=1, keepdim=True)


def _between(length: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """The two cells around each of `length` pixels, and their fractions; at the edges both are the last cell."""
    import torch

    side = -(-length // CELLS)
    place = (np.arange(length) + 0.5) / side - 0.5
    first = np.floor(place)
    fraction = torch.from_numpy(place - first).float().to(device)
    low, high = (torch.from_numpy(first + i).long().clamp(0, CELLS - 1).to(device) for i in (0, 1))
    return [(low, 1 - fraction), (high, fraction)]
