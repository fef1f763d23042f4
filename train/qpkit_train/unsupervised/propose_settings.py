"""What is asked of proposals. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from qpkit.settings import Flag, Range, Settings

Method = Literal[
    "felzenszwalb",
    "unsegarmanet",
    "unsegarmanet-tokens",
    "vade",
    "vade-convolutional",
    "kmeans",
    "kmeans-texture",
    "superpixels",
]

_LEARNING: Final = ("unsegarmanet", "unsegarmanet-tokens", "vade", "vade-convolutional")
"""Methods with epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeSettings(Settings):
    """How tissue is divided that nobody has annotated.

    Args:
        method: felzenszwalb (segments of eight scales and templates of tissue), unsegarmanet (patches that look alike,
            divided by a graph network), unsegarmanet-tokens (the same for each square of 224 px by itself, a token
            every 4 px, so that numbers mean something in that square only), vade (patches, by an autoencoder with a
            mixture of Gaussians), vade-convolutional (ours), or a baseline: kmeans (colour), kmeans-texture,
            superpixels.
        clusters: Proposals, at most; "Proposed: 1" is the darkest.
        mpp: um per px at which slides are looked at.
        patch_px: Side of the patches of unsegarmanet and vade, px.
        stride_px: Px from one patch to the next.
        features: What unsegarmanet compares: dino, dino:PATH, run:DIR (also of qpkit pretrain), or ENCODER:WEIGHTS such
            as resnet34:imagenet.
        features_px: Side that patches are resized to for it; 224 for transformers, as published, and as they are for
            others, if nothing is said. 0 is as they are, which takes a transformer a sixth of the time.
        across_slides: Of unsegarmanet, so many patches of other slides that each is joined with, the most alike ones;
            with 0, as published for single pictures, each slide is divided by itself, and a number means other tissue
            on the next.
        epochs: Of unsegarmanet (100), its tokens (20) and vade (50).
        templates: Of felzenszwalb, classes of annotations that show what each cluster looks like, one a cluster
            (repeatable); without them typical pieces of tissue are taken.
        strength: Of felzenszwalb, what templates count against segments (the lambda of its likelihoods).
        only_tissue: Leave glass out, or divide everything.
        min_area_um2: Smaller areas become their surroundings when outlines are drawn.
        simplify_um: How far outlines may move in simplifying.
        seed: Of whatever is drawn.
    """

    method: Method = "unsegarmanet"
    clusters: Annotated[int, Range(at_least=2, at_most=100)] = 4
    mpp: Annotated[float, Range(above=0)] = 0.5
    patch_px: Annotated[int, Range(at_least=8)] = 96
    stride_px: Annotated[int, Range(at_least=1)] = 64
    features: str = "dino"
    features_px: Annotated[int | None, Range(at_least=0, at_most=1024)] = None
    across_slides: Annotated[int, Range(at_least=0, at_most=100)] = 5
    epochs: Annotated[int | None, Range(at_least=1)] = None
    templates: Annotated[tuple[str, ...], Flag(metavar="CLASS")] = ()
    strength: Annotated[float, Range(at_least=0)] = 3.0
    only_tissue: Annotated[bool, Flag(name="--only-tissue/--everything")] = True
    min_area_um2: Annotated[float, Range(at_least=0)] = 2000.0
    simplify_um: Annotated[float, Range(at_least=0)] = 2.0
    seed: Annotated[int, Range(at_least=0)] = 0

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if self.stride_px > self.patch_px:
            yield f"--stride-px {self.stride_px} leaves gaps between patches of {self.patch_px} px"
        if self.templates and self.method != "felzenszwalb":
            yield f"--templates goes with --method felzenszwalb, not {self.method}"
        if self.templates and len(self.templates) != self.clusters:
            yield f"{len(self.templates)} --templates are not one for each of {self.clusters} clusters; say --clusters"
        if self.epochs is not None and self.method not in _LEARNING:
            yield f"--epochs: {self.method} has none"


DEFAULT_PROPOSE: Final = ProposeSettings()
