"""One answer for a whole tile: any encoder, global pooling, one linear layer. What qpkit train-classifier trains.

Where surroundings are shown, too, the same encoder looks at each image, and the layer weighs what it found in all.

The answer has the shape of a segmentation of one pixel, so that sampler, losses and measures are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qpkit_train.models.own import ANY, architecture
from qpkit_train.recipe.settings import TILE_CLASSIFIER


class TileClassifier(nn.Module):
    """An encoder's deepest features, averaged over the tile, weighed.

    Args:
        encoder: Of segmentation_models_pytorch: gives features of every depth, the deepest last.
        channels: Of its deepest features.
        classes: Channels of the answer.
        images: Of a sample.
    """

    def __init__(self, encoder: nn.Module, channels: int, classes: int, images: int = 1) -> None:
        super().__init__()
        self.encoder, self.images = encoder, images
        self.pool = nn.AdaptiveAvgPool2d(1)
        # Called as in smp, so that `_head_of` and dropout find it.
        self.segmentation_head = nn.Sequential(nn.Conv2d(images * channels, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3 images, h, w) to (n, classes, 1, 1) logits."""
        found = [self.pool(self.encoder(image)[-1]) for image in x.chunk(self.images, dim=1)]
        logits: Tensor = self.segmentation_head(found[0] if self.images == 1 else torch.cat(found, dim=1))
        return logits


@architecture(TILE_CLASSIFIER, has_encoder=True, default_depth=5, images=(1, ANY))
def build_tile_classifier(classes: int, *, encoder: str, depth: int, factors: Sequence[int] = (1,)) -> TileClassifier:
    """Build a TileClassifier with random weights."""
    import segmentation_models_pytorch as smp

    body = smp.encoders.get_encoder(encoder, in_channels=3, depth=depth, weights=None)
    return TileClassifier(body, body.out_channels[-1], classes, len(factors))
