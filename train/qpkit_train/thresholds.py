"""How sure a model has to be of a class: what falls short of it is background. Knows no torch.

A sampler that shows lesions more often than slides do makes a model call too much a lesion: of its answers between two
classes, the one that it saw more often comes first. The threshold that suits real slides is found on real tiles, by the
threshold curves of the report or of `qpkit evaluate`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.errors import ConfigError


def parse_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Read "CLASS=CHANCE" each, as `qpkit predict --threshold` has them.

    Raises:
        ConfigError: Not of this form, or a chance outside 0..1.
    """
    found = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            chance = float(number) if equals else math.nan
        except ValueError:
            chance = math.nan
        if not name or not 0 <= chance <= 1:
            raise ConfigError(f"--threshold {text!r}: write CLASS=CHANCE with a chance in 0..1, like Tumor=0.9")
        found[name] = chance
    return found


def limits_of(thresholds: Mapping[str, float], labels: LabelMap) -> NDArray[np.uint8]:
    """Thresholds by channel of the model.

    Args:
        thresholds: By class name; classes that are not named have none.
        labels: Of the model; channel i is labels.trained_values[i].

    Returns:
        (classes,) uint8, 255 is a chance of 1; as rasters of probabilities have them.

    Raises:
        ConfigError: A name is no class, or that of the background, which takes what is left.
    """
    names = [labels.name_of(value) for value in labels.trained_values]
    classes = [name for name in names if name != labels.name_of(labels.background)]
    for name in thresholds:
        if name not in classes:
            close = difflib.get_close_matches(name, classes, n=1)
            hint = f", did you mean {close[0]!r}?" if close else f"; it has {', '.join(classes)}"
            raise ConfigError(f"threshold of {name!r}: the model has no such class{hint}")
    return np.array([round(255 * thresholds.get(name, 0.0)) for name in names], np.uint8)


def hold_to(
    limits: NDArray[np.uint8], indices: NDArray[np.uint8], chances: NDArray[np.uint8], *, background: int
) -> NDArray[np.uint8]:
    """Give the background where the likeliest class is less likely than its limit.

    Args:
        limits: (classes,) as `limits_of` gives them.
        indices: (n, h, w) the likeliest classes.
        chances: (n, classes, h, w), 255 is 1.
        background: Channel of the background.

    Returns:
        (n, h, w) class indices.
    """
    chance = np.take_along_axis(chances, indices[:, np.newaxis].astype(np.int64), axis=1)[:, 0]
    return np.where(chance < limits[indices], np.uint8(background), indices)
