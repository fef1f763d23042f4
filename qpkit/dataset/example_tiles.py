"""Tiles worth looking at: of every class those that show most of it, the rarest, and some without any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qpkit.core.labels import LabelMap
from qpkit.dataset.record import TileRecord


def most_of_class(tiles: Sequence[TileRecord], value: int, count: int) -> list[TileRecord]:
    """Take the tiles with the most pixels of a class: the best one of each slide first, then the second of each."""
    with_it = sorted((t for t in tiles if t.pixels.get(value)), key=lambda t: (-t.pixels[value], t.key))
    return slide_after_slide(with_it)[:count]


def rarest(tiles: Sequence[TileRecord], labels: LabelMap, count: int) -> list[TileRecord]:
    """Take the tiles whose classes the fewest tiles show, the rarest first."""
    values = [item.value for item in labels.classes]
    shown = {value: sum(1 for t in tiles if t.pixels.get(value)) for value in values}

    def rarity(tile: TileRecord) -> float:
        return sum(1 / shown[value] for value in values if tile.pixels.get(value))

    return sorted((t for t in tiles if rarity(t)), key=lambda t: (-rarity(t), t.key))[:count]


def without_class(tiles: Sequence[TileRecord], labels: LabelMap, count: int) -> list[TileRecord]:
    """Take tiles that show background and no class, those with most background first, slide after slide."""
    values = [item.value for item in labels.classes]
    negative = [t for t in tiles if t.pixels.get(labels.background) and not any(t.pixels.get(v) for v in values)]
    return slide_after_slide(sorted(negative, key=lambda t: (-t.pixels[labels.background], t.key)))[:count]


def slide_after_slide(tiles: Iterable[TileRecord]) -> list[TileRecord]:
    """Order tiles so that every slide has its first one before any has its second."""
    seen: dict[str, int] = {}
    turns: list[tuple[int, int, TileRecord]] = []
    for tile in tiles:
        seen[tile.slide] = seen.get(tile.slide, 0) + 1
        turns.append((seen[tile.slide], len(turns), tile))
    return [tile for *_, tile in sorted(turns, key=lambda turn: turn[:2])]
