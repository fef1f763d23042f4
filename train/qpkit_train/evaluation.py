"""A run's best weights on the tiles that chose them: losses, confusion, probabilities, tiles to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from qpkit.dataset import TileSet, read_tile_set
from qpkit.dataset.manifest import TABLE_NAME
from qpkit.dataset.record import TileRecord
from qpkit.errors import FormatError
from qpkit.files import sha256
from qpkit.ops.scores.confusion import IGNORE_INDEX, class_scores, confusion_of, empty_confusion
from qpkit.ops.scores.probability_levels import LEVELS, confidence_of, empty_levels, levels_of
from qpkit.progress import OnProgress, no_progress
from qpkit.report.values.tiles import RunEvaluation, ScoredTile
from qpkit_train.data.batches import MiniBatch, Prefetcher, WholeTiles, mask_values
from qpkit_train.data.one_object import tile_reader
from qpkit_train.data.training_tiles import TrainingTiles, class_weights, measuring_batch, training_tiles_of
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.losses.loss import make_loss
from qpkit_train.models.forward import cropped, padded_targets
from qpkit_train.prompting import Prompting
from qpkit_train.run_folder.run import Run

SHOWN: Final = 8
"""Tiles with the highest and with the lowest loss that are kept with their pixels; of few tiles half of them."""


def evaluate_run(run: Run, *, tiles: Path | None = None, on_progress: OnProgress = no_progress) -> RunEvaluation:
    """Measure a run's best weights tile by tile.

    Args:
        run: With its best weights.
        tiles: Where its tiles are now; None for where they were.
        on_progress: Called with (tiles done, tiles in all, text).

    Raises:
        FormatError: The tiles are gone, damaged, or not those that the run was trained on.
    """
    root = Path(run.file.tiles["path"]) if tiles is None else tiles
    tile_set = _tiles_of(run, root)
    data = training_tiles_of(tile_set, run.recipe)
    judging = _Evaluation(run, data)
    reader = tile_reader(tile_set, run.recipe, data.table)
    batches = WholeTiles(reader, data.measured, batch_size=measuring_batch(run.recipe, data))
    for batch in Prefetcher(batches, workers=run.recipe.data.workers):
        judging.add(batch)
        on_progress(len(judging.losses), len(data.measured), "measure")
    return judging.result()


def _tiles_of(run: Run, root: Path) -> TileSet:
    try:
        tile_set = read_tile_set(root)
    except FormatError as err:
        raise FormatError(f"the tiles of run {run.id} cannot be read: {err}") from err
    if sha256(tile_set.root / TABLE_NAME) != run.file.tiles["sha256"]:
        raise FormatError(f"{root}: not the tiles that run {run.id} was trained on ({TABLE_NAME} has changed)")
    return tile_set


class _Evaluation:
    """Adds up losses, confusion and probabilities, batch by batch.

    Attributes:
        losses: Of the tiles so far.
    """

    def __init__(self, run: Run, data: TrainingTiles) -> None:
        self._run, self._data, self._labels = run, data, data.labels
        self._predictor = Predictor(run)
        weights = class_weights(run.recipe, data.names, run.file.sampler["pixels_per_epoch"])
        on_device = None if weights is None else torch.tensor(weights, device=self._predictor.device)
        self._loss = make_loss(run.recipe.loss, background=data.background, class_weights=on_device)
        self._prompting = Prompting(run.recipe, self._predictor.logits)
        self.losses: list[float] = []
        self._weighted, self._pixels = 0.0, 0
        self._confusion, self._levels = empty_confusion(len(data.names)), empty_levels(len(data.names))
        self._confidence = np.zeros((2, LEVELS), np.int64)
        self._worst: list[ScoredTile] = []
        self._best: list[ScoredTile] = []

    def add(self, batch: MiniBatch) -> None:
        """Measure one batch."""
        images = batch.images.to(self._predictor.device).float() / 255
        images = self._prompting.measured(images, batch.targets)
        known, logits = padded_targets(batch.targets.to(images.device)).long(), self._predictor.logits(images)
        count = int((known != IGNORE_INDEX).sum())
        self._weighted += float(self._loss(logits, known)) * count
        self._pixels += count
        losses = [float(self._loss(logits[i : i + 1], known[i : i + 1])) for i in range(len(known))]
        height, width = batch.targets.shape[1:]
        self._tally(batch, cropped(logits, height=height, width=width), losses)

    def _tally(self, batch: MiniBatch, logits: Tensor, losses: list[float]) -> None:
        predicted = logits.argmax(dim=1).to(torch.uint8).cpu().numpy()
        probabilities = (self._predictor.probabilities_of(logits) * 255).round().to(torch.uint8).cpu().numpy()
        truth = batch.targets.numpy()
        self._levels += levels_of(truth, probabilities.swapaxes(0, 1), len(self._data.names))
        self._confidence += confidence_of(truth, predicted, probabilities.swapaxes(0, 1))
        for at, loss in enumerate(losses):
            tile = self._data.measured[int(batch.tiles[at])]
            own = confusion_of(truth[at], predicted[at], len(self._data.names))
            self._confusion += own
            self.losses.append(loss)
            scores = class_scores(own, self._data.names)
            self._keep(
                ScoredTile(
                    tile=tile,
                    loss=loss,
                    dice={score.name: score.dice for score in scores},
                    image=batch.images[at, :3].movedim(0, -1).numpy(),
                    truth=mask_values(truth[at], self._labels),
                    predicted=mask_values(predicted[at], self._labels),
                ),
                is_positive=bool(self._data.shows_class[int(batch.tiles[at])]),
            )

    def _keep(self, tile: ScoredTile, *, is_positive: bool) -> None:
        """Hold on to the tiles with the highest and lowest losses so far; equal ones in their order."""
        self._worst = sorted([*self._worst, tile], key=lambda t: -t.loss)[:SHOWN]
        if is_positive or not self._data.shows_class.any():
            self._best = sorted([*self._best, tile], key=lambda t: t.loss)[:SHOWN]

    def result(self) -> RunEvaluation:
        """All of it together."""
        measured: tuple[TileRecord, ...] = self._data.measured
        shown = min(SHOWN, max(1, len(measured) // 2))
        return RunEvaluation(
            names=self._data.names,
            validated_on=self._data.validated_on,
            losses=tuple(self.losses),
            tiles=measured,
            loss=self._weighted / max(self._pixels, 1),
            confusion=self._confusion,
            levels=self._levels,
            confidence=self._confidence,
            worst=tuple(self._worst[:shown]),
            best=tuple(self._best[:shown]),
            device=self._predictor.device_name,
            precision=self._predictor.precision,
        )
