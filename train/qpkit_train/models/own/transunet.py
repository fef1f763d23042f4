"""TransUNet: a convolutional encoder, a transformer over its coarsest features, a convolutional decoder.

    image ─► ResNet-50, strides 2, 4, 8, 16 ─► 1 x 1 convolution ─► 12 transformer blocks of width 768
                 │      │      │                                         │
                 └──────┴──────┴── skips ──► decoder 512 ─► 256 ─► 128 ─► 64 ─► 16 ─► classes

101.9 million parameters with the defaults. What differs from the published network, which has 105.3 million: its
ResNet has nine blocks in the third stage, group normalisation and standardised weights; this one is the ResNet-50 of
segmentation_models_pytorch, with six blocks there and batch normalisation, so that the ImageNet weights of any encoder
can be taken. The transformer starts from random weights. Positions are learned for one size of image and interpolated
for others.

Source: Chen et al. 2021, TransUNet (R50-ViT-B/16: sizes, skips, decoder); Dosovitskiy et al. 2020 (the blocks).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qpkit_train.machine.torchvision_shim import ensure_torchvision
from qpkit_train.models.own import architecture

_BRIDGE = 512
"""Channels between transformer and decoder."""


def _convolved(channels: int, out: int) -> nn.Sequential:
    """Convolve, normalise and rectify."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class _Transformer(nn.Module):
    """Every place of a feature map attends to every other.

    Args:
        channels: Of the features.
        width: Of the tokens.
        layers, heads, mlp: Transformer blocks, heads of each, and the width between its two linear layers.
        side: Places in a row of the feature map that positions are learned for.
    """

    def __init__(self, channels: int, *, width: int, layers: int, heads: int, mlp: int, side: int) -> None:
        super().__init__()
        ensure_torchvision()
        from timm.models.vision_transformer import Block

        self.embed = nn.Conv2d(channels, width, 1)
        self.positions = nn.Parameter(torch.zeros(1, width, side, side))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(
            *(Block(width, heads, mlp_ratio=mlp / width, qkv_bias=True, proj_drop=0.1) for _ in range(layers))
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, width, h, w)."""
        x = self.embed(x)
        x = x + F.interpolate(self.positions, size=x.shape[-2:], mode="bilinear", align_corners=False)
        tokens: Tensor = self.norm(self.blocks(x.flatten(2).transpose(1, 2)))
        return tokens.transpose(1, 2).reshape(x.shape)


class _Up(nn.Module):
    """Twice the size, a skip beside it, two convolutions."""

    def __init__(self, channels: int, skip: int, out: int) -> None:
        super().__init__()
        self.grow = nn.Upsample(scale_factor=2.0, mode="bilinear")
        self.convolve = nn.Sequential(_convolved(channels + skip, out), _convolved(out, out))

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """(n, channels, h, w), and (n, skip, 2 h, 2 w) if there is one, to (n, out, 2 h, 2 w)."""
        x = self.grow(x)
        found: Tensor = self.convolve(x if skip is None else torch.cat([x, skip], dim=1))
        return found


class TransUNet(nn.Module):
    """Encoder, transformer, decoder.

    Args:
        encoder: Of segmentation_models_pytorch: gives features of every depth, the deepest last.
        transformer: Of the deepest.
        width: Of its answer.
        skips: Channels of the encoder's other features, coarsest first; one fewer than the decoder has stages.
        decoder_channels: Of each stage.
        classes: Channels of the answer.
    """

    def __init__(
        self, encoder: nn.Module, transformer: nn.Module, *, width: int, skips: Sequence[int],
        decoder_channels: Sequence[int], classes: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder, self.transformer = encoder, transformer
        self.bridge = _convolved(width, _BRIDGE)
        widths = pairwise((_BRIDGE, *decoder_channels))
        self.up = nn.ModuleList(
            _Up(before, skip, after) for (before, after), skip in zip(widths, (*skips, 0), strict=True)
        )
        self.segmentation_head = nn.Sequential(nn.Conv2d(decoder_channels[-1], classes, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) to (n, classes, h, w), h and w multiples of the encoder's stride."""
        features = self.encoder(x)
        skips = [*features[-2:0:-1], None]
        x = self.bridge(self.transformer(features[-1]))
        for block, skip in zip(self.up, skips, strict=True):
            x = block(x, skip)
        logits: Tensor = self.segmentation_head(x)
        return logits


@architecture("transunet", has_encoder=True, default_depth=4)
def build_transunet(
    classes: int,
    *,
    encoder: str,
    depth: int,
    width: int = 768,
    layers: int = 12,
    heads: int = 12,
    mlp: int = 3072,
    decoder_channels: Sequence[int] = (256, 128, 64, 16),
    image_px: int = 224,
) -> TransUNet:
    """Build a TransUNet with random weights.

    Args:
        classes: Channels of the answer.
        encoder: Of segmentation_models_pytorch.
        depth: How often it halves the image before the transformer.
        width, layers, heads, mlp: Of the transformer.
        decoder_channels: One for each halving.
        image_px: Side of the images that positions are learned for.

    Raises:
        ValueError: The sizes make no network.
    """
    import segmentation_models_pytorch as smp

    if len(decoder_channels) != depth or min(decoder_channels) < 1:
        raise ValueError(f"transunet takes {depth} decoder_channels, one for each halving of the encoder")
    if min(width, layers, heads, mlp) < 1 or width % heads:
        raise ValueError("transunet takes a width that is a multiple of heads, and at least 1 of layers and mlp")
    if image_px < 2**depth or image_px % 2**depth:
        raise ValueError(f"transunet takes an image_px that is a multiple of {2**depth}")
    strides = (
        f"{encoder} does not have features of strides 2 to {2**depth}; take another model.encoder, such as resnet50"
    )
    try:
        body = smp.encoders.get_encoder(encoder, in_channels=3, depth=depth, weights=None)
    except (ValueError, RuntimeError, NotImplementedError) as err:
        raise ValueError(strides) from err
    if not all(body.out_channels) or len(body.out_channels) != depth + 1:
        raise ValueError(strides)
    # Of a ResNet that stops before its last stage; it would be counted, kept and never used.
    if depth < 5 and hasattr(body, "layer4"):
        del body.layer4
    transformer = _Transformer(
        body.out_channels[-1], width=width, layers=layers, heads=heads, mlp=mlp, side=image_px // 2**depth
    )
    skips = body.out_channels[-2:0:-1]
    return TransUNet(body, transformer, width=width, skips=skips, decoder_channels=decoder_channels, classes=classes)
