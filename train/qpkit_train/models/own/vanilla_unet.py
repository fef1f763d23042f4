"""Vanilla U-Net: convolutions down, transposed convolutions up, joined across. It starts from random weights, always.

31.0 million parameters with the defaults, which are the channels of the first U-Net. Where that one loses a border in
every convolution and is fed a larger image, this one pads, and it has batch normalisation, which came later.

Source: Ronneberger et al. 2015, U-Net (channels, four halvings, transposed convolutions).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from qpkit_train.models.own import architecture


def _twice(channels: int, out: int) -> nn.Sequential:
    """Convolve, normalise and rectify, two times: (n, channels, h, w) to (n, out, h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


class VanillaUNet(nn.Module):
    """Two convolutions a stage, the largest of 2 x 2 px between stages, transposed convolutions back.

    Args:
        classes: Channels of the answer.
        channels: Of each stage, finest first; the image is halved between them, so 6 at most.
    """

    def __init__(self, classes: int, *, channels: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(_twice(before, after) for before, after in pairwise((3, *channels)))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairwise(channels))
        self.up = nn.ModuleList(_twice(2 * fine, fine) for fine in channels[:-1])
        self.pool = nn.MaxPool2d(2)
        self.segmentation_head = nn.Sequential(nn.Conv2d(channels[0], classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) to (n, classes, h, w), h and w multiples of 2 ** (stages - 1)."""
        kept: list[Tensor] = []
        for number, block in enumerate(self.down):
            x = block(self.pool(x) if number else x)
            kept.append(x)
        for number in reversed(range(len(self.up))):
            x = self.up[number](torch.cat([kept[number], self.grow[number](x)], dim=1))
        logits: Tensor = self.segmentation_head(x)
        return logits


@architecture("vanilla-unet", has_encoder=False)
def build_vanilla_unet(classes: int, *, channels: Sequence[int] = (64, 128, 256, 512, 1024)) -> VanillaUNet:
    """Build a VanillaUNet.

    Raises:
        ValueError: The sizes make no network.
    """
    if not 2 <= len(channels) <= 6 or min(channels) < 1:
        raise ValueError("vanilla-unet takes 2 to 6 stages of channels, each at least 1")
    return VanillaUNet(classes, channels=channels)
