"""What there is to plan for: sizes, classes and colours of the training tiles, in numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from qpkit.dataset import TileRecord, TileSet
from qpkit.errors import LabelError
from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.data.batches import TileReader
from qpkit_train.data.training_tiles import require_one_class_a_pixel

_MOST_TILES: Final = 64
"""That colours are measured on, an even choice of those that show a class."""

_TAILS: Final = (0.005, 0.5, 0.995)
"""Fractions of the pixels that are darker than the percentiles that are told."""


class Colors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Grey levels 0..255 of the foreground, red, green and blue.

    Args:
        mean, deviation: Of each channel.
        low, median, high: Percentiles 0.5, 50 and 99.5 of each channel.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    low: tuple[int, int, int]
    median: tuple[int, int, int]
    high: tuple[int, int, int]


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The training tiles in numbers.

    Args:
        tiles: With a label.
        slides: That they are from.
        tile_px: Side of each.
        mpp: um per px; None if the tiles do not say.
        labelled_px: Pixels whose class is known.
        classes: Fraction of those by class, background included.
        foreground: Fraction of those that is of a class.
        colors: Of the foreground of some tiles.
    """

    tiles: int
    slides: int
    tile_px: int
    mpp: float | None
    labelled_px: int
    classes: dict[str, float]
    foreground: float
    colors: Colors

    def __str__(self) -> str:
        spacing = "um/px not known" if self.mpp is None else f"{self.mpp:g} um/px"
        classes = ", ".join(f"{name} {fraction:.1%}" for name, fraction in self.classes.items())
        red, green, blue = (
            f"{mean:.0f} +- {deviation:.0f}"
            for mean, deviation in zip(self.colors.mean, self.colors.deviation, strict=True)
        )
        return (
            f"{self.tiles:,} tiles of {self.tile_px} px at {spacing} (slides: {self.slides}); {classes} of "
            f"{self.labelled_px / 1e6:.1f} M labelled px; red {red}, green {green}, blue {blue}"
        )


def fingerprint(tile_set: TileSet) -> Fingerprint:
    """Measure the training tiles; the colours on 64 of them at most.

    Raises:
        LabelError: No training tile shows a class, or the masks have several classes a pixel.
        FormatError: A tile cannot be read.
    """
    require_one_class_a_pixel(tile_set)
    labels = tile_set.labels
    values = labels.trained_values
    tiles = [tile for tile in tile_set.of_split("train") if any(tile.pixels.get(value) for value in values)]
    pixels = {value: sum(tile.pixels.get(value, 0) for tile in tiles) for value in values}
    known = sum(pixels.values())
    if known == pixels.get(labels.background, 0):
        raise LabelError(
            f"{tile_set.root}: no training tile shows a class, so there is nothing to plan for; check the label map's "
            "'from' names, or give annotated slides to the train split"
        )
    foreground = [value for value in values if value != labels.background]
    return Fingerprint(
        tiles=len(tiles),
        slides=len({tile.slide for tile in tiles}),
        tile_px=tile_set.tile_size,
        mpp=None if math.isnan(tile_set.mpp) else tile_set.mpp,
        labelled_px=known,
        classes={labels.name_of(value): pixels[value] / known for value in values},
        foreground=sum(pixels[value] for value in foreground) / known,
        colors=_colors(tile_set, [tile for tile in tiles if any(tile.pixels.get(value) for value in foreground)]),
    )


def _colors(tile_set: TileSet, tiles: Sequence[TileRecord]) -> Colors:
    reader = TileReader(tile_set)
    background = tile_set.labels.trained_values.index(tile_set.labels.background)
    counts = np.zeros((3, 256), np.int64)
    for tile in tiles[:: -(-len(tiles) // _MOST_TILES)]:
        image, target = reader.read(tile)
        shown = image[(target != IGNORE_INDEX) & (target != background)]
        counts += np.stack([np.bincount(shown[:, channel], minlength=256) for channel in range(3)])
    levels = np.arange(256)
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    deviation = np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0))
    low, median, high = (_percentile(counts, fraction) for fraction in _TAILS)
    return Colors(mean=_rounded(mean), deviation=_rounded(deviation), low=low, median=median, high=high)


def _percentile(counts: NDArray[np.int64], fraction: float) -> tuple[int, int, int]:
    """The level at and below which at least this fraction of the pixels lies, by channel."""
    red, green, blue = (int(np.searchsorted(row.cumsum(), fraction * row.sum())) for row in counts)
    return red, green, blue


def _rounded(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 2) for value in values)
    return red, green, blue
