"""How a network for another staining is trained. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from qpkit.settings import Range, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleSettings(Settings):
    """How a network for another staining is trained.

    Args:
        steps: Steps of both networks.
        batch_size: Crops a step.
        crop_px: Side of the crops.
        width: Channels inside of the network.
        lr: Learning rate of both (Adam).
        structure: Weight of 1 - SSIM against the other network's judgement; more keeps tiles more as they are.
        seed: Of crops and weights.
    """

    steps: Annotated[int, Range(at_least=1)] = 600
    batch_size: Annotated[int, Range(at_least=1)] = 8
    crop_px: Annotated[int, Range(at_least=32)] = 96
    width: Annotated[int, Range(at_least=4, at_most=256)] = 24
    lr: Annotated[float, Range(above=0, at_most=0.1)] = 1e-3
    structure: Annotated[float, Range(at_least=0)] = 5.0
    seed: Annotated[int, Range(at_least=0)] = 0


DEFAULT_STYLE: Final = StyleSettings()
