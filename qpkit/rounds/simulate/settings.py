"""What a simulation is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

from qpkit.errors import ConfigError
from qpkit.settings import FRACTION, Flag, Range
from qpkit.workflows.suggest.settings import SuggestSettings

Strategy = Literal["suggest", "random", "all"]
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)

_NUMBERS: Final = re.compile(r"\d+(,\d+)*")


def parse_strategies(text: str) -> tuple[Strategy, ...]:
    """Read "suggest,random".

    Raises:
        ConfigError: One of them is not known, or is there twice.
    """
    names = [part.strip() for part in text.split(",")]
    if len(set(names)) < len(names) or not set(names) <= set(STRATEGIES):
        raise ConfigError(f"--strategy {text!r}: has to be some of {', '.join(STRATEGIES)}, such as suggest,random")
    return tuple(name for name in STRATEGIES if name in names)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read "0,1,2".

    Raises:
        ConfigError: Not whole numbers that differ.
    """
    found = [int(part) for part in text.split(",")] if _NUMBERS.fullmatch(text) else []
    if not found or len(set(found)) < len(found):
        raise ConfigError(f"--seeds {text!r}: has to be whole numbers that differ, such as 0,1,2")
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateSettings(SuggestSettings):
    """How the loop is played.

    Args:
        rounds: So many, each of the budget that --n, --area or --minutes states.
        strategies: suggest (as qpkit suggest does it), random (the floor) and all (everything annotated, the ceiling);
            several with commas between them.
        seeds: Of training and of random regions; each repeats everything.
        steps: Of every training, whatever is annotated, rounded up to as many in each epoch of the recipe. Default: as
            the recipe says, or 500 where it goes by the tiles.
        n: So many regions a round.
        area: So much a round, such as 4% (of what is annotated on the training slides) or 0.02mm2; 4% if nothing is
            said of --n and --minutes either.
        minutes: So much work a round, by the two costs below: all is drawn by hand.
        min_truth: Least fraction of a region that is annotated, for it to be one.
        decision_s: Seconds to look at one annotated area and decide.
        outline_s_per_mm: Seconds to draw one mm of outline.
    """

    rounds: Annotated[int, Range(at_least=1)] = 5
    strategies: Annotated[
        tuple[Strategy, ...], Flag(name="--strategy", parse=parse_strategies, shown="suggest,random,all")
    ] = STRATEGIES
    seeds: Annotated[tuple[int, ...], Flag(parse=parse_seeds, shown="0")] = (0,)
    steps: Annotated[int | None, Range(at_least=1)] = None
    min_truth: Annotated[float, FRACTION] = 0.5

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if sum(value is not None for value in (self.n, self.area, self.minutes)) > 1:
            yield "--n, --area and --minutes exclude each other here; give one budget a round"
        if not self.seeds or not self.strategies:
            yield "--seeds and --strategy need one at least"

    @property
    def budget(self) -> str:
        """The budget of a round as people say it."""
        if self.n is not None:
            return f"{self.n} region(s)"
        return f"{self.minutes:g} min" if self.minutes is not None else self.area or "4%"

    def priced(self, mm2: Sequence[float], minutes: Sequence[float], every_mm2: float) -> tuple[list[float], float]:
        """What each region costs, and the budget of a round, in the same unit.

        Args:
            mm2, minutes: Of each region.
            every_mm2: What is annotated in all.

        Raises:
            ConfigError: The area is none.
        """
        if self.n is not None:
            return [1.0] * len(mm2), float(self.n)
        if self.minutes is not None:
            return list(minutes), self.minutes
        area = self.budget_mm2(every_mm2)
        return list(mm2), 0.04 * every_mm2 if area is None else area
