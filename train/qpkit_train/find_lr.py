"""The learning-rate range test: a few steps at rising rates, and where the loss falls fastest.

Source: Smith 2017, Cyclical Learning Rates for Training Neural Networks, section 3.3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError
from qpkit.progress import OnProgress, no_progress
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.loop import Training
from qpkit_train.machine.devices import make_fabric
from qpkit_train.planning.plan import planned
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder.start import run_file

LOWEST: Final = 1e-6
HIGHEST: Final = 1.0
STEPS: Final = 100

_SMOOTH: Final = 0.9
"""Weight of the losses before in the smoothed loss."""

_SETTLED: Final = 10
"""Steps after which the smoothed loss is the mean of enough batches to have a slope."""


_TOO_LARGE: Final = 4.0
"""The test ends where the smoothed loss is so many times its best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTest:
    """The result of a range test.

    Args:
        rates: Of each step, rising by a constant factor.
        losses: Smoothed (exponentially, 0.9), of each step.
        suggestion: Where the smoothed loss falls fastest per factor of the rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def find_learning_rate(
    tiles_root: Path, recipe: Recipe, *, steps: int = STEPS, on_progress: OnProgress = no_progress
) -> RangeTest:
    """Train for a few steps from 1e-6 up to 1, on what the sampler draws, and keep nothing.

    Args:
        tiles_root: What `qpkit export` wrote.
        recipe: All settings but the rate, the schedule and the clipping of gradients are used.
        steps: At most; the test ends early where the loss runs away.
        on_progress: Called with (steps done, steps, text).

    Raises:
        As `qpkit_train.loop.fit`; ConfigError if the loss never falls.
    """
    tile_set = read_tile_set(tiles_root)
    recipe = planned(tile_set, recipe).recipe
    data = training_tiles_of(tile_set, recipe)
    fabric = make_fabric(recipe)
    training = Training(Path(), recipe, data, fabric, run_file(tile_set, recipe, data, fabric.device))
    training.begin_learning()
    rates, losses, smooth = [], list[float](), 0.0
    batches = itertools.chain.from_iterable(
        training.read_ahead(training.batches_of(epoch)) for epoch in itertools.count()
    )
    for step, batch in enumerate(itertools.islice(batches, steps)):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / max(steps - 1, 1))
        training.set_rate(rate)
        loss = float(training.step(batch, step % training.steps_per_epoch))
        smooth = _SMOOTH * smooth + (1 - _SMOOTH) * loss
        # A mean that starts at 0 is too small at first.
        value = smooth / (1 - _SMOOTH ** (step + 1))
        if not math.isfinite(value) or (losses and value > _TOO_LARGE * min(losses)):
            break
        rates.append(rate)
        losses.append(value)
        on_progress(step + 1, steps, f"lr {rate:.1e} loss {value:.4f}")
    return RangeTest(rates=tuple(rates), losses=tuple(losses), suggestion=steepest(rates, losses))


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Find the rate at which the loss falls fastest over the logarithm of the rate, before its minimum.

    The first ten steps are left out: their means are of so few batches that they jump by themselves.

    Raises:
        ConfigError: It never falls.
    """
    lowest = int(np.argmin(losses)) if losses else 0
    if lowest < 2:
        raise ConfigError("the loss does not fall at any learning rate; look at the tiles (qpkit preview) and the loss")
    first = _SETTLED if lowest > _SETTLED + 1 else 0
    slope = np.gradient(np.array(losses[first : lowest + 1]), np.log(rates[first : lowest + 1]))
    return float(rates[first + int(np.argmin(slope))])
