"""What a simulation found: scores of every training, beside what its annotations cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from qpkit.files import csv_bytes
from qpkit.rounds.simulate.settings import STRATEGIES, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One training, judged on the held-out slides.

    Args:
        seed: Of training, and of random regions.
        strategy: By which regions were chosen.
        round: From 1; 0 where everything is annotated.
        regions: Annotated so far.
        mm2: Annotated so far on the training slides.
        fraction: Of all that is annotated there.
        minutes: Of a person, by the stated costs.
        dice: By class, of all held-out pixels together; None if undefined.
        mean_dice: Over the classes without background; 0 where no model could be trained.
        baselines: By class, Dice of calling every held-out pixel this class; empty without a model.
        note: Why no model could be trained, else "".
    """

    seed: int
    strategy: Strategy
    round: int
    regions: int
    mm2: float
    fraction: float
    minutes: float
    dice: Mapping[str, float | None]
    mean_dice: float
    baselines: Mapping[str, float | None] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """All trainings.

    Args:
        scores: In the order in which they were made.
        slides: Names by split: train, val, test.
        regions: That could be chosen.
        annotated_mm2, annotated_minutes: Of everything annotated on the training slides.
        budget: Of a round.
        steps: Of each training.
        recipe: Its name.
        notes: What the user has to know.
        seconds: Wall time of this call.
    """

    scores: tuple[Score, ...]
    slides: Mapping[str, Sequence[str]]
    regions: int
    annotated_mm2: float
    annotated_minutes: float
    budget: str
    steps: int
    recipe: str
    notes: tuple[str, ...]
    seconds: float

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, background left out."""
        return tuple(dict.fromkeys(name for score in self.scores for name in score.dice))


def baselines_of(scores: Iterable[Score]) -> dict[str, float]:
    """Dice of calling every held-out pixel one class: by class, and as "mean" the best mean that this can have."""
    known = next((score.baselines for score in scores if score.baselines), {})
    dice = {name: value or 0.0 for name, value in known.items()}
    # Whoever says one class has a Dice of 0 for all others.
    return {"mean": max(dice.values()) / len(dice), **dice} if dice else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The mean over the seeds of one strategy and round.

    Args:
        strategy, round: Which.
        seeds: How many.
        mm2, fraction, minutes, regions: Means of what was annotated.
        dice: (mean, lowest, highest) by class, None where one is undefined; "mean" is that over the classes.
    """

    strategy: Strategy
    round: int
    seeds: int
    regions: float
    mm2: float
    fraction: float
    minutes: float
    dice: Mapping[str, tuple[float, float, float] | None]


def points_of(scores: Iterable[Score]) -> list[Point]:
    """Average over seeds; strategies in their order, rounds from the first."""
    found: dict[tuple[int, int], list[Score]] = {}
    for score in scores:
        found.setdefault((STRATEGIES.index(score.strategy), score.round), []).append(score)
    return [_point(found[key]) for key in sorted(found)]


def _point(scores: Sequence[Score]) -> Point:
    names = dict.fromkeys(name for score in scores for name in score.dice)
    dice = {"mean": _spread([score.mean_dice for score in scores])}
    dice |= {name: _spread([score.dice.get(name) for score in scores]) for name in names}
    return Point(
        strategy=scores[0].strategy,
        round=scores[0].round,
        seeds=len(scores),
        regions=mean(score.regions for score in scores),
        mm2=mean(score.mm2 for score in scores),
        fraction=mean(score.fraction for score in scores),
        minutes=mean(score.minutes for score in scores),
        dice=dice,
    )


def _spread(values: Sequence[float | None]) -> tuple[float, float, float] | None:
    known = [value for value in values if value is not None]
    return (mean(known), min(known), max(known)) if len(known) == len(values) else None


def verdicts(points: Sequence[Point]) -> list[str]:
    """Say when each strategy reaches the ceiling, and in how many rounds suggested regions beat random ones.

    By means over seeds of the mean Dice; nothing is said of what was not played.
    """
    dice = {(p.strategy, p.round): mean[0] for p in points if (mean := p.dice["mean"]) is not None}
    found = []
    ceiling = dice.get(("all", 0))
    for strategy in ("suggest", "random"):
        own = [p for p in points if p.strategy == strategy]
        if ceiling is None or not own:
            continue
        there = next((p for p in own if dice[strategy, p.round] >= ceiling), None)
        best = max(own, key=lambda p: dice[strategy, p.round])
        found.append(
            f"{strategy} does not reach the Dice of everything annotated ({ceiling:.3f}): at most "
            f"{dice[strategy, best.round]:.3f}, with {best.fraction:.1%} of the area"
            if there is None
            else f"{strategy} reaches the Dice of everything annotated ({ceiling:.3f}) with {there.fraction:.1%} of the"
            f" area and {there.minutes:.1f} min"
        )
    both = [p.round for p in points if p.strategy == "suggest" and ("random", p.round) in dice]
    if both:
        better = sum(dice["suggest", number] > dice["random", number] for number in both)
        found.append(f"suggested regions are better than random ones in {better} of {len(both)} rounds")
    return found


def scores_csv(scores: Sequence[Score], classes: Sequence[str]) -> bytes:
    """One row per training."""
    plain = ("strategy", "seed", "round", "regions", "mm2", "fraction", "minutes", "mean_dice")
    rows: list[list[Any]] = [[*plain, *(f"dice_{name}" for name in classes), "note"]]
    for score in scores:
        numbers = [getattr(score, key) for key in plain] + [score.dice.get(name) for name in classes]
        rows.append([*(round(value, 5) if isinstance(value, float) else value for value in numbers), score.note])
    return csv_bytes(rows)
