"""Confusion, loss and probabilities of whole tiles, added up in any order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX, confusion_of, empty_confusion
from qpkit.ops.scores.probability_levels import empty_levels, levels_of
from qpkit_train.data.training_tiles import TrainingTiles
from qpkit_train.losses.activation import probabilities_of
from qpkit_train.machine.processes import gathered


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The sums over the measured tiles.

    Args:
        confusion: (classes, classes) int64; rows are the truth.
        loss: Mean over the known pixels.
        levels: (classes, 2, 256) int64, see qpkit.ops.scores.probability_levels, of the tiles of the whole split as far
            as the measured ones tell. A pixel has the level of its probability in the class that was predicted, 0 in
            all others.
    """

    confusion: NDArray[np.int64]
    loss: float
    levels: NDArray[np.int64]


class ValidationCounts:
    """Adds up the validation of an epoch, batch by batch.

    Args:
        data: What is measured.
        sigmoid: Whether the classes are independent; else they share a softmax.
    """

    def __init__(self, data: TrainingTiles, *, sigmoid: bool) -> None:
        self._data, self._sigmoid, self._classes = data, sigmoid, len(data.names)
        self._confusion = empty_confusion(self._classes)
        self._levels = [empty_levels(self._classes) for _ in data.stands_for]
        self._losses: list[float] = []
        self._known = 0

    def add(self, tiles: Tensor, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch.

        Args:
            tiles: (n,) int64 indices into `data.measured`.
            logits: (n, classes, h, w).
            targets: (n, h, w) int64 class indices or IGNORE_INDEX.
            loss: Mean over the batch's known pixels.
        """
        count = int((targets != IGNORE_INDEX).sum())
        self._losses.append(float(loss) * count)
        self._known += count
        probabilities = probabilities_of(logits, sigmoid=self._sigmoid)
        predicted = probabilities.argmax(dim=1, keepdim=True)
        kept = torch.zeros_like(probabilities, dtype=torch.uint8)
        kept.scatter_(1, predicted, (probabilities.gather(1, predicted) * 255).round().to(torch.uint8))
        truth, indices, levels = (
            t.cpu().numpy() for t in (targets.to(torch.uint8), predicted[:, 0].to(torch.uint8), kept.movedim(1, 0))
        )
        self._confusion += confusion_of(truth, indices, self._classes)
        shows_class = self._data.shows_class[tiles.numpy()]
        for kind, total in enumerate(self._levels):
            chosen = shows_class == bool(kind)
            total += levels_of(truth[chosen], levels[:, chosen], self._classes)

    def whole(self) -> Measured:
        """What all processes added, each of which has to call this."""
        parts = gathered((self._confusion, self._levels, self._losses, self._known))
        confusions, kinds, losses, known = zip(*parts, strict=True)
        levels = [
            np.sum(kind, axis=0) * stands
            for kind, stands in zip(zip(*kinds, strict=True), self._data.stands_for, strict=True)
        ]
        return Measured(
            confusion=np.sum(confusions, axis=0),
            # Exact, so that neither the order of batches nor the number of processes changes a bit.
            loss=math.fsum(loss for part in losses for loss in part) / max(sum(known), 1),
            levels=np.sum(levels, axis=0).round().astype(np.int64),
        )
