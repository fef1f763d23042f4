"""What a split can be asked for, checked; and what the parts of it are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from qpkit.dataset.leakage import LeakageKind, parse_leakage_kinds
from qpkit.dataset.record import SPLITS, Split
from qpkit.dataset.splits import FRACTIONS, SplitRule, parse_fractions
from qpkit.errors import ConfigError
from qpkit.settings import Flag, Range, Settings


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings(Settings):
    """How a table is shared out anew.

    Args:
        by: What stays together: group (as in the table), slide, patient:KEY, metadata:KEY or tile (leaks).
        folds: This many folds, instead of --fractions.
        fold: 1 to --folds: tested; the next one validates, the others train. Of two folds, this one validates.
            Default: every fold in turn, a table each.
        fractions: train:val:test. Default: 8:1:1.
        stratify: Share out every class evenly, too.
        seed: Of the draw.
        allow: Accept tile, group, image or patient leakage (repeatable).
    """

    by: Annotated[SplitRule | None, Flag(parse=parse_by, shown="group")] = None
    folds: Annotated[int | None, Range(at_least=2)] = None
    fold: Annotated[int | None, Range(at_least=1)] = None
    fractions: Annotated[tuple[float, float, float] | None, Flag(parse=parse_fractions)] = None
    stratify: Annotated[bool, Flag(name="--stratify/--no-stratify")] = True
    seed: Annotated[int, Range(at_least=0)] = 0
    allow: Annotated[frozenset[LeakageKind], Flag(name="--allow-leakage", parse=parse_leakage_kinds, many=True)] = (
        frozenset()
    )

    def faults(self) -> Iterator[str]:
        """Name what does not go together, and leakage that is not allowed."""
        if self.folds is not None and self.fractions is not None:
            yield "--folds and --fractions exclude each other; give one"
        if self.fold is not None and self.folds is None:
            yield "--fold goes with --folds"
        elif self.fold is not None and self.fold > (self.folds or 1):
            yield f"--fold {self.fold}: has to be 1 to {self.folds} (--folds)"
        if self.folds is not None and self.by is not None and self.by.by == "metadata":
            yield f"--by {self.by} takes the split from the metadata; it does not go with --folds"
        if self.by is not None and self.by.by == "tile" and "tile" not in self.allow:
            yield (
                "--by tile draws single tiles, so that neighbours leak from one split into another and figures look "
                "better than the model is; if that is wanted, add --allow-leakage tile"
            )

    @property
    def tested(self) -> int:
        """The fold that is tested, from 1."""
        return self.fold or 1

    @property
    def drawn(self) -> tuple[float, float, float]:
        """Fractions of train, val and test, where there are no folds."""
        return self.fractions or FRACTIONS

    @property
    def rule(self) -> str:
        """What is kept together, as the command line says it."""
        return "group" if self.by is None else str(self.by)

    @property
    def parts(self) -> list[str]:
        """Names of the parts that have to be filled: folds, or the splits with a fraction."""
        if self.folds is not None:
            return [str(number) for number in range(1, self.folds + 1)]
        return [name for name, fraction in zip(SPLITS, self.drawn, strict=True) if fraction]

    @property
    def wished(self) -> list[float]:
        """The wished fraction of each of `parts`, sum 1."""
        if self.folds is not None:
            return [1 / self.folds] * self.folds
        return [fraction / sum(self.drawn) for fraction in self.drawn if fraction]

    def split_of(self, part: str) -> Split:
        """The split that a part is in."""
        if self.folds is None:
            return next(name for name in SPLITS if name == part)
        held_out: Sequence[Split] = ("test", "val") if self.folds > 2 else ("val",)
        later = (int(part) - self.tested) % self.folds
        return held_out[later] if later < len(held_out) else "train"

    def to_builtins(self) -> dict[str, Any]:
        """Plain values for export.json."""
        named = self.by is not None and self.by.by == "metadata"
        return {
            "by": self.rule,
            "folds": self.folds,
            "fold": self.tested if self.folds else None,
            "fractions": None if self.folds or named else list(self.drawn),
            "stratified": self.stratify and not named,
            "seed": None if named else self.seed,
            "allow_leakage": sorted(self.allow),
        }
