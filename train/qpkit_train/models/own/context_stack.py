"""Tile and surroundings stacked in channels, and any network of segmentation_models_pytorch on top: the plain way.

Its first convolution mixes px that lie on each other and show different places; only the middle ones show the same.
Published weights of an encoder are for three channels: each image takes them, divided by the number of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from qpkit_train.models.own import ANY, architecture


@architecture("context-stack", has_encoder=True, default_depth=5, images=(2, ANY))
def build_context_stack(
    classes: int, *, encoder: str, depth: int, factors: Sequence[int], base: str = "unet", **options: Any
) -> nn.Module:
    """Build a network of the library, named by `base`, that takes all images of a sample."""
    import segmentation_models_pytorch as smp

    network: nn.Module = smp.create_model(
        base,
        encoder_name=encoder,
        encoder_weights=None,
        encoder_depth=depth,
        in_channels=3 * len(factors),
        classes=classes,
        **options,
    )
    return network
