"""HookNet: a U-Net for each resolution; the bottleneck of each sees what the next wider one has decoded.

Where two branches meet, um/px x 2^depth agrees: at depth 4, the bottleneck of a tile at 0.5 um/px is at 8 um/px, and
so is the decoder of a branch at 2 um/px after two of its four steps, and that of one at 8 um/px at its end. There the
wide branch's middle is cut out and put beside the finer one's bottleneck. Of three branches the widest goes into the
middle one, and that into the tile's.

The publication convolves without padding: 284 x 284 px give 70 x 70. Here convolutions are padded, so that the answer
has the size of the tile, as everywhere in qpkit; what differs is that px near the edges of an image are answered, from
zeros beyond the edge. Predictions throw them away with the halo. Tiles of 288 px stand for its 284.

Source: van Rijthoven et al. 2021, HookNet: multi-resolution convolutional neural networks for semantic segmentation in
histopathology whole-slide images.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from qpkit_train.models.own import ANY, architecture
from qpkit_train.models.parts import DoubleConvolution, Up, aligned_depth, as_the_tile, middle_of


class _Branch(nn.Module):
    """A U-Net whose bottleneck takes a hook, and which gives what it decodes at every depth.

    Args:
        widths: Channels by depth, the image's own resolution first.
        hook: Channels of the hook; 0 without one.
    """

    def __init__(self, widths: Sequence[int], *, hook: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(DoubleConvolution(a, b) for a, b in pairwise((3, *widths)))
        self.pool = nn.MaxPool2d(2)
        bottom = (*widths[:-1], widths[-1] + hook)
        self.up = nn.ModuleList(Up(a if n else bottom[-1], b, b) for n, (b, a) in enumerate(_upwards(widths)))

    def forward(self, x: Tensor, hook: Tensor | None) -> list[Tensor]:
        """(n, 3, h, w) to (n, widths[d], h / 2^d, w / 2^d) by depth d; the deepest has the hook behind it."""
        kept: list[Tensor] = []
        for depth, block in enumerate(self.down):
            x = block(self.pool(x) if depth else x)
            kept.append(x)
        found = [x if hook is None else torch.cat([x, hook], dim=1)]
        for depth, up in zip(reversed(range(len(self.up))), self.up, strict=True):
            found.append(up(found[-1], kept[depth]))
        return found[::-1]


def _upwards(widths: Sequence[int]) -> list[tuple[int, int]]:
    """(to, from) widths of the steps of a decoder, deepest first."""
    return list(pairwise(widths))[::-1]


class HookNet(nn.Module):
    """A branch for every image of a sample, the tile's first.

    Args:
        classes: Channels of the answer.
        factors: How many times their surroundings the images show.
        depth: How often each is halved.
        filters: Channels of the first block; they double with every halving.

    Attributes:
        branches: Those that answer beside the tile's: all wider ones.
    """

    def __init__(self, classes: int, *, factors: Sequence[int], depth: int, filters: int) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.branches = len(factors) - 1
        widths = [filters * 2**number for number in range(depth + 1)]
        self.ratios = [wide // fine for fine, wide in pairwise(factors)]
        self.meets = [aligned_depth(depth, wide / fine) for fine, wide in pairwise(factors)]
        hooks = [*(widths[meet] for meet in self.meets), 0]
        self.unets = nn.ModuleList(_Branch(widths, hook=hook) for hook in hooks)
        self.wide_heads = nn.ModuleList(nn.Conv2d(filters, classes, 1) for _ in factors[1:])
        self.segmentation_head = nn.Sequential(nn.Conv2d(filters, classes, 1))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(n, 3 k, h, w) to (n, classes, h, w) logits, and in training those of the wider branches after them."""
        images = x.chunk(len(self.factors), dim=1)
        hook: Tensor | None = None
        wide_answers: list[Tensor] = []
        for number in range(len(images) - 1, 0, -1):
            found = self.unets[number](images[number], hook)
            hook = middle_of(found[self.meets[number - 1]], self.ratios[number - 1])
            if self.training:
                wide_answers.insert(0, as_the_tile(self.wide_heads[number - 1](found[0]), self.factors[number]))
        answer: Tensor = self.segmentation_head(self.unets[0](images[0], hook)[0])
        return (answer, *wide_answers) if self.training else answer


@architecture("hooknet", has_encoder=False, images=(2, ANY))
def build_hooknet(classes: int, *, factors: Sequence[int], depth: int = 4, filters: int = 24) -> HookNet:
    """Build a HookNet.

    Raises:
        ValueError: The sizes make no network, or its branches do not meet.
    """
    # At depth 5 the middle of a tile of 32 px would lie between px.
    if not 1 <= depth <= 4 or filters < 1:
        raise ValueError("hooknet takes a depth of 1 to 4 and at least 1 filter")
    return HookNet(classes, factors=factors, depth=depth, filters=filters)
