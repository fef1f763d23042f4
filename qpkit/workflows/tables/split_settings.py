"""What a split can be asked for, checked; and what the parts of it are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qpkit.dataset.leakage import LeakageKind
from qpkit.dataset.record import Split
from qpkit.dataset.splits import FRACTIONS, SplitRule
from qpkit.errors import ConfigError

_ORDER: tuple[Split, Split, Split] = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """How a table is shared out anew.

    Args:
        by: What is kept together; None keeps the table's own groups.
        folds: k folds, or None for fractions.
        fold: 1 .. k: this fold is tested, the next one validates, the others train. Of two folds, this one validates.
        fractions: train, val, test as parse_fractions gives them.
        stratify: Share out every class evenly, too.
        seed: Of the draw.
        allow: Kinds of leakage that are accepted.

    Raises:
        ConfigError: Settings that do not go together, or leak without being allowed to.
    """

    by: SplitRule | None = None
    folds: int | None = None
    fold: int = 1
    fractions: tuple[float, float, float] = FRACTIONS
    stratify: bool = True
    seed: int = 0
    allow: frozenset[LeakageKind] = frozenset()

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: has to be 0 or more")
        if self.folds is not None and self.folds < 2:
            raise ConfigError(f"--folds {self.folds}: has to be 2 or more")
        if not 1 <= self.fold <= (self.folds or 1):
            raise ConfigError(f"--fold {self.fold}: has to be 1 to {self.folds or 1} (--folds)")
        if self.folds is not None and self.by is not None and self.by.by == "metadata":
            raise ConfigError(f"--by {self.by} takes the split from the metadata; it does not go with --folds")
        if self.by is not None and self.by.by == "tile" and "tile" not in self.allow:
            raise ConfigError(
                "--by tile draws single tiles, so that neighbours leak from one split into another and figures look "
                "better than the model is; if that is wanted, add --allow-leakage tile"
            )

    @property
    def rule(self) -> str:
        """What is kept together, as the command line says it."""
        return "group" if self.by is None else str(self.by)

    @property
    def parts(self) -> list[str]:
        """Names of the parts that have to be filled: folds, or the splits with a fraction."""
        if self.folds is not None:
            return [str(number) for number in range(1, self.folds + 1)]
        return [name for name, share in zip(_ORDER, self.fractions, strict=True) if share]

    @property
    def shares(self) -> list[float]:
        """The wished share of each of `parts`, sum 1."""
        if self.folds is not None:
            return [1 / self.folds] * self.folds
        return [share / sum(self.fractions) for share in self.fractions if share]

    def split_of(self, part: str) -> Split:
        """The split that a part is in."""
        if self.folds is None:
            return next(name for name in _ORDER if name == part)
        held_out: Sequence[Split] = ("test", "val") if self.folds > 2 else ("val",)
        later = (int(part) - self.fold) % self.folds
        return held_out[later] if later < len(held_out) else "train"

    def to_builtins(self) -> dict[str, Any]:
        """Plain values for export.json."""
        named = self.by is not None and self.by.by == "metadata"
        return {
            "by": self.rule,
            "folds": self.folds,
            "fold": self.fold if self.folds else None,
            "fractions": None if self.folds or named else list(self.fractions),
            "stratified": self.stratify and not named,
            "seed": None if named else self.seed,
            "allow_leakage": sorted(self.allow),
        }


def parse_by(text: str) -> SplitRule | None:
    """Read "group" (None), "slide", "patient:KEY", "metadata:KEY" or "tile".

    Raises:
        ConfigError: Anything else.
    """
    if text == "group":
        return None
    try:
        return SplitRule.parse(text, option="--by")
    except ConfigError:
        raise ConfigError(f"--by {text!r}: has to be group, slide, patient:KEY, metadata:KEY or tile") from None
