"""What a run predicts on tiles: the class of every pixel, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.dataset import TileRecord, TileSet
from qpkit.errors import ConfigError
from qpkit_train.data.ahead import read_ahead
from qpkit_train.data.surroundings import read_sample
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.models.card import LEVELS as LEVELS
from qpkit_train.models.card import require_no_clicks
from qpkit_train.run_folder.records import read_state
from qpkit_train.run_folder.run import load_run

_BATCH: Final = 4
_THREADS: Final = 2

TilePrediction = tuple[NDArray[np.uint8], NDArray[np.uint16]]
"""(h, w) class indices in the order of labels.trained_values, and (h, w) probability of that class, 0 .. LEVELS."""


class TilePredictor:
    """A run's best epoch, asked about whole tiles, without augmentation.

    Args:
        run: Run folder.
        last_weights: Ask the weights after the last step instead. Where a run keeps a moving average (optim.ema), its
            best epoch is of the average, so the two can be compared.

    Raises:
        FormatError: The run is damaged, has no epoch yet, or classifies tiles.
        ConfigError: `last_weights`, and the run keeps no moving average; or it answers clicks.
    """

    def __init__(self, run: Path, *, last_weights: bool = False) -> None:
        opened = load_run(run)
        self.id = opened.id
        if last_weights:
            state = read_state(run, run=opened.id)
            if not opened.recipe.optim.ema or state is None:
                raise ConfigError(f"{run}: keeps no moving average of its weights; train it with optim.ema=0.99")
            opened = replace(opened, weights=state.model)
        self._predictor = Predictor(opened)
        require_no_clicks(self._predictor.card)

    def predict(self, tile_set: TileSet, tiles: Sequence[TileRecord]) -> Iterator[tuple[TileRecord, TilePrediction]]:
        """Predict tiles in their order.

        Raises:
            FormatError: An image cannot be read.
        """
        factors = self._predictor.card.factors
        parts = [tiles[start : start + _BATCH] for start in range(0, len(tiles), _BATCH)]

        def read(part: Sequence[TileRecord]) -> tuple[Sequence[TileRecord], NDArray[np.uint8]]:
            return part, np.stack([read_sample(tile_set, tile, factors) for tile in part])

        for part, pixels in read_ahead(read, parts, workers=_THREADS, waiting=_THREADS):
            levels = self._predictor.levels(pixels)
            # The first of equal ones, as everywhere.
            classes, sure = levels.argmax(axis=1).astype(np.uint8), levels.max(axis=1)
            for number, tile in enumerate(part):
                yield tile, (classes[number], sure[number])
