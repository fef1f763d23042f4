"""Parts of networks with several branches: blocks of a U-Net, and what keeps branches aligned."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DoubleConvolution(nn.Sequential):
    """Convolve 3 x 3, normalise and rectify, twice."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(*_convolution(channels, out, 3), *_convolution(out, out, 3))


class PointConvolutions(nn.Sequential):
    """Stepwise 1 x 1 convolutions through some numbers of channels, each normalised and rectified: px stay apart."""

    def __init__(self, *channels: int) -> None:
        super().__init__(*(part for before, after in pairwise(channels) for part in _convolution(before, after, 1)))


class Up(nn.Module):
    """Double height and width, put what was kept on the way down beside it, convolve."""

    def __init__(self, channels: int, kept: int, out: int) -> None:
        super().__init__()
        self.grow = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.convolve = DoubleConvolution(channels + kept, out)

    def forward(self, x: Tensor, kept: Tensor | None) -> Tensor:
        """(n, channels, h, w) and (n, kept, 2 h, 2 w) to (n, out, 2 h, 2 w)."""
        x = self.grow(x)
        found: Tensor = self.convolve(x if kept is None else torch.cat([x, kept], dim=1))
        return found


def _convolution(channels: int, out: int, side: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(channels, out, side, padding=side // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()


def aligned_depth(depth: int, factor: float) -> int:
    """How often a wide image is halved where its px are as wide as those of a finer one that is halved `depth` times.

    um/px x 2^depth agrees there.

    Args:
        depth: Of the finer one.
        factor: How many times as wide the px of the wide one are.

    Raises:
        ValueError: They agree nowhere.
    """
    halvings = math.log2(factor)
    if not halvings.is_integer() or halvings > depth:
        raise ValueError(
            f"um/px x 2^depth of its branches agree nowhere: factors between model.context have to be powers of 2, at "
            f"most {2**depth}, not {factor:g}"
        )
    return depth - int(halvings)


def middle_of(features: Tensor, factor: int) -> Tensor:
    """The middle of (n, c, h, w), 1 / factor of h and w: where the tile is in `factor` times its surroundings."""
    height, width = features.shape[-2:]
    rows, columns = height // factor, width // factor
    top, left = (height - rows) // 2, (width - columns) // 2
    return features[..., top : top + rows, left : left + columns]


def as_the_tile(features: Tensor, factor: int) -> Tensor:
    """The middle of (n, c, h, w) surroundings resized to h x w: what they say of the tile, px on px."""
    return F.interpolate(middle_of(features, factor), scale_factor=float(factor), mode="bilinear", align_corners=False)
