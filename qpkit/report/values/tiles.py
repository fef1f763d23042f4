"""Tiles with what became of them: after augmentation, or with what a model says. For pages to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.dataset.record import TileRecord

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""(h, w, 3) pixels and (h, w) values of the label map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentedTile:
    """A tile or crop as it was drawn for training, and the same after augmentation.

    Args:
        tile: Where from.
        drawn_for: The kind of tile that the sampler wanted: "positive", "negative" or a class.
        drawn: As read.
        versions: After augmentation, in the same size.
        surroundings: Of a network that sees them: (factor, (h, w, 3) pixels as read and of each version).
    """

    tile: TileRecord
    drawn_for: str
    drawn: Pair
    versions: tuple[Pair, ...]
    surroundings: tuple[tuple[int, tuple[NDArray[np.uint8], ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentedBatches:
    """The first batches of epoch 1, changed several times.

    Args:
        recipe: Name.
        labels: What mask values mean.
        tiles: In the order in which they are drawn.
        batches: They fill so many (the last perhaps in part).
        unknown: Fraction of the pixels that are ignored as drawn, and after the changes, 0..1.
        lost: Changed crops that show nothing of the class that they were drawn for.
        settings: (setting, what it does, probability) of every change that is on.
        off: Settings of the changes that are off.
        sampler: What an epoch shows (BalancedSampler.describe).
        notes: What the user has to know.
    """

    recipe: str
    labels: LabelMap
    tiles: tuple[AugmentedTile, ...]
    batches: int
    unknown: tuple[float, float]
    lost: int
    settings: tuple[tuple[str, str, str], ...]
    off: tuple[str, ...]
    sampler: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTile:
    """A tile that a model was measured on.

    Args:
        tile: Which.
        loss: Of this tile alone.
        dice: By class name; None where a class is neither there nor predicted.
        image: (h, w, 3) uint8.
        truth, predicted: (h, w) uint8, values of the label map.
    """

    tile: TileRecord
    loss: float
    dice: dict[str, float | None]
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    predicted: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvaluation:
    """What a model's best weights do on the tiles that its best epoch was chosen on.

    Args:
        names: Of the classes, background included, in the order of what follows.
        validated_on: Split of the tiles, "val" or "train".
        losses: Loss of each tile alone, in the order of `tiles`.
        tiles: All that were measured.
        loss: Mean over the known pixels, as curves.csv has it.
        confusion: (classes, classes) int64; rows are the truth.
        levels: (classes, 2, 256) int64, see qpkit.ops.scores.probability_levels.
        confidence: (2, 256) int64, see qpkit.ops.scores.probability_levels.confidence_of.
        worst: Tiles with the highest loss, the highest first.
        best: Tiles that show a class (if any does) with the lowest loss, the lowest first.
        device, precision: What the model ran on.
    """

    names: tuple[str, ...]
    validated_on: str
    losses: tuple[float, ...]
    tiles: tuple[TileRecord, ...]
    loss: float
    confusion: NDArray[np.int64]
    levels: NDArray[np.int64]
    confidence: NDArray[np.int64]
    worst: tuple[ScoredTile, ...]
    best: tuple[ScoredTile, ...]
    device: str
    precision: str
