"""Which tiles an epoch shows, in which order. Index logic with numpy; knows no pixels, no torch.

Tiles are put into groups: positive and negative, or one per class. An epoch takes so many tiles of each group that the
groups stand in the asked ratio and every tile that shows a class comes at least once. What an epoch shows depends on
(seed, epoch) alone (with hard negatives also on the errors of the epoch before, which the run folder keeps), so a
resumed training sees what an uninterrupted one sees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.dataset import TileRecord
from qpkit.errors import ConfigError, LabelError, listed, or_else
from qpkit_train.data.tile_weights import REJECTED, Balance, in_proportion, tile_weights, trust_of

_TOO_OFTEN: Final = 20
"""Times that an epoch may draw each tile of a group before the user is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of tiles that an epoch draws a fixed number of.

    Args:
        name: "positive", "negative", "background", "rejected", "foreground", "any" or a class.
        tiles: (n,) int64 indices into the list of tiles, ascending; not empty.
        draws: How many of them an epoch shows, repeats counted.
        wanted: Class indices of which a crop drawn for this group should hold a pixel; empty for any known pixel.
        weights: (n,) float64 with mean 1: how often each is shown beside the others; None for all alike.
        is_negative: Whether it is of tiles without a class, of which some may be drawn for their errors.
    """

    name: str
    tiles: NDArray[np.int64]
    draws: int
    wanted: tuple[int, ...]
    weights: NDArray[np.float64] | None = None
    is_negative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch shows, in order.

    Args:
        tiles: (n,) int64 indices into the list of tiles.
        groups: (n,) int64, the group that each was drawn for.
        starts: (batches + 1,) int64; batch b is [starts[b], starts[b + 1]).
    """

    tiles: NDArray[np.int64]
    groups: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def places(self, batch: int, *, rank: int = 0, ranks: int = 1) -> NDArray[np.int64]:
        """Say what one of several processes reads of a batch: its places in the epoch, as equal a part as can be.

        The parts of all ranks are disjoint and complete, so together they do the step that one process does.
        """
        start, stop = self.starts[batch : batch + 2]
        return np.asarray(np.array_split(np.arange(start, stop), ranks)[rank])


class BalancedSampler:
    """Draws epochs with a fixed composition.

    A group with n draws and m tiles shows each tile n // m times and takes the n % m others from an endless row of
    shuffled passes, going on where the epoch before stopped: without replacement until all were shown. With weights,
    the draws beyond one of each go to tiles in proportion, each within one draw of its exact number.

    Args:
        tiles: Of the training split; `pixels` decide the groups.
        labels: What the values mean.
        ratio: [positive, negative], or a weight for each class of `labels` and, if wanted, for "background" and for
            "rejected": tiles with background where a prediction was deleted, whatever else they show.
        batch_size: Tiles per batch; a last batch of one tile is joined to the one before.
        seed: Of every draw.
        steps_per_epoch: Batches per epoch; 0 for as many as show every tile that has a class once.
        balance: "slide" or "group" (patients, where tiles were split by patient) lets each count alike in every group
            of tiles, however many tiles it has.
        area_power: Tiles count by the pixels of what they are drawn for, to this power; 0 counts them alike.
        origins: What a labelled pixel counts by where its label comes from ("human", "reviewed"), 1 if not said: a tile
            counts the mean over its labelled pixels. Of tiles that do not say it (no review) all are human.
        hard_negatives: Fraction of the negative draws that goes to tiles by the model's errors on them, 0..1.
        foreground: Fraction of the draws that show a class for sure, the others any labelled tile; 0 takes the ratio.

    Raises:
        LabelError: No tile shows a class, or none shows one that the ratio asks for.
        ConfigError: The ratio names a class that the map does not have, or leaves one out without saying 0.
    """

    def __init__(
        self,
        tiles: Sequence[TileRecord],
        labels: LabelMap,
        *,
        ratio: Sequence[float] | Mapping[str, float],
        batch_size: int,
        seed: int,
        steps_per_epoch: int = 0,
        balance: Balance = "none",
        area_power: float = 0.0,
        origins: Mapping[str, float] = MappingProxyType({}),
        hard_negatives: float = 0.0,
        foreground: float = 0.0,
    ) -> None:
        counts = _pixel_counts(tiles, labels)
        self._names = tuple(labels.name_of(value) for value in labels.trained_values)
        self._counts = counts
        self._seed = seed
        self._batch_size = batch_size
        self._hard = hard_negatives
        self._tiles = tuple(tiles)
        self._background = labels.trained_values.index(labels.background)
        self.notes: tuple[str, ...] = ()
        self.unlabelled_tiles = int((counts.sum(axis=1) == 0).sum())
        if foreground:
            found = self._with_foreground(foreground)
        else:
            found = self._by_class(ratio) if isinstance(ratio, Mapping) else self._by_content(ratio)
        drawn = _draws(found, self._background, steps_per_epoch * batch_size)
        trust = trust_of(tiles, origins)
        self.groups = tuple(
            Group(
                name=name,
                tiles=members,
                draws=draws,
                wanted=wanted,
                weights=tile_weights(
                    tiles, members, counts[members][:, list(wanted)].sum(axis=1), balance, area_power, trust
                ),
                is_negative=wanted == (self._background,) and name != REJECTED,
            )
            for (name, members, _, wanted), draws in zip(found, drawn, strict=True)
            if draws
        )
        if trust is not None and not any(tile.origins for tile in tiles):
            self.notes += ("sampler.origins changes nothing: the tiles do not say where labels come from",)
        self.notes += tuple(
            f"the {len(group.tiles)} {group.name!r} tiles are drawn {group.draws / len(group.tiles):.0f} times each in "
            "an epoch: the model will know them by heart; annotate more of them, or change sampler.ratio"
            for group in self.groups
            if group.draws > _TOO_OFTEN * len(group.tiles)
        )

    def _with_foreground(self, fraction: float) -> list[_Found]:
        """Tiles with a class, and all labelled tiles: the second group may draw the same ones again."""
        positive, labelled = self._positive(), np.flatnonzero(self._counts.sum(axis=1) > 0)
        found = [("foreground", positive, fraction, self._classes()), ("any", labelled, 1 - fraction, ())]
        return found if fraction < 1 else found[:1]

    def _by_content(self, ratio: Sequence[float]) -> list[_Found]:
        positive, classes = self._positive(), self._classes()
        negative = np.flatnonzero((self._counts.sum(axis=1) > 0) & ~self._shows_class())
        found = [("positive", positive, float(ratio[0]), classes)]
        if not len(negative) and ratio[1] > 0:
            self.notes += ("no training tile is without a class: batches hold positive tiles only",)
        elif ratio[1] > 0:
            found.append(("negative", negative, float(ratio[1]), (self._background,)))
        return found

    def _by_class(self, ratio: Mapping[str, float]) -> list[_Found]:
        self._check_names(ratio)
        found: list[_Found] = []
        for i, name in enumerate(self._names):
            weight = ratio.get(name, 0.0)
            if weight <= 0:
                continue
            if i == self._background:
                members = np.flatnonzero((self._counts.sum(axis=1) > 0) & ~self._shows_class())
            else:
                members = np.flatnonzero(self._counts[:, i] > 0)
            if not len(members):
                raise LabelError(
                    f"sampler.ratio asks for {name!r}, but no training tile "
                    + ("is without a class" if i == self._background else "shows it")
                    + f"; give it weight 0 (--set sampler.ratio.{name}=0) or put such slides into the train split"
                )
            found.append((name, members, float(weight), (i,)))
        if ratio.get(REJECTED, 0.0) > 0 and REJECTED not in self._names:
            found.append((REJECTED, self._rejected(), float(ratio[REJECTED]), (self._background,)))
        return found

    def _rejected(self) -> NDArray[np.int64]:
        members = np.flatnonzero([tile.origins.get(REJECTED, 0) > 0 for tile in self._tiles])
        if not len(members):
            raise LabelError(
                f"sampler.ratio asks for {REJECTED!r}, but no training tile has a rejected place; "
                "export with --reviewed, or leave it out"
            )
        return members

    def _check_names(self, ratio: Mapping[str, float]) -> None:
        unknown = [name for name in ratio if name not in (*self._names, REJECTED)]
        missing = [name for name in self._class_names() if name not in ratio]
        faults = []
        faults += [f"{name!r} is no class, {or_else(name, self._names)}" for name in unknown]
        faults += [f"{name!r} has no weight (0 leaves it out)" for name in missing]
        if faults:
            raise ConfigError(f"sampler.ratio: {listed(faults, joint='; ')}")

    def _positive(self) -> NDArray[np.int64]:
        shown = self._shows_class()
        if not shown.any():
            raise LabelError(
                f"none of {len(shown)} training tiles shows a class ({listed(self._class_names())}); "
                "check the label map's 'from' names, or give annotated slides to the train split"
            )
        return np.flatnonzero(shown)

    def _classes(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self._names)) if i != self._background)

    def _shows_class(self) -> NDArray[np.bool_]:
        return np.asarray(np.delete(self._counts, self._background, axis=1).sum(axis=1) > 0)

    def _class_names(self) -> list[str]:
        return [name for i, name in enumerate(self._names) if i != self._background]

    def epoch(self, number: int, errors: NDArray[np.float32] | None = None) -> Epoch:
        """Draw epoch `number` (from 0).

        Args:
            number: Of the epoch.
            errors: (tiles,) fraction of each tile's known pixels that the model got wrong when it saw it last, 0..1;
                NaN for tiles that it has not seen. Only looked at with `hard_negatives`.
        """
        tiles = [self._tiles_of(i, number, errors) for i in range(len(self.groups))]
        groups = [np.full(len(drawn), i) for i, drawn in enumerate(tiles)]
        when = [(np.arange(len(drawn)) + 0.5) / len(drawn) for drawn in tiles]
        # Every group is spread evenly over the epoch, so that each batch has the ratio as nearly as it can.
        order = np.argsort(np.concatenate(when), kind="stable")
        return Epoch(
            tiles=np.concatenate(tiles)[order],
            groups=np.concatenate(groups)[order],
            starts=_batch_starts(len(order), self._batch_size),
        )

    def _tiles_of(self, group: int, epoch: int, errors: NDArray[np.float32] | None) -> NDArray[np.int64]:
        chosen = self.groups[group]
        # The third number of a key tells random streams apart: 0 and 1 in `_in_turn`, 3 and 4 here, 2 in the loop.
        hard = np.zeros(0, np.int64)
        if chosen.is_negative and errors is not None and self._hard:
            hard = _hardest(chosen.tiles, errors, round(self._hard * chosen.draws), (self._seed, group, 3, epoch))
        draws = chosen.draws - len(hard)
        if chosen.weights is None:
            return np.concatenate([hard, self._in_turn(group, epoch, draws)])
        # With draws enough, each tile that shows a class comes once; the weights share out the rest.
        base = chosen.tiles if draws >= len(chosen.tiles) and not chosen.is_negative else chosen.tiles[:0]
        key = (self._seed, group, 4, epoch)
        return np.concatenate([hard, base, in_proportion(chosen.tiles, chosen.weights, draws - len(base), key)])

    def _in_turn(self, group: int, epoch: int, draws: int) -> NDArray[np.int64]:
        """Tiles of an endless row of shuffled passes; `draws` may be fewer than the group's own."""
        members = self.groups[group].tiles
        whole, rest = divmod(draws, len(members))
        passes = [_shuffled(members, self._seed, group, 1, epoch, i) for i in range(whole)]
        if rest:
            # Of the endless row only those passes are shuffled that this epoch has a part of.
            first, last = epoch * rest // len(members), ((epoch + 1) * rest - 1) // len(members)
            row = np.concatenate([_shuffled(members, self._seed, group, 0, i) for i in range(first, last + 1)])
            start = epoch * rest - first * len(members)
            passes.append(row[start : start + rest])
        return np.concatenate(passes) if passes else members[:0]

    def describe(self, epoch: int = 0) -> dict[str, Any]:
        """Say what one epoch shows: plain values for run.json and for a table.

        `pixels_per_epoch` are those of the whole tiles that are drawn (crops show fewer), `pixels_of_tiles` those of
        all training tiles once.
        """
        drawn = self.epoch(epoch)
        pixels = self._counts[drawn.tiles].sum(axis=0)
        return {
            "batches": len(drawn),
            "tiles_per_epoch": len(drawn.tiles),
            "groups": [
                {
                    "name": group.name,
                    "tiles": len(group.tiles),
                    "per_epoch": group.draws,
                    "repeats": round(group.draws / len(group.tiles), 3),
                }
                for group in self.groups
            ],
            "pixels_per_epoch": {name: int(n) for name, n in zip(self._names, pixels, strict=True)},
            "pixels_of_tiles": {name: int(n) for name, n in zip(self._names, self._counts.sum(axis=0), strict=True)},
            "tiles_with_class": {
                name: int((self._counts[drawn.tiles][:, i] > 0).sum()) for i, name in enumerate(self._names)
            },
            "by_group": self._by_group(drawn),
            "unlabelled_tiles_left_out": self.unlabelled_tiles,
            "other_tiles_left_out": self._never_drawn(),
            "notes": list(self.notes),
        }

    def _by_group(self, drawn: Epoch) -> dict[str, dict[str, int]]:
        """By patient (or slide): tiles there are, and draws of an epoch in each group of tiles."""
        found: dict[str, dict[str, int]] = {}
        for tile in self._tiles:
            row = found.setdefault(tile.group, {"tiles": 0} | {group.name: 0 for group in self.groups})
            row["tiles"] += 1
        for index, group in zip(drawn.tiles.tolist(), drawn.groups.tolist(), strict=True):
            found[self._tiles[index].group][self.groups[group].name] += 1
        return dict(sorted(found.items()))

    def _never_drawn(self) -> int:
        used = np.unique(np.concatenate([group.tiles for group in self.groups]))
        return len(self._counts) - len(used) - self.unlabelled_tiles


_Found = tuple[str, NDArray[np.int64], float, tuple[int, ...]]
"""Name, tiles, weight and wanted classes of a group before its draws are known."""


def _pixel_counts(tiles: Sequence[TileRecord], labels: LabelMap) -> NDArray[np.int64]:
    """(tiles, classes) int64 labelled pixels, in the order of labels.trained_values."""
    rows = [[tile.pixels.get(value, 0) for value in labels.trained_values] for tile in tiles]
    return np.array(rows, dtype=np.int64).reshape(len(tiles), len(labels.trained_values))


def _draws(found: Sequence[_Found], background: int, total: int) -> list[int]:
    """Draws of each group per epoch: whole multiples of the ratio that show every class tile, or `total` split up."""
    weights = _whole_weights([weight for _, _, weight, _ in found])
    if total:
        return _apportion(total, weights)
    rounds = max(
        math.ceil(len(members) / weight)
        for (_, members, _, wanted), weight in zip(found, weights, strict=True)
        if wanted != (background,)
    )
    return [rounds * weight for weight in weights]


def _whole_weights(weights: Sequence[float]) -> list[int]:
    """Smallest whole numbers in the same ratio, 0.5 : 1 -> 1 : 2 (to a hundredth)."""
    fractions = [max(Fraction(weight).limit_denominator(100), Fraction(1, 100)) for weight in weights]
    scale = math.lcm(*(fraction.denominator for fraction in fractions))
    whole = [int(fraction * scale) for fraction in fractions]
    divisor = math.gcd(*whole)
    return [weight // divisor for weight in whole]


def _apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Split `total` by largest remainder."""
    # Fractions: no rounding may decide who gets a draw.
    exact = [Fraction(total * weight, sum(weights)) for weight in weights]
    whole = [int(part) for part in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole


def _batch_starts(length: int, batch_size: int) -> NDArray[np.int64]:
    """Where batches start, and the end; batch normalisation cannot work on a single tile, so none is left alone."""
    starts = np.append(np.arange(0, length, batch_size, dtype=np.int64), length)
    if len(starts) > 2 and batch_size > 1 and starts[-1] - starts[-2] == 1:
        starts = np.delete(starts, -2)
    return starts


def _hardest(
    members: NDArray[np.int64], errors: NDArray[np.float32], count: int, key: tuple[int, ...]
) -> NDArray[np.int64]:
    """Draw up to `count` tiles without replacement, in proportion to their errors; those without one never.

    Source: Efraimidis and Spirakis 2006, weighted random sampling: the largest u ** (1 / weight).
    """
    wrong = np.nan_to_num(errors[members].astype(np.float64))
    candidates, weight = members[wrong > 0], wrong[wrong > 0]
    # The logarithm has the same order and does not underflow for small weights.
    ranks = np.log(np.random.default_rng(key).random(len(candidates))) / weight
    return np.asarray(candidates[np.argsort(-ranks, kind="stable")[:count]])


def _shuffled(members: NDArray[np.int64], *key: int) -> NDArray[np.int64]:
    return np.random.default_rng(key).permutation(members)
