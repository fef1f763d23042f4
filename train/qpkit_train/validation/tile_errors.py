"""How wrong the model was on each training tile when it saw it last: where hard negatives come from."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.machine.processes import gathered

_KEY: Final = "tile_errors"
"""Name of the tensor in the run folder."""


class TileErrors:
    """Notes errors during an epoch and gives them out for the next one.

    Args:
        tiles: How many there are.
        is_wanted: Otherwise nothing is noted.

    Attributes:
        of_tiles: (tiles,) float32 fraction of wrong pixels as of the last whole epoch, NaN where never seen; None if
            not wanted.
    """

    def __init__(self, tiles: int, *, is_wanted: bool) -> None:
        self.of_tiles: NDArray[np.float32] | None = np.full(tiles, np.nan, np.float32) if is_wanted else None
        self._noted: list[tuple[Tensor, Tensor]] = []

    def note(self, tiles: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Note one step.

        Args:
            tiles: (n,) indices; -1 is passed over.
            logits: (n, classes, h, w).
            targets: (n, h, w) int64 class indices or IGNORE_INDEX.
        """
        if self.of_tiles is None:
            return
        known = targets != IGNORE_INDEX
        wrong = ((logits.argmax(dim=1) != targets) & known).sum(dim=(1, 2))
        self._noted.append((tiles, wrong / known.sum(dim=(1, 2)).clamp(min=1)))  # fetched at the end of the epoch

    def settle(self) -> None:
        """End an epoch with what all processes noted; a tile shown several times counts as it was the last time."""
        if self.of_tiles is not None:
            own = [(tiles.numpy(), fractions.float().cpu().numpy()) for tiles, fractions in self._noted]
            for step in zip(*gathered(own), strict=True):
                for tiles, fractions in step:
                    self.of_tiles[tiles[tiles >= 0]] = fractions[tiles >= 0]
        self._noted.clear()

    def tensors(self) -> dict[str, Tensor]:
        """What the run folder keeps."""
        return {} if self.of_tiles is None else {_KEY: torch.from_numpy(self.of_tiles.copy())}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take out of `tensors` what `tensors()` had put there."""
        kept = tensors.pop(_KEY, None)
        if kept is not None and self.of_tiles is not None:
            self.of_tiles = kept.numpy().copy()
