"""How often tiles of one kind are drawn beside each other: by slide, by area, by where their labels come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qpkit.dataset import TileRecord
from qpkit.dataset.record import ORIGINS

Balance = Literal["none", "slide", "group"]

HUMAN, REVIEWED, REJECTED, PREDICTED = ORIGINS[:4]
"""Where labels come from, after a review. "rejected" in a ratio by class: tiles with a place where a reviewer deleted a
prediction (`qpkit export --reviewed`)."""


def trust_of(tiles: Sequence[TileRecord], origins: Mapping[str, float]) -> NDArray[np.float64] | None:
    """(tiles,) the mean of what their labelled pixels count; None where all count 1."""
    if all(weight == 1 for weight in origins.values()):
        return None
    made = []
    for tile in tiles:
        labelled = {name: tile.origins.get(name, 0) for name in (HUMAN, REVIEWED, PREDICTED)}
        counted = sum(count * origins.get(name, 1.0) for name, count in labelled.items())
        total = sum(labelled.values())
        made.append(counted / total if total else origins.get(HUMAN, 1.0))
    return np.array(made)


def tile_weights(
    tiles: Sequence[TileRecord],
    members: NDArray[np.int64],
    pixels: NDArray[np.int64],
    balance: Balance,
    area_power: float,
    trust: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """Weights of a group's tiles with mean 1, or None if all are alike.

    Args:
        tiles: All of them.
        members: The group's.
        pixels: (members,) pixels of what the group is drawn for.
        balance, area_power: As in BalancedSampler.
        trust: (tiles,) what each counts by where its labels come from; None for all alike.
    """
    if balance == "none" and not area_power and trust is None:
        return None
    weights = np.maximum(pixels, 1).astype(np.float64) ** area_power
    if trust is not None:
        weights *= trust[members]
    if balance != "none":
        names = np.array([tiles[i].slide if balance == "slide" else tiles[i].group for i in members])
        for name in np.unique(names):
            weights[names == name] /= weights[names == name].sum()
    return np.asarray(weights / weights.mean())


def in_proportion(
    members: NDArray[np.int64], weights: NDArray[np.float64], draws: int, key: tuple[int, ...]
) -> NDArray[np.int64]:
    """Systematic sampling: each tile comes as often as its weight says, rounded up or down, in random order."""
    rng = np.random.default_rng(key)
    order = rng.permutation(len(members))
    edges = np.cumsum(weights[order])
    points = (np.arange(draws) + rng.random()) / draws * edges[-1] if draws else np.zeros(0)
    # Rounding may put the last point on the very end.
    at = np.minimum(np.searchsorted(edges, points, side="right"), len(members) - 1)
    return np.asarray(rng.permutation(members[order[at]]))
