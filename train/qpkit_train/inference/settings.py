"""How slides are predicted. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from qpkit.settings import Flag, Range, Settings
from qpkit_train.inference.thresholds import Thresholds, parse_thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings(Settings):
    """How slides are predicted.

    Args:
        probabilities: Write a raster of probabilities beside each one of labels, too.
        halo_px: Tile px read around each tile so that the model sees its surroundings; rounded up to a multiple of 32.
        tile_px: Tile px that the model is sure of at a time; rounded up to a multiple of 32.
        batch_size: Tiles at a time.
        only_tissue: Leave glass at the background's value, or predict everything.
        thresholds: Background where a class is less probable than this; natural undoes what the sampler showed too
            often, validated had the highest Dice on the validation tiles.
        readers: Threads that read tiles; found while predicting if left out. The result does not depend on it.
    """

    probabilities: bool = False
    halo_px: Annotated[int, Flag(name="--halo"), Range(at_least=0)] = 128
    tile_px: Annotated[int, Flag(name="--tile-size"), Range(at_least=1)] = 768
    batch_size: Annotated[int, Range(at_least=1)] = 2
    only_tissue: Annotated[bool, Flag(name="--only-tissue/--everything")] = True
    thresholds: Annotated[
        Thresholds | None,
        Flag(name="--threshold", parse=parse_thresholds, many=True, metavar="CLASS=PROBABILITY|natural|validated"),
    ] = None
    readers: Annotated[int | None, Range(at_least=1)] = None
