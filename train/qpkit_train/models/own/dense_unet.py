"""Dense U-Net: a U-Net whose stages are densely connected blocks. It starts from random weights, always.

In a dense block every layer sees the outputs of all layers before it, so that few channels per layer (`growth`) are
enough: 2.1 million parameters with the defaults, where a U-Net with a ResNet34 encoder has 24 million.

Source: Huang et al. 2017, Densely Connected Convolutional Networks (the block, the transition); Ronneberger et al.
2015, U-Net (the shape); named in the BCSS comparison without its sizes, which are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from qpkit_train.models.own import architecture


class _Layer(nn.Sequential):
    """Normalise, rectify, convolve: any number of channels to `growth`."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, growth, 3, padding=1, bias=False))


class _DenseBlock(nn.Module):
    """Layers that each see everything before them; then a 1 x 1 convolution brings the channels down."""

    def __init__(self, channels: int, out: int, *, layers: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(channels + i * growth, growth) for i in range(layers))
        whole = channels + layers * growth
        self.squeeze = nn.Sequential(nn.BatchNorm2d(whole), nn.ReLU(), nn.Conv2d(whole, out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, out, h, w)."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        squeezed: Tensor = self.squeeze(x)
        return squeezed


class DenseUNet(nn.Module):
    """Dense blocks down and up, joined across at equal sizes.

    Args:
        classes: Channels of the answer.
        channels: Of each stage, finest first; the image is halved between them, so 6 at most.
        layers: Of each block.
        growth: Channels that a layer adds.
    """

    def __init__(self, classes: int, *, channels: Sequence[int], layers: int, growth: int) -> None:
        super().__init__()
        block = {"layers": layers, "growth": growth}
        self.stem = nn.Conv2d(3, channels[0], 3, padding=1, bias=False)
        first = _DenseBlock(channels[0], channels[0], **block)
        self.down = nn.ModuleList([first, *(_DenseBlock(fine, coarse, **block) for fine, coarse in pairwise(channels))])
        self.up = nn.ModuleList(_DenseBlock(fine + coarse, fine, **block) for fine, coarse in pairwise(channels))
        self.pool = nn.AvgPool2d(2)
        self.grow = nn.Upsample(scale_factor=2.0, mode="bilinear")
        self.segmentation_head = nn.Sequential(
            nn.BatchNorm2d(channels[0]), nn.ReLU(), nn.Conv2d(channels[0], classes, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) to (n, classes, h, w), h and w multiples of 2 ** (stages - 1)."""
        x = self.stem(x)
        kept: list[Tensor] = []
        for number, block in enumerate(self.down):
            x = block(self.pool(x) if number else x)
            kept.append(x)
        for number in reversed(range(len(self.up))):
            x = self.up[number](torch.cat([kept[number], self.grow(x)], dim=1))
        logits: Tensor = self.segmentation_head(x)
        return logits


@architecture("dense-unet", has_encoder=False)
def build_dense_unet(
    classes: int, *, channels: Sequence[int] = (48, 96, 144, 192, 240), layers: int = 4, growth: int = 24
) -> DenseUNet:
    """Build a DenseUNet.

    Raises:
        ValueError: The sizes make no network.
    """
    if not 2 <= len(channels) <= 6 or min(channels) < 1 or layers < 1 or growth < 1:
        raise ValueError("dense-unet takes 2 to 6 stages of channels, and at least 1 layer and 1 channel of growth")
    return DenseUNet(classes, channels=channels, layers=layers, growth=growth)
