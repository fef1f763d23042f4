"""Which tiles an epoch shows, in which order. Index logic with numpy; knows no pixels, no torch.

Tiles are put into groups: positive and negative, or one per class. An epoch takes so many tiles of each group that the
groups stand in the asked ratio and every tile that shows a class comes at least once. What an epoch shows depends on
(seed, epoch) alone, never on what ran before, so a resumed training sees what an uninterrupted one sees.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.dataset import TileRecord
from qpkit.errors import ConfigError, LabelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tiles that are drawn alike.

    Args:
        name: "positive", "negative", "background" or a class.
        tiles: (n,) int64 indices into the list of tiles, ascending; not empty.
        draws: How many of them an epoch shows, repeats counted.
        wanted: Class indices of which a crop drawn for this group should hold a pixel.
    """

    name: str
    tiles: NDArray[np.int64]
    draws: int
    wanted: tuple[int, ...]


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


class BalancedSampler:
    """Draws epochs with a fixed composition.

    A group with n draws and m tiles shows each tile n // m times and takes the n % m others from an endless row of
    shuffled passes, going on where the epoch before stopped: without replacement until all were shown.

    Args:
        tiles: Of the training split; `pixels` decide the groups.
        labels: What the values mean.
        ratio: [positive, negative], or a share for each class of `labels` and, if wanted, for "background".
        batch_size: Tiles per batch; a last batch of one tile is joined to the one before.
        seed: Of every draw.
        steps_per_epoch: Batches per epoch; 0 for as many as show every tile that has a class once.

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
    ) -> None:
        counts = _pixel_counts(tiles, labels)
        self._names = tuple(labels.name_of(value) for value in labels.trained_values)
        self._counts = counts
        self._seed = seed
        self._batch_size = batch_size
        self._background = labels.trained_values.index(labels.background)
        self.notes: tuple[str, ...] = ()
        self.unlabelled_tiles = int((counts.sum(axis=1) == 0).sum())
        found = self._by_class(ratio) if isinstance(ratio, Mapping) else self._by_content(ratio)
        drawn = _draws(found, self._background, steps_per_epoch * batch_size)
        self.groups = tuple(
            Group(name=name, tiles=members, draws=draws, wanted=wanted)
            for (name, members, _, wanted), draws in zip(found, drawn, strict=True)
            if draws
        )

    def _by_content(self, ratio: Sequence[float]) -> list[_Found]:
        shown = self._shows_class()
        labelled = self._counts.sum(axis=1) > 0
        positive, negative = np.flatnonzero(shown), np.flatnonzero(labelled & ~shown)
        if not len(positive):
            raise LabelError(
                f"none of {len(shown)} training tiles shows a class ({', '.join(self._class_names())}); "
                "check the label map's 'from' names, or give annotated slides to the train split"
            )
        classes = tuple(i for i in range(len(self._names)) if i != self._background)
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
            share = ratio.get(name, 0.0)
            if share <= 0:
                continue
            if i == self._background:
                members = np.flatnonzero((self._counts.sum(axis=1) > 0) & ~self._shows_class())
            else:
                members = np.flatnonzero(self._counts[:, i] > 0)
            if not len(members):
                raise LabelError(
                    f"sampler.ratio asks for {name!r}, but no training tile "
                    + ("is without a class" if i == self._background else "shows it")
                    + f"; give it share 0 (--set sampler.ratio.{name}=0) or put such slides into the train split"
                )
            found.append((name, members, float(share), (i,)))
        return found

    def _check_names(self, ratio: Mapping[str, float]) -> None:
        unknown = [name for name in ratio if name not in self._names]
        missing = [name for name in self._class_names() if name not in ratio]
        faults = []
        for name in unknown:
            close = difflib.get_close_matches(name, self._names, n=1)
            faults.append(f"{name!r} is no class" + (f", did you mean {close[0]!r}?" if close else ""))
        faults += [f"{name!r} has no share (0 leaves it out)" for name in missing]
        if faults:
            raise ConfigError(f"sampler.ratio: {'; '.join(faults)}; the tiles have {', '.join(self._names)}")

    def _shows_class(self) -> NDArray[np.bool_]:
        return np.asarray(np.delete(self._counts, self._background, axis=1).sum(axis=1) > 0)

    def _class_names(self) -> list[str]:
        return [name for i, name in enumerate(self._names) if i != self._background]

    def epoch(self, number: int) -> Epoch:
        """Draw epoch `number` (from 0)."""
        tiles = [self._tiles_of(i, number) for i in range(len(self.groups))]
        groups = [np.full(len(drawn), i) for i, drawn in enumerate(tiles)]
        when = [(np.arange(len(drawn)) + 0.5) / len(drawn) for drawn in tiles]
        order = np.argsort(np.concatenate(when), kind="stable")
        return Epoch(
            tiles=np.concatenate(tiles)[order],
            groups=np.concatenate(groups)[order],
            starts=_batch_starts(len(order), self._batch_size),
        )

    def _tiles_of(self, group: int, epoch: int) -> NDArray[np.int64]:
        members, draws = self.groups[group].tiles, self.groups[group].draws
        whole, rest = divmod(draws, len(members))
        passes = [_shuffled(members, self._seed, group, 1, epoch, i) for i in range(whole)]
        if rest:
            first, last = epoch * rest // len(members), ((epoch + 1) * rest - 1) // len(members)
            row = np.concatenate([_shuffled(members, self._seed, group, 0, i) for i in range(first, last + 1)])
            start = epoch * rest - first * len(members)
            passes.append(row[start : start + rest])
        return np.concatenate(passes)

    def describe(self, epoch: int = 0) -> dict[str, Any]:
        """Say what one epoch shows: plain values for run.json and for a table.

        Pixels are those of the whole tiles that are drawn; crops show fewer.
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
            "unlabelled_tiles_left_out": self.unlabelled_tiles,
            "other_tiles_left_out": self._never_drawn(),
            "notes": list(self.notes),
        }

    def _never_drawn(self) -> int:
        used = np.unique(np.concatenate([group.tiles for group in self.groups]))
        return len(self._counts) - len(used) - self.unlabelled_tiles


_Found = tuple[str, NDArray[np.int64], float, tuple[int, ...]]
"""Name, tiles, share and wanted classes of a group before its draws are known."""


def _pixel_counts(tiles: Sequence[TileRecord], labels: LabelMap) -> NDArray[np.int64]:
    """(tiles, classes) int64 labelled pixels, in the order of labels.trained_values."""
    rows = [[tile.pixels.get(value, 0) for value in labels.trained_values] for tile in tiles]
    return np.array(rows, dtype=np.int64).reshape(len(tiles), len(labels.trained_values))


def _draws(found: Sequence[_Found], background: int, total: int) -> list[int]:
    """Draws of each group per epoch: whole multiples of the ratio that show every class tile, or `total` split up."""
    shares = _whole_shares([share for _, _, share, _ in found])
    if total:
        return _apportion(total, shares)
    rounds = max(
        math.ceil(len(members) / share)
        for (_, members, _, wanted), share in zip(found, shares, strict=True)
        if wanted != (background,)
    )
    return [rounds * share for share in shares]


def _whole_shares(shares: Sequence[float]) -> list[int]:
    """Smallest whole numbers in the same ratio, 0.5 : 1 -> 1 : 2 (to a hundredth)."""
    fractions = [max(Fraction(share).limit_denominator(100), Fraction(1, 100)) for share in shares]
    scale = math.lcm(*(fraction.denominator for fraction in fractions))
    whole = [int(fraction * scale) for fraction in fractions]
    divisor = math.gcd(*whole)
    return [share // divisor for share in whole]


def _apportion(total: int, shares: Sequence[int]) -> list[int]:
    """Split `total` by largest remainder."""
    exact = [Fraction(total * share, sum(shares)) for share in shares]
    whole = [int(part) for part in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole


def _batch_starts(length: int, batch_size: int) -> NDArray[np.int64]:
    """Where batches start, and the end; batch normalisation cannot work on a single tile, so none is left alone."""
    starts = np.append(np.arange(0, length, batch_size, dtype=np.int64), length)
    if len(starts) > 2 and batch_size > 1 and starts[-1] - starts[-2] == 1:
        starts = np.delete(starts, -2)
    return starts


def _shuffled(members: NDArray[np.int64], *key: int) -> NDArray[np.int64]:
    return np.random.default_rng(key).permutation(members)
