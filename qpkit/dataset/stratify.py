"""Share out groups so that every part gets its fraction of every class. Knows numbers only, no tiles and no names.

The algorithm: groups are placed one by one, those with the largest fraction of a class first, each where it brings the
fractions of all classes nearest to the wished ones. Then single groups are moved and pairs are swapped as long as that
helps. The same search also starts from a draw that ignores classes, and the better end is taken, so that the result is
never less even than that draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import ConfigError

Numbers = NDArray[np.float64]
Parts = NDArray[np.int64]

_SWAP_UNITS: Final = 400
"""Above this many groups no pairs are swapped: placing them one by one is even enough."""

_STEPS: Final = 500
_GAIN: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much of every class each group has.

    Args:
        units: (g, c) amounts, one row per group, one column per class (pixels) or other thing (tiles). Not negative.
        weights: (c,) how much each column counts.
    """

    units: Numbers
    weights: Numbers

    def scaled(self) -> tuple[Numbers, Numbers]:
        """Units as fractions of their column's total, and the weights with sum 1; columns without anything are gone."""
        totals = self.units.sum(axis=0)
        there = totals > 0
        weights = self.weights[there]
        return self.units[:, there] / totals[there], weights / max(weights.sum(), 1e-300)


def plain_folds(count: int, folds: int, *, seed: int) -> Parts:
    """Deal groups to folds at random, as many to each as possible; classes are ignored.

    Returns:
        (count,) int64, 0 .. folds - 1.
    """
    parts = np.empty(count, dtype=np.int64)
    parts[np.random.default_rng(seed).permutation(count)] = np.arange(count) % folds
    return parts


def unevenness(amounts: Amounts, parts: Parts, wished: Numbers) -> float:
    """Say how far parts are from having their fraction of every class.

    Args:
        amounts: Of the groups.
        parts: (g,) the part of every group.
        wished: (k,) fraction of each part; positive, sum 1.

    Returns:
        Root mean square of the relative deviations of all parts' fractions, parts and classes weighted by size and
        weight: 0 is exact, 0.1 is typically a tenth too much or too little.
    """
    units, weights = amounts.scaled()
    return float(np.sqrt(max(0.0, _cost(_sums(units, parts, len(wished)), weights, wished))))


def stratified(amounts: Amounts, start: Parts, wished: Numbers, *, seed: int) -> Parts:
    """Share out groups by class.

    Args:
        amounts: Of the groups, in an order that does not depend on how they were found.
        start: (g,) a draw that ignores classes; every part has a group.
        wished: (k,) fraction of each part; positive, sum 1.
        seed: Of ties.

    Returns:
        (g,) int64, 0 .. k - 1; every part has a group, and `unevenness` is at most that of `start`.

    Raises:
        ConfigError: There are fewer groups than parts.
    """
    if len(amounts.units) < len(wished):
        raise ConfigError(f"{len(amounts.units)} group(s) cannot fill {len(wished)} parts")
    units, weights = amounts.scaled()
    ends = [_improved(units, weights, wished, parts) for parts in (_placed(units, weights, wished, seed), start.copy())]
    costs = [_cost(_sums(units, parts, len(wished)), weights, wished) for parts in ends]
    return ends[0] if costs[0] <= costs[1] else ends[1]


def _sums(units: Numbers, parts: Parts, count: int) -> Numbers:
    """(k, c) what each part has."""
    sums = np.zeros((count, units.shape[1]))
    np.add.at(sums, parts, units)
    return sums


def _cost(sums: Numbers, weights: Numbers, wished: Numbers) -> float:
    """Mean square of the relative deviations, parts weighted by their wished fractions."""
    return float((((sums - wished[:, None]) ** 2 / wished[:, None]) @ weights).sum())


def _placed(units: Numbers, weights: Numbers, wished: Numbers, seed: int) -> Parts:
    """Place groups one by one, the largest first; groups of one size come in an order drawn from the seed."""
    drawn = np.random.default_rng(seed).permutation(len(units))
    size = (units * weights).max(axis=1, initial=0.0)
    parts = np.full(len(units), -1, dtype=np.int64)
    sums = np.zeros((len(wished), units.shape[1]))
    empty = np.ones(len(wished), dtype=bool)
    for placed, unit in enumerate(drawn[np.argsort(-size[drawn], kind="stable")]):
        row = units[unit]
        cost = (row * (2 * (sums - wished[:, None]) + row) / wished[:, None]) @ weights
        # No more groups than empty parts: each of these gets one.
        if len(units) - placed == empty.sum():
            cost[~empty] = np.inf
        best = int(cost.argmin())
        parts[unit] = best
        sums[best] += row
        empty[best] = False
    return parts


def _improved(units: Numbers, weights: Numbers, wished: Numbers, parts: Parts) -> Parts:
    """Take the move or the swap that helps most, until none does. Changes and returns `parts`."""
    swap_too = len(units) <= _SWAP_UNITS
    for _ in range(_STEPS):
        excess = _sums(units, parts, len(wished)) - wished[:, None]
        gain, unit, part = _best_move(units, weights, wished, parts, excess)
        if swap_too:
            swap_gain, one, other = _best_swap(units, weights, wished, parts, excess)
            if swap_gain < min(gain, -_GAIN):
                parts[one], parts[other] = parts[other], parts[one]
                continue
        if gain >= -_GAIN:
            break
        parts[unit] = part
    return parts


def _best_move(
    units: Numbers, weights: Numbers, wished: Numbers, parts: Parts, excess: Numbers
) -> tuple[float, int, int]:
    """(change of the cost, group, part) of the best move that empties no part."""
    weighted = units * weights
    square = (units * weighted).sum(axis=1)
    out = (square - 2 * (weighted * excess[parts]).sum(axis=1)) / wished[parts]
    into = (2 * weighted @ excess.T + square[:, None]) / wished
    change = out[:, None] + into
    change[np.arange(len(units)), parts] = np.inf
    change[np.bincount(parts, minlength=len(wished))[parts] == 1] = np.inf
    unit, part = np.unravel_index(int(change.argmin()), change.shape)
    return float(change[unit, part]), int(unit), int(part)


def _best_swap(
    units: Numbers, weights: Numbers, wished: Numbers, parts: Parts, excess: Numbers
) -> tuple[float, int, int]:
    """(change of the cost, group, group) of the best swap between two parts."""
    change = np.zeros((len(units), len(units)))
    for column, weight in enumerate(weights):
        more = units[None, :, column] - units[:, column, None]
        over, fraction = excess[parts, column], wished[parts]
        change += weight * more * ((2 * over[:, None] + more) / fraction[:, None] - (2 * over - more) / fraction)
    change[parts[:, None] == parts[None, :]] = np.inf
    one, other = np.unravel_index(int(change.argmin()), change.shape)
    return float(change[one, other]), int(one), int(other)
