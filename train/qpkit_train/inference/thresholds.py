"""How sure a model has to be of a class: what falls short of it is background. Knows no torch.

A sampler that shows lesions more often than slides do makes a model call too much a lesion. `natural` undoes that:
where a class had odds of 1 : 8 in training and has 1 : 100 in the tiles, a probability of 0.5 in training is one of
0.07 in them, and 0.93 is what stands for even odds (Elkan 2001, The foundations of cost-sensitive learning). It takes
the model's probabilities at their word. `validated` does not: it is what had the highest Dice on the tiles that chose
the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.errors import ConfigError, or_else
from qpkit.ops.scores.probability_levels import LEVELS, scores_at_thresholds
from qpkit_train.models.card import ModelCard

NATURAL: Final = "natural"
"""Instead of probabilities by class: those that undo what the sampler did."""

VALIDATED: Final = "validated"
"""Instead of probabilities by class: those with the highest Dice on the tiles that chose the best epoch."""

Thresholds = Mapping[str, float] | Literal["natural", "validated"]


def parse_thresholds(texts: Sequence[str]) -> Thresholds:
    """Read "natural", "validated", or "CLASS=PROBABILITY" each, as `qpkit predict --threshold` has them.

    Raises:
        ConfigError: Not of this form, or a probability outside 0..1.
    """
    if list(texts) == [NATURAL]:
        return NATURAL
    if list(texts) == [VALIDATED]:
        return VALIDATED
    found = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            probability = float(number) if equals else math.nan
        except ValueError:
            probability = math.nan
        if not name or not 0 <= probability <= 1:
            raise ConfigError(
                f"--threshold {text!r}: write CLASS=PROBABILITY, 0..1, like Tumor=0.9, or natural or validated alone"
            )
        found[name] = probability
    return found


def resolved_thresholds(thresholds: Thresholds | None, card: ModelCard) -> dict[str, float]:
    """Probabilities by class name, those of "natural" worked out from what the model was shown.

    Raises:
        ConfigError: The model does not say what it was shown or what did best (a run of an earlier version), or a
            name is none of its classes.
    """
    if thresholds == VALIDATED:
        return _validated_of(card)
    if thresholds != NATURAL:
        assert not isinstance(thresholds, str)
        threshold_levels(thresholds or {}, card.labels)
        return dict(thresholds or {})
    shown, there = (card.trained.get(key) or {} for key in ("pixels_shown", "pixels_there"))
    if not shown or not there:
        raise ConfigError(
            f"{card.where}: does not say what it was shown, so {NATURAL} is unknown; give CLASS=PROBABILITY"
        )
    background = card.labels.name_of(card.labels.background)
    return {
        name: round(_even_probability(shown[name], sum(shown.values()), there[name], sum(there.values())), 4)
        for name in shown
        if name != background and shown[name] and there[name]
    }


def _validated_of(card: ModelCard) -> dict[str, float]:
    found = card.trained.get("thresholds")
    if not found:
        raise ConfigError(
            f"{card.where}: does not say which probabilities had the highest Dice on validation tiles ({VALIDATED}): "
            "give CLASS=PROBABILITY, from the threshold curves of qpkit evaluate on a validation slide"
        )
    return dict(found)


def validated(levels: NDArray[np.int64], labels: LabelMap) -> dict[str, float]:
    """Find the probabilities with the highest Dice, each class by itself.

    Args:
        levels: (classes, 2, 256) int64, as qpkit_train.validation.counts.Measured has them.
        labels: Of the model; channel i is labels.trained_values[i].

    Returns:
        By class name, in steps of 1 / 255; of equally good ones the one nearest to 0.5. Classes that the tiles do not
        show are left out.
    """
    found = {}
    for value, counts in zip(labels.trained_values, levels, strict=True):
        if value == labels.background or not counts[1].any():
            continue
        dice = [score.dice or 0.0 for score in scores_at_thresholds(counts, "")]
        best = max(range(1, LEVELS), key=lambda t: (dice[t], -abs(t - 127.5)))
        found[labels.name_of(value)] = round(best / 255, 4)
    return found


def _even_probability(shown: int, all_shown: int, there: int, all_there: int) -> float:
    """The probability in training that stands for even odds in the tiles."""
    return shown * (all_there - there) / (shown * (all_there - there) + there * (all_shown - shown))


def threshold_levels(thresholds: Mapping[str, float], labels: LabelMap) -> NDArray[np.uint8]:
    """Thresholds by channel of the model.

    Args:
        thresholds: By class name; classes that are not named have none.
        labels: Of the model; channel i is labels.trained_values[i].

    Returns:
        (classes,) uint8, 255 is a probability of 1; as rasters of probabilities have them.

    Raises:
        ConfigError: A name is no class, or that of the background, which takes what is left.
    """
    names = [labels.name_of(value) for value in labels.trained_values]
    classes = [name for name in names if name != labels.name_of(labels.background)]
    for name in thresholds:
        if name not in classes:
            raise ConfigError(f"threshold of {name!r}: the model has no such class; {or_else(name, classes)}")
    return np.array([round(255 * thresholds.get(name, 0.0)) for name in names], np.uint8)


def apply_thresholds(limits: NDArray[np.uint8], indices: Any, probabilities: Any, *, background: int) -> Any:
    """Give the background where the likeliest class is less likely than its limit.

    Args:
        limits: (classes,) as `threshold_levels` gives them.
        indices: (n, h, w) uint8, the likeliest classes; of numpy, or on a device.
        probabilities: (n, classes, h, w) uint8, 255 is 1; beside them.
        background: Channel of the background.

    Returns:
        (n, h, w) uint8 class indices, beside them.
    """
    xp, found = array_namespace(indices), indices
    instead = xp.full_like(indices, background)
    for channel in np.flatnonzero(limits).tolist():
        missed = (indices == channel) & (probabilities[:, channel] < int(limits[channel]))
        found = xp.where(missed, instead, found)
    return found
