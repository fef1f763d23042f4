"""How points are answered. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from qpkit.settings import Flag, Range, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSettings(Settings):
    """How points are answered (with --prompts).

    Args:
        crop_px: Side of what the model sees around a point, px at its um/px.
        largest_px: It sees twice as much each way, again and again, while its answer touches the edge; at most so much.
        sam_mpp: um/px at which a SAM model sees slides; a run has its own.
    """

    crop_px: Annotated[int, Flag(name="--prompt-crop"), Range(at_least=32, at_most=8192)] = 256
    largest_px: Annotated[int, Flag(name="--prompt-largest"), Range(at_least=32, at_most=8192)] = 1024
    sam_mpp: Annotated[float, Range(above=0)] = 0.5

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if self.largest_px < self.crop_px:
            yield f"--prompt-largest {self.largest_px} has to be at least --prompt-crop {self.crop_px}"
