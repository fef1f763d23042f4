"""Did a round help? Validation patients through the new network and through the one that labelled, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from qpkit.dataset import TileRecord, TileSet
from qpkit.extras import extra
from qpkit.ops.scores.bootstrap import Interval, bootstrap_mean
from qpkit.ops.scores.confusion import class_indices, class_scores, confusion_of, empty_confusion, mean_score
from qpkit.progress import OnProgress, Ticker

Unit = Literal["patients", "slides", "tiles"]

_SEED: Final = 0

NOTES: Final[Mapping[Unit, str]] = {
    "patients": "",
    "slides": "the validation tiles are of one group (patient): the interval is over its slides, and too narrow",
    "tiles": "the validation tiles are of one slide: the interval is over its tiles, which are alike: much too narrow",
}
"""What has to be said about what an interval is over."""


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """A network on the validation tiles.

    Args:
        unit: What a Dice is of: "patients" (groups of the split) where two or more are labelled, else slides, or tiles.
        confusions: Rows are the truth, columns the prediction, by unit.
        dice: Mean over the classes without background, by unit; None where neither truth nor prediction has a class.
        by_class: Dice over all units together.
        mean: Of `dice`.
    """

    unit: Unit
    confusions: dict[str, list[list[int]]]
    dice: dict[str, float | None]
    by_class: dict[str, float | None]
    mean: float | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a round helped.

    Args:
        difference: Mean difference of Dice between the new network and the one that labelled, over the units.
        low, high: Its 95 % interval (percentile bootstrap over units); None with fewer than two.
        n: Units.
        accepted: Whether that counts as help by the rule that was set.
    """

    difference: float | None
    low: float | None
    high: float | None
    n: int
    accepted: bool


def validation_scores(run: Path, tiles: TileSet, *, on_progress: OnProgress) -> Scores:
    """Measure a run's best epoch on the labelled validation tiles.

    Raises:
        FormatError: Run or tiles are damaged.
    """
    with extra("train"):
        from qpkit_train.tile_predictions import TilePredictor

    values = tiles.labels.trained_values
    shown = [tile for tile in tiles.of_split("val") if any(tile.pixels.get(value) for value in values)]
    unit = _unit_of(shown)
    found = {_name(tile, unit): empty_confusion(len(values)) for tile in shown}
    ticker = Ticker(len(shown), on_progress)
    for tile, (classes, _) in TilePredictor(run).predict(tiles, shown):
        target = class_indices(tiles.read_mask(tile), values)
        found[_name(tile, unit)] += confusion_of(target, classes, len(values))
        ticker("validate")
    names = [tiles.labels.name_of(value) for value in values]
    background = values.index(tiles.labels.background)
    dice = {
        name: mean_score(class_scores(confusion, names), "dice", background=background)
        for name, confusion in found.items()
    }
    known = [value for value in dice.values() if value is not None]
    total = np.sum(list(found.values()), axis=0)
    return Scores(
        unit=unit,
        confusions={name: confusion.tolist() for name, confusion in found.items()},
        dice=dice,
        by_class={score.name: score.dice for score in class_scores(total, names)},
        mean=float(np.mean(known)) if known else None,
    )


def judged(new: Scores, old: Scores, *, accept: Literal["better", "surely", "always"]) -> Verdict:
    """Compare two networks on the same validation tiles.

    Args:
        new: Of the round.
        old: Of the network that labelled.
        accept: As in `RoundsFile`.
    """
    pairs = [(new.dice[name], old.dice[name]) for name in new.dice]
    found: Interval = bootstrap_mean(
        [None if one is None or other is None else one - other for one, other in pairs], seed=_SEED
    )
    is_better = {
        "better": (found.mean or 0) > 0,
        "surely": (found.low or 0) > 0,
        "always": True,
    }
    return Verdict(difference=found.mean, low=found.low, high=found.high, n=found.n, accepted=is_better[accept])


def _unit_of(tiles: Sequence[TileRecord]) -> Unit:
    if len({tile.group for tile in tiles}) > 1:
        return "patients"
    return "slides" if len({tile.slide for tile in tiles}) > 1 else "tiles"


def _name(tile: TileRecord, unit: Unit) -> str:
    return {"patients": tile.group, "slides": tile.slide, "tiles": tile.key}[unit]
