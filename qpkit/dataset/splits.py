"""Which slides teach, which tune, which test: whole groups, never tile by tile unless asked by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from qpkit.dataset.record import Split
from qpkit.errors import ConfigError, or_else

FRACTIONS: Final[tuple[float, float, float]] = (8.0, 1.0, 1.0)
"""train : val : test, as in the published pipeline's neighbours: 8:2 and 80/10/10."""

_NAMES: Final[Mapping[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def split_named(text: str) -> Split | None:
    """The split that a word names ("train", "Validation", "testing" ...), or None."""
    return _NAMES.get(text.strip().lower())


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How tiles are shared out.

    "slide" and "patient" keep groups together (all tiles of a slide, all slides with one value of the metadata key
    `key`) and draw by fractions; "metadata" takes the split that each entry's metadata names; "tile" draws single
    tiles, so that neighbours leak from one split into another.
    """

    by: Literal["slide", "patient", "metadata", "tile"] = "slide"
    key: str = ""
    option: str = field(default="--split", compare=False)

    @classmethod
    def parse(cls, text: str, *, option: str = "--split") -> SplitRule:
        """Read "slide", "patient:KEY", "metadata:KEY" or "tile"; `option` is what messages call it.

        Raises:
            ConfigError: Anything else.
        """
        by, _, key = text.partition(":")
        if by in ("slide", "tile") and not key:
            return cls("slide" if by == "slide" else "tile", option=option)
        if by in ("patient", "metadata") and key:
            return cls("patient" if by == "patient" else "metadata", key, option)
        raise ConfigError(f"{option} {text!r}: has to be slide, patient:KEY, metadata:KEY or tile")

    def __str__(self) -> str:
        return f"{self.by}:{self.key}" if self.key else self.by

    def group_of(self, slide: str, metadata: Mapping[str, str]) -> str:
        """Name the group that a slide's tiles belong to.

        Raises:
            ConfigError: The entry's metadata lack the key.
        """
        if self.by != "patient":
            return slide
        return self._value(slide, metadata)

    def named_split(self, slide: str, metadata: Mapping[str, str]) -> Split | None:
        """The split that the entry's metadata name ("train", "Validation", "test" ...); None for other rules.

        Raises:
            ConfigError: The key is missing or its value names no split.
        """
        if self.by != "metadata":
            return None
        value = self._value(slide, metadata)
        named = split_named(value)
        if named is None:
            raise ConfigError(
                f"{slide}: metadata {self.key!r} is {value!r}, not train, val or test; "
                f"to keep slides of one {self.key} together, use {self.option} patient:{self.key}"
            )
        return named

    def _value(self, slide: str, metadata: Mapping[str, str]) -> str:
        if self.key not in metadata:
            there = or_else(self.key, sorted(metadata))
            raise ConfigError(f"{slide}: no metadata {self.key!r} for {self.option} {self}; {there}")
        return metadata[self.key]


def parse_fractions(text: str) -> tuple[float, float, float]:
    """Read "8:1:1" as train : val : test.

    Raises:
        ConfigError: Not three numbers, a negative one, or nothing to train on.
    """
    try:
        train, val, test = (float(part) for part in text.split(":"))
    except ValueError:
        raise ConfigError(f"--fractions {text!r}: has to be train:val:test, such as 8:1:1") from None
    if not (train > 0 and val >= 0 and test >= 0 and math.isfinite(train + val + test)):
        raise ConfigError(f"--fractions {text!r}: none may be negative and train has to be positive")
    return train, val, test


def draw_splits(
    groups: Sequence[str], *, seed: int, fractions: tuple[float, float, float] = FRACTIONS
) -> dict[str, Split]:
    """Share out groups by fractions, at random but the same for the same seed and set of groups.

    Every split with a positive fraction gets at least one group as long as there are enough groups; with two groups
    validation comes before test, with one everything is training.

    Args:
        groups: Names, repeated or not; their order does not matter.
        seed: Of the draw.
        fractions: train, val, test as parse_fractions gives them; any scale.
    """
    names = sorted(set(groups))
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    val, test = _held_out(len(names), fractions)
    splits: dict[str, Split] = dict.fromkeys(order[:val], "val")
    splits |= dict.fromkeys(order[val : val + test], "test")
    return splits | dict.fromkeys(order[val + test :], "train")


def _held_out(count: int, fractions: tuple[float, float, float]) -> tuple[int, int]:
    """(val, test) sizes: rounded, at least one where wanted and there are enough, one group left for training."""
    total = sum(fractions)
    val = max(1, round(count * fractions[1] / total)) if fractions[1] else 0
    test = max(1, round(count * fractions[2] / total)) if fractions[2] else 0
    # Validation leaves one group for training and one for test; of two groups it has the other one.
    val = min(val, max(0, min(1, count - 1), count - 1 - min(test, 1)))
    return val, min(test, max(0, count - 1 - val))
