"""The forward pass, written once: normalise, pad, run, crop. Training, validation, inference and ONNX go through it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.data.normalization import Normalization, normalize
from qpkit_train.models.card import STRIDE

Network = Callable[[Tensor], Tensor | tuple[Tensor, ...]]
"""Maps (n, 3, h, w) float to logits for every h and w that are multiples of STRIDE. In training it may give a tuple:
these logits, then coarser ones of half the size each."""


def forward(network: Network, pixels: Tensor, normalization: Normalization) -> Tensor:
    """Run a network on pixels.

    Args:
        network: As above; of several answers the finest counts.
        pixels: (n, 3, h, w) float32 RGB in 0..1, on the network's device.
        normalization: What the network was, or will be, trained with.

    Returns:
        (n, classes, h, w) float32 logits, h and w rounded up to multiples of STRIDE (see `padded_targets`, `cropped`);
        (n, classes, 1, 1) of a tile classifier.
    """
    return run_network(network, normalize(pixels, normalization))


def forward_levels(network: Network, pixels: Tensor, normalization: Normalization) -> tuple[Tensor, ...]:
    """As `forward`, with every answer of a network in training, finest first."""
    return _answers(network, normalize(pixels, normalization))


def run_network(network: Network, images: Tensor) -> Tensor:
    """Run a network on what is normalised already; the rest is as in `forward`."""
    return _answers(network, images)[0]


def _answers(network: Network, images: Tensor) -> tuple[Tensor, ...]:
    if any(pad := _padding(images)):
        images = F.pad(images, pad)
    found = network(images.contiguous(memory_format=torch.channels_last))
    return tuple(level.float() for level in found) if isinstance(found, tuple) else (found.float(),)


def padded_targets(targets: Tensor) -> Tensor:
    """Pad (n, h, w) class indices as `forward` pads pixels: nothing is known there (IGNORE_INDEX)."""
    pad = _padding(targets)
    return F.pad(targets, pad, value=IGNORE_INDEX) if any(pad) else targets


def cropped(logits: Tensor, *, height: int, width: int, halo: int = 0) -> Tensor:
    """Take from (n, classes, h, w) the height x width px that were asked about, `halo` px thrown away on each side."""
    return logits[..., halo : height - halo, halo : width - halo]


def _padding(images: Tensor) -> tuple[int, int, int, int]:
    """Columns and rows that are missing on the right and at the bottom, as F.pad takes them."""
    height, width = images.shape[-2:]
    return 0, -width % STRIDE, 0, -height % STRIDE
