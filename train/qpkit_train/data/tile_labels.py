"""Labels for a tile classifier, worked out of masks: two classes, one label a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.dataset import TileRecord
from qpkit.errors import ConfigError, did_you_mean
from qpkit.ops.scores.confusion import IGNORE_INDEX

ANY_CLASS = "any class"
"""What the positive answer is called if any class will do."""


def tile_label_map(labels: LabelMap, positive: Sequence[str]) -> LabelMap:
    """Make the label map of the answers: value 1 for what is looked for, 0 for everything else that is known.

    Args:
        labels: Of the tiles.
        positive: Names of the classes that are looked for; empty for any.

    Raises:
        ConfigError: The tiles have no such class.
    """
    chosen = _chosen(labels, positive)
    sources = tuple(source for item in chosen for source in item.sources)
    color = chosen[0].color if len(chosen) == 1 else None
    name = "+".join(item.name for item in chosen) if positive else ANY_CLASS
    return LabelMap(classes=(LabelClass(name, 1, sources, color),))


def tile_label_table(labels: LabelMap, positive: Sequence[str]) -> dict[int, int]:
    """The answer's value by the mask's value, for every value but ignore; errors as tile_label_map."""
    wanted = {item.value for item in _chosen(labels, positive)}
    return {value: int(value in wanted) for value in labels.trained_values}


def tiles_with_label(tiles: Sequence[TileRecord], table: dict[int, int]) -> tuple[TileRecord, ...]:
    """The same tiles with their pixels counted by answer."""
    return tuple(replace(tile, pixels=_answers(tile, table)) for tile in tiles)


def tile_labels(targets: Tensor) -> Tensor:
    """One answer a tile: 1 if any pixel says 1, else 0 if any is known, else IGNORE_INDEX.

    Args:
        targets: (n, h, w) int64 answers of pixels.

    Returns:
        (n, 1, 1) int64.
    """
    flat = targets.flatten(start_dim=1)
    shows, known = (flat == 1).any(dim=1), (flat != IGNORE_INDEX).any(dim=1)
    return torch.where(known, shows.long(), IGNORE_INDEX).view(-1, 1, 1)


def count_partly_labelled(tiles: Sequence[TileRecord], tile_size: int) -> int:
    """Count the tiles that say no as far as they are known, and are not known everywhere."""
    return sum(1 for tile in tiles if not tile.pixels.get(1) and 0 < tile.pixels.get(0, 0) < tile_size**2)


def _chosen(labels: LabelMap, positive: Sequence[str]) -> list[LabelClass]:
    names = [item.name for item in labels.classes]
    for name in positive:
        if name not in names:
            hint = did_you_mean(name, names)
            raise ConfigError(f"positive: no class {name!r}; {hint}the tiles have {', '.join(names)}")
    return [item for item in labels.classes if not positive or item.name in positive]


def _answers(tile: TileRecord, table: dict[int, int]) -> dict[int, int]:
    counts = np.zeros(2, np.int64)
    for value, answer in table.items():
        counts[answer] += tile.pixels.get(value, 0)
    return {answer: int(count) for answer, count in enumerate(counts) if count}
