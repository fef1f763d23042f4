"""Two U-Nets, one for the tile and one for its surroundings: context goes into the tile's, pixel on pixel.

- Both have an encoder of segmentation_models_pytorch, by default each its own.
- What the wide one decodes where its um/px are those of the tile's second-last encoder block is compressed stepwise by
  1 x 1 convolutions and merged there, by further 1 x 1 convolutions, px on the px that shows the same place. What a px
  carries has seen far into the surroundings on its way down and up.
- In the end the wide one's answer is cut to the tile, resized, put beside the tile's, and 1 x 1 convolutions decide.

Ours where the document is silent or says two things: it says that nothing is cropped away and that px are aligned;
here the px around the tile give what they know through the wide U-Net, and those that lie under the tile are merged.
The merged block goes to the tile's decoder; encoders of a library give all blocks at once, so the last one does not
see it. Sizes of decoders and of 1 x 1 convolutions are ours.

Source: a published multi-stain multi-resolution network for breast tissue (EfficientNet-B4 for both, patches of 512 px
at pyramid levels 1 and 3, that is surroundings of 4 times; levels 0/2 are 4 times, 0/3 and 1/4 are 8 times).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qpkit_train.models.own import architecture
from qpkit_train.models.parts import PointConvolutions, Up, aligned_depth, as_the_tile, middle_of

_DECODER = (256, 128, 64, 32, 16)
"""Channels of decoders, deepest first; shallower encoders take the last ones."""

_MIXED = 16
"""Channels between the two answers and the one."""


class _Decoder(nn.Module):
    """The way up of a U-Net, which gives what it decodes at every depth."""

    def __init__(self, encoder_channels: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        skips = [*encoder_channels[1:-1][::-1], 0]
        before = [encoder_channels[-1], *channels[:-1]]
        self.up = nn.ModuleList(Up(*sizes) for sizes in zip(before, skips, channels, strict=True))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """An encoder's features, finest first, to (n, c, h / 2^d, w / 2^d) by depth d, without the deepest."""
        found = [features[-1]]
        for kept, up in zip([*features[1:-1][::-1], None], self.up, strict=True):
            found.append(up(found[-1], kept))
        return found[:0:-1]


class MultiResolution(nn.Module):
    """See the module.

    Args:
        classes: Channels of the answer.
        encoder: Of the tile's U-Net.
        context_encoder: Of the other one; None if both share one.
        factor: How many times its surroundings the second image shows.
        channels: Of the decoders, deepest first.

    Attributes:
        branches: Two answer by themselves while it trains: the tile's own U-Net, and that of the surroundings.
    """

    branches = 2

    def __init__(
        self,
        classes: int,
        encoder: nn.Module,
        context_encoder: nn.Module | None,
        *,
        factor: int,
        channels: Sequence[int],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.context_encoders = nn.ModuleList([] if context_encoder is None else [context_encoder])
        self.factor = factor
        sizes: list[int] = list(encoder.out_channels)  # type: ignore[arg-type] # of every encoder of the library
        self.meet = aligned_depth(len(sizes) - 2, factor)
        self.decoder, self.context_decoder = _Decoder(sizes, channels), _Decoder(sizes, channels)
        carried = channels[len(channels) - 1 - self.meet]
        fewer, least = max(8, carried // 2), max(8, carried // 4)
        self.compress = PointConvolutions(carried, fewer, least)
        self.merge = PointConvolutions(sizes[-2] + least, sizes[-2], sizes[-2])
        self.head, self.context_head = (nn.Conv2d(channels[-1], classes, 1) for _ in range(2))
        self.segmentation_head = nn.Sequential(
            nn.Conv2d(2 * classes, _MIXED, 1), nn.ReLU(), nn.Conv2d(_MIXED, classes, 1)
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(n, 6, h, w) to (n, classes, h, w) logits, and in training those of both branches after them."""
        tile, wide = x.chunk(2, dim=1)
        features = list(self.encoder(tile))
        wider = self.context_decoder((self.context_encoders[0] if len(self.context_encoders) else self.encoder)(wide))
        context = self.compress(middle_of(wider[self.meet], self.factor))
        features[-2] = self.merge(torch.cat([features[-2], context], dim=1))
        own = self.head(self.decoder(features)[0])
        other = as_the_tile(self.context_head(wider[0]), self.factor)
        answer: Tensor = self.segmentation_head(torch.cat([own, other], dim=1))
        return (answer, own, other) if self.training else answer


@architecture("multires", has_encoder=True, default_depth=5, images=(2, 2))
def build_multires(
    classes: int,
    *,
    encoder: str,
    depth: int,
    factors: Sequence[int],
    decoder_channels: Sequence[int] = (),
    share_encoder: bool = False,
) -> MultiResolution:
    """Build a MultiResolution with random weights.

    Raises:
        ValueError: Branches do not meet, or there are more or fewer channels than the encoder has depths.
    """
    import segmentation_models_pytorch as smp

    channels = tuple(decoder_channels) or _DECODER[-depth:]
    if len(channels) != depth:
        raise ValueError(
            f"decoder_channels {list(channels)}: has to be one for each of the {depth} depths of the encoder"
        )
    aligned_depth(depth - 1, factors[1])
    one, other = (smp.encoders.get_encoder(encoder, in_channels=3, depth=depth, weights=None) for _ in range(2))
    return MultiResolution(classes, one, None if share_encoder else other, factor=factors[1], channels=channels)
