"""One answer for a whole tile: any encoder, global pooling, one linear layer. What qpkit train-classifier trains.

The answer has the shape of a segmentation of one pixel, so that sampler, losses and measures are the same.
"""

from __future__ import annotations

from torch import Tensor, nn

from qpkit_train.models.own import architecture
from qpkit_train.recipe.settings import TILE_CLASSIFIER


class TileClassifier(nn.Module):
    """An encoder's deepest features, averaged over the tile, weighed.

    Args:
        encoder: Of segmentation_models_pytorch: gives features of every depth, the deepest last.
        classes: Channels of the answer.
    """

    def __init__(self, encoder: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.pool = nn.AdaptiveAvgPool2d(1)
        # Called as in smp, so that `_head_of` and dropout find it.
        self.segmentation_head = nn.Sequential(nn.Conv2d(channels, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) to (n, classes, 1, 1) logits."""
        logits: Tensor = self.segmentation_head(self.pool(self.encoder(x)[-1]))
        return logits


@architecture(TILE_CLASSIFIER, has_encoder=True, default_depth=5)
def build_tile_classifier(classes: int, *, encoder: str, depth: int) -> TileClassifier:
    """Build a TileClassifier with random weights."""
    import segmentation_models_pytorch as smp

    body = smp.encoders.get_encoder(encoder, in_channels=3, depth=depth, weights=None)
    return TileClassifier(body, body.out_channels[-1], classes)
