"""How an encoder is pre-trained. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from qpkit.settings import FRACTION, Range, Settings

Method = Literal["lejepa", "masked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings(Settings):
    """How an encoder is pre-trained.

    Args:
        method: "lejepa" (crops of one tile get the same description, and all descriptions together are spread as a
            normal distribution, which keeps them from becoming all alike) or "masked" (what is hidden is painted).
        encoder: Name of an encoder, as model.encoder of a recipe.
        encoder_weights: What it starts from, as model.encoder_weights: "none", "imagenet", a file.
        epochs: Passes over all tiles.
        batch_size: Tiles a step; of "lejepa" at least 8, as descriptions are compared within a batch.
        crop_px: Side of what the encoder sees, a multiple of 32.
        local_crops: Of "lejepa", small crops a tile beside the two large ones.
        local_px: Their side, a multiple of 32.
        hidden: Of "masked", the fraction of the blocks of 32 px that are hidden.
        spread: Of "lejepa", the weight of the normal distribution against the likeness of crops.
        lr: Highest learning rate (AdamW; rises over the first tenth, then falls as a cosine).
        weight_decay: Of AdamW.
        mpp: Of slides, um per px of the tiles; the tiles of a folder have their own.
        tile_px: Of slides, side of the tiles that crops are taken from.
        seed: Of weights, crops and colours.
    """

    method: Method = "lejepa"
    encoder: str = "resnet18"
    encoder_weights: str = "none"
    epochs: Annotated[int, Range(at_least=1)] = 20
    batch_size: Annotated[int, Range(at_least=2)] = 32
    crop_px: Annotated[int, Range(at_least=32)] = 128
    local_crops: Annotated[int, Range(at_least=0, at_most=16)] = 4
    local_px: Annotated[int, Range(at_least=32)] = 64
    hidden: Annotated[float, FRACTION] = 0.6
    spread: Annotated[float, FRACTION] = 0.05
    lr: Annotated[float, Range(above=0, at_most=1)] = 1e-3
    weight_decay: Annotated[float, Range(at_least=0)] = 0.05
    mpp: Annotated[float, Range(above=0)] = 0.5
    tile_px: Annotated[int, Range(at_least=32)] = 256
    seed: Annotated[int, Range(at_least=0)] = 0

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        for name in ("crop_px", "local_px"):
            if getattr(self, name) % 32:
                yield f"{name} = {getattr(self, name)} has to be a multiple of 32"
        if self.method == "lejepa" and self.batch_size < 8:
            yield f"batch_size = {self.batch_size}: lejepa compares at least 8 tiles"


DEFAULT_PRETRAIN: Final = PretrainSettings()
