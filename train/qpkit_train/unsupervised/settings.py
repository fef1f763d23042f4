"""How tissue is clustered. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from qpkit.settings import FRACTION, Range, Settings

Variant = Literal["dense", "convolutional"]

_CONVOLVED: Final = 16
"""What four convolutions of stride 2 divide a side by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VadeSettings(Settings):
    """How VaDE clusters patches (Jiang et al. 2017, arXiv 1611.05148).

    Args:
        variant: "dense" (linear layers, as published) or "convolutional" (ours, four convolutions of stride 2).
        side_px: Side to which patches are resized before the network sees them.
        latent: Numbers that describe a patch.
        hidden: Width of both hidden layers of the dense encoder and decoder.
        lr: Learning rate of Adam.
        batch_size: Patches a step.
        epochs: Passes over all patches with the whole loss.
        pretrain_epochs: Passes before them as a plain autoencoder.
        reconstruction: Weight of the squared error, summed over the values of a patch, beside the divergence in nats:
            a Gaussian likelihood of variance 1 / (2 reconstruction). 1 is what the authors' code has.
        components: Principal components of the raw pixels on which k-means finds the first clusters.
        most_patches: Patches that are learned from, at most; the others are assigned afterwards.
    """

    variant: Variant = "dense"
    side_px: Annotated[int, Range(at_least=16, at_most=256)] = 64
    latent: Annotated[int, Range(at_least=1, at_most=512)] = 10
    hidden: Annotated[int, Range(at_least=1, at_most=8192)] = 500
    lr: Annotated[float, Range(above=0, at_most=1)] = 1e-4
    batch_size: Annotated[int, Range(at_least=2)] = 32
    epochs: Annotated[int, Range(at_least=1)] = 50
    pretrain_epochs: Annotated[int, Range(at_least=0)] = 10
    reconstruction: Annotated[float, Range(above=0)] = 1.0
    components: Annotated[int, Range(at_least=1, at_most=256)] = 50
    most_patches: Annotated[int, Range(at_least=2)] = 20_000

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if self.variant == "convolutional" and self.side_px % _CONVOLVED:
            yield f"side_px = {self.side_px} has to be a multiple of {_CONVOLVED} for the convolutional variant"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSettings(Settings):
    """How UnSeGArmaNet clusters patches, or the tokens of a picture (Reddy et al. 2024, BMVC).

    Args:
        patch_px: Side of a patch.
        stride_px: From one patch to the next.
        similarity: Patches are joined whose features have a cosine above this,
        distance_px: and whose centres are nearer than this.
        join_fraction: Instead of those above a fixed similarity, join this fraction of the near patches, the most alike
            ones: for encoders that find all tissue alike, or none; 0 takes the similarity.
        centre: Take the mean of all features off first: for encoders whose features are all positive, so that every
            cosine is near 1.
        across_slides: So many most similar patches of other slides that each patch is joined with, whatever the
            distance, if they are above the similarity; 0 joins none.
        stacks: Filters of the ARMA layer, side by side; their mean counts.
        layers: Recursions of each filter.
        channels: Width of the ARMA layer's answer.
        hidden: Width of the linear layer after it.
        dropout: Of the features that enter each recursion anew.
        lr: Learning rate of Adam.
        epochs: Steps, each over all patches.
        picture_epochs: Steps for a single picture.
    """

    patch_px: Annotated[int, Range(at_least=8)] = 96
    stride_px: Annotated[int, Range(at_least=1)] = 64
    similarity: Annotated[float, Range(at_least=-1, below=1)] = 0.8
    distance_px: Annotated[float, Range(above=0)] = 200.0
    join_fraction: Annotated[float, FRACTION] = 0.0
    centre: bool = False
    across_slides: Annotated[int, Range(at_least=0, at_most=100)] = 0
    stacks: Annotated[int, Range(at_least=1, at_most=16)] = 2
    layers: Annotated[int, Range(at_least=1, at_most=16)] = 4
    channels: Annotated[int, Range(at_least=1, at_most=4096)] = 64
    hidden: Annotated[int, Range(at_least=1, at_most=4096)] = 64
    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.0
    lr: Annotated[float, Range(above=0, at_most=1)] = 1e-3
    epochs: Annotated[int, Range(at_least=1)] = 100
    picture_epochs: Annotated[int, Range(at_least=1)] = 20

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if self.stride_px > self.patch_px:
            yield f"stride_px = {self.stride_px} leaves gaps between patches of {self.patch_px} px"


DEFAULT_VADE: Final = VadeSettings()
DEFAULT_GRAPH: Final = GraphSettings()
