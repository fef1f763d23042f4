"""What of a recipe may be left to the tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from qpkit.errors import listed
from qpkit.settings import Range
from qpkit_train.section import Section

PLANNED: Final = ("data.crop_px", "data.batch_size", "model.options.channels")
"""Settings that a plan can decide."""

NNUNET: Final = "nnunet"
"""The architecture that is planned."""


class PlanConfig(Section, frozen=True, kw_only=True):
    """What is left to the tiles: crops, mini-batch and network, worked out as nnU-Net does before the first step.

    Args:
        decides: Settings that are worked out, of data.crop_px, data.batch_size and model.options.channels. Those that
            the recipe or --set names are taken as they are.
        memory_gb: GB (10^9 bytes) that a training step may take.
    """

    decides: list[str] = msgspec.field(default_factory=list)
    memory_gb: Annotated[float, Range(above=0)] = 8.0

    def faults(self) -> Iterator[str]:
        """Name settings that no plan decides."""
        unknown = [name for name in self.decides if name not in PLANNED]
        if unknown:
            yield f"plan.decides has {listed(unknown)}; a plan decides {listed(PLANNED)}"
