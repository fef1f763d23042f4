"""What a number of tiles shows: tiles with a class, without, and of which nothing is known; pixels and areas."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qpkit.core.labels import LabelMap
from qpkit.dataset.record import ORIGINS, SPLITS, TileRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCounts:
    """How many tiles, pixels and square millimetres show what.

    Args:
        tiles: All of them.
        positive: With a pixel of a class.
        negative: Without one, but with background.
        unknown: With nothing but ignore.
        with_class: Tiles that show a class, by its value.
        pixels: Mask pixels by value; every value of the label map is there.
        area_mm2: The same as area, mm2; None if the um per px of a tile is not known.
        tissue: Mean fraction of tissue, 0..1; NaN without tiles.
        origins: Mask pixels by where their label comes from, as in TileRecord; empty where no tile says so.
    """

    tiles: int
    positive: int
    negative: int
    unknown: int
    with_class: Mapping[int, int]
    pixels: Mapping[int, int]
    area_mm2: Mapping[int, float] | None
    tissue: float
    origins: Mapping[str, int] = field(default_factory=dict)

    @property
    def negatives_per_positive(self) -> float | None:
        """Tiles without a class for one with; None if none has any."""
        return self.negative / self.positive if self.positive else None

    @property
    def reviewed(self) -> float | None:
        """Fraction of the labelled pixels whose label comes from a review, 0..1; None where nothing says so."""
        return self._fraction("reviewed")

    @property
    def predicted(self) -> float | None:
        """Fraction of them that is a prediction nobody has looked at; None where nothing says so."""
        return self._fraction("predicted") if "predicted" in self.origins else None

    def _fraction(self, origin: str) -> float | None:
        labelled = sum(self.origins.get(name, 0) for name in ("human", "reviewed", "predicted"))
        return self.origins.get(origin, 0) / labelled if labelled else None


def count_tiles(tiles: Sequence[TileRecord], labels: LabelMap) -> TileCounts:
    """Count what tiles show. Pixels that overlapping tiles share count in each of them."""
    classes = [item.value for item in labels.classes]
    with_class = {value: sum(1 for t in tiles if t.pixels.get(value)) for value in classes}
    positive = sum(1 for t in tiles if any(t.pixels.get(value) for value in classes))
    known = sum(1 for t in tiles if any(t.pixels.get(value) for value in labels.trained_values))
    pixels: Counter[int] = Counter(dict.fromkeys(labels.values, 0))
    area = dict.fromkeys(labels.values, 0.0)
    for tile in tiles:
        for value, count in tile.pixels.items():
            pixels[value] += count
            area[value] = area.get(value, 0.0) + count * tile.mpp**2 / 1e6
    return TileCounts(
        tiles=len(tiles),
        positive=positive,
        negative=known - positive,
        unknown=len(tiles) - known,
        with_class=with_class,
        pixels=dict(pixels),
        area_mm2=None if any(math.isnan(t.mpp) for t in tiles) else area,
        origins=_origins(tiles),
        tissue=sum(t.tissue for t in tiles) / len(tiles) if tiles else math.nan,
    )


def _origins(tiles: Sequence[TileRecord]) -> dict[str, int]:
    """Pixels by origin, of those that any tile knows."""
    known = [name for name in ORIGINS if any(name in t.origins for t in tiles)]
    return {name: sum(t.origins.get(name, 0) for t in tiles) for name in known}


def split_counts(tiles: Sequence[TileRecord], labels: LabelMap) -> dict[str, dict[str, int]]:
    """Count groups, tiles and positive tiles (any class pixel) of each split."""
    values = {c.value for c in labels.classes}
    counts: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        part = [t for t in tiles if t.split == split]
        positive = sum(1 for t in part if values & t.pixels.keys())
        counts[split] = {"groups": len({t.group for t in part}), "tiles": len(part), "positive": positive}
    return counts


def common_mpp(tiles: Sequence[TileRecord]) -> float | None:
    """The tiles' um per px if all have the same to 1 in 1,000, else None."""
    sizes = [t.mpp for t in tiles]
    if not sizes or any(math.isnan(s) for s in sizes) or max(sizes) > min(sizes) * 1.001:
        return None
    return sizes[0]


def single_value(pixels: Mapping[int, int], labels: LabelMap) -> str | None:
    """Say it if all known pixels have one and the same value: whoever learns from them can only learn to say it.

    Args:
        pixels: Mask pixels by value.
        labels: The label map.
    """
    there = [value for value in labels.trained_values if pixels.get(value)]
    if len(there) != 1:
        return None
    return (
        f"EVERY LABELLED PIXEL IS {labels.name_of(there[0])!r}: a model can only learn to say it; annotate something "
        'else, use regions, or set unannotated = "background"'
    )
