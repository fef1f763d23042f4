"""The plain U-Net that nnU-Net configures: instance normalisation, leaky ReLU, steps of two pixels, deep supervision.

In training it answers at several sizes, each half of the one before it, and every answer is scored; what predicts is
the finest alone. How many stages, and how wide, `qpkit_train.planning` works out from the tiles. 20.6 million
parameters with the defaults, which are the plan for tiles of 224 px.

What differs from nnU-Net: images are padded to multiples of 32, so there are six stages at most, where its plan for
512 px has eight; and the coarsest answer, which nnU-Net makes and weighs with 0, is not made.

Source: Isensee et al. 2021, nnU-Net (blocks, channels, supervision).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from qpkit_train.models.own import architecture

_SLOPE = 0.01
"""Of the leaky ReLU."""


def _twice(channels: int, out: int, *, stride: int = 1) -> nn.Sequential:
    """Convolve, normalise and rectify, two times: (n, channels, h, w) to (n, out, h / stride, w / stride)."""
    layers: list[nn.Module] = []
    for before, step in ((channels, stride), (out, 1)):
        layers += [
            nn.Conv2d(before, out, 3, padding=1, stride=step),
            nn.InstanceNorm2d(out, affine=True),
            nn.LeakyReLU(_SLOPE, inplace=True),
        ]
    return nn.Sequential(*layers)


class NnUNet(nn.Module):
    """Two convolutions a stage, transposed convolutions back, answers at all stages but the coarsest two.

    Args:
        classes: Channels of each answer.
        channels: Of each stage, finest first; the image is halved between them, so 6 at most.
        deep_supervision: Whether coarser answers are made in training.
    """

    def __init__(self, classes: int, *, channels: Sequence[int], deep_supervision: bool) -> None:
        super().__init__()
        strides = (1, *(2 for _ in channels[1:]))
        widths = zip(pairwise((3, *channels)), strides, strict=True)
        self.down = nn.ModuleList(_twice(before, after, stride=stride) for (before, after), stride in widths)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairwise(channels))
        self.up = nn.ModuleList(_twice(2 * fine, fine) for fine in channels[:-1])
        coarser = channels[1:-2] if deep_supervision else ()
        self.coarser_heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in coarser)
        self.segmentation_head = nn.Sequential(nn.Conv2d(channels[0], classes, 1))
        self.apply(_start)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(n, 3, h, w) to (n, classes, h, w), h and w multiples of 2 ** (stages - 1) and more than that.

        In training with deep supervision a tuple: this, then (n, classes, h / 2, w / 2), and so on.

        Raises:
            ValueError: The coarsest stage would be a single pixel, of which no deviation can be taken.
        """
        # A network that is traced for ONNX is one for all sizes.
        if not torch.onnx.is_in_onnx_export() and x.shape[-1] * x.shape[-2] <= 4 ** len(self.up):
            raise ValueError(
                f"{len(self.down)} stages leave a single pixel; fewer model.options.channels, larger crops"
            )
        kept: list[Tensor] = []
        for block in self.down:
            x = block(x)
            kept.append(x)
        coarser: list[Tensor] = []
        for number in reversed(range(len(self.up))):
            x = self.up[number](torch.cat([kept[number], self.grow[number](x)], dim=1))
            if self.training and 0 < number <= len(self.coarser_heads):
                coarser.append(self.coarser_heads[number - 1](x))
        logits: Tensor = self.segmentation_head(x)
        return (logits, *reversed(coarser)) if coarser else logits


def _start(layer: nn.Module) -> None:
    """Weights as He et al. 2015 draw them for this slope, biases 0."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@architecture("nnunet", has_encoder=False)
def build_nnunet(
    classes: int, *, channels: Sequence[int] = (32, 64, 128, 256, 512, 512), deep_supervision: bool = True
) -> NnUNet:
    """Build an NnUNet.

    Raises:
        ValueError: The sizes make no network.
    """
    if not 2 <= len(channels) <= 6 or min(channels) < 1:
        raise ValueError("nnunet takes 2 to 6 stages of channels, each at least 1")
    return NnUNet(classes, channels=channels, deep_supervision=deep_supervision)
