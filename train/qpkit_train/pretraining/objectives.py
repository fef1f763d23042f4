"""What an encoder learns without labels. Each objective is a network around the encoder that gives a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qpkit_train.data.normalization import Normalization, normalize
from qpkit_train.pretraining.settings import PretrainSettings
from qpkit_train.pretraining.sigreg import sigreg
from qpkit_train.pretraining.views import LARGE, SMALL, crops

BLOCK: Final = 32
"""px that are hidden together: what one place of the deepest features covers."""

_WIDTH: Final = 64
_DIRECTIONS: Final = 256
"""Of an embedding, and of the directions in which it is looked at, drawn anew in each step."""

Recolor = Callable[[Tensor, int], Tensor]
"""Changes the colours of a view of this number."""


class LeJepa(nn.Module):
    """Crops of a tile are described alike, and descriptions of all tiles are spread. Balestriero and LeCun 2025.

    Args:
        encoder: Gives features, deepest last.
        channels: Of the deepest ones.
        settings: How.
        normalization: Of what the encoder sees.
    """

    def __init__(
        self, encoder: nn.Module, channels: int, settings: PretrainSettings, normalization: Normalization
    ) -> None:
        super().__init__()
        self.encoder, self._settings, self._normalization = encoder, settings, normalization
        self.projector = nn.Sequential(
            nn.Linear(channels, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, _WIDTH)
        )

    def forward(
        self, pictures: Sequence[NDArray[np.uint8]], rng: np.random.Generator, recolor: Recolor, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and (n, width) descriptions of its tiles."""
        own = self._settings
        sizes = [(own.crop_px, LARGE)] * 2 + [(own.local_px, SMALL)] * own.local_crops
        views = [
            recolor(crops(pictures, side, area, rng).to(device), number) for number, (side, area) in enumerate(sizes)
        ]
        large = self._described(torch.cat(views[:2])).chunk(2)
        small = self._described(torch.cat(views[2:])).chunk(len(views) - 2) if len(views) > 2 else ()
        embeddings = torch.stack([*large, *small])
        middle = torch.stack(list(large)).mean(dim=0)
        alike = (embeddings - middle).square().mean()
        directions = torch.from_numpy(rng.standard_normal((_WIDTH, _DIRECTIONS))).to(embeddings)
        spread = torch.stack([sigreg(part, directions) for part in embeddings]).mean()
        return own.spread * spread + (1 - own.spread) * alike, middle.detach()

    def _described(self, images: Tensor) -> Tensor:
        found: Any = self.encoder(normalize(images, self._normalization))[-1]
        described: Tensor = self.projector(found.mean(dim=(2, 3))).float()
        return described


class Masked(nn.Module):
    """Paints what is hidden of a crop from the deepest features of the rest. Xie et al. 2022, SimMIM.

    Args:
        encoder, channels, settings, normalization: As of LeJepa.
    """

    def __init__(
        self, encoder: nn.Module, channels: int, settings: PretrainSettings, normalization: Normalization
    ) -> None:
        super().__init__()
        self.encoder, self._settings, self._normalization = encoder, settings, normalization
        self.painter = nn.Sequential(nn.Conv2d(channels, 3 * BLOCK**2, 1), nn.PixelShuffle(BLOCK))

    def forward(
        self, pictures: Sequence[NDArray[np.uint8]], rng: np.random.Generator, recolor: Recolor, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and (n, channels) descriptions of its tiles."""
        own = self._settings
        images = normalize(recolor(crops(pictures, own.crop_px, LARGE, rng).to(device), 0), self._normalization)
        hidden = torch.from_numpy(hidden_blocks(rng, len(images), own.crop_px // BLOCK, own.hidden)).to(device)
        hidden = hidden.repeat_interleave(BLOCK, dim=1).repeat_interleave(BLOCK, dim=2).unsqueeze(1)
        features: Tensor = self.encoder(images.masked_fill(hidden, 0.0))[-1]
        wrong = (self.painter(features).float() - images).abs() * hidden
        loss = wrong.sum() / (3 * hidden.sum()).clamp(min=1)
        return loss, features.detach().float().mean(dim=(2, 3))


def hidden_blocks(rng: np.random.Generator, count: int, side: int, fraction: float) -> NDArray[np.bool_]:
    """Draw which blocks of each image are hidden: (count, side, side), as many in all, at least one and not all."""
    total = side**2
    number = int(np.clip(round(fraction * total), 1, max(1, total - 1)))
    order = rng.random((count, total)).argsort(axis=1)
    return (order < number).reshape(count, side, side)


def objective(
    encoder: nn.Module, channels: int, settings: PretrainSettings, normalization: Normalization
) -> LeJepa | Masked:
    """The objective of some settings, around an encoder."""
    kind = LeJepa if settings.method == "lejepa" else Masked
    return kind(encoder, channels, settings, normalization)
