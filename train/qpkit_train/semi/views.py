"""Views of unlabelled tiles, and the loss on them: CutMix, pseudo-labels, channel dropout. No state.

Source: UniMatch V2 (Yang, Zhao, Zhao 2025): a weak view is labelled, strong views learn, every valid pixel counts in
the mean; rectangles of CutMix as there: 2 to 40 % of the area, sides at most 1 : 0.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.losses.pixels import pixel_losses
from qpkit_train.recipe.settings import AugmentConfig

UNLABELLED: Final = 254
"""In targets of a view: a pixel of the tile that nobody annotated, to be told from one outside (IGNORE_INDEX)."""

_AREA: Final = (0.02, 0.4)
_ASPECT: Final = (0.3, 1 / 0.3)

_STRONG: Final = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.1, "blur_px": 2.0}
"""Of strong views at strength 1. The publication turns hues by up to 0.25, which makes eosin green."""

_MOST: Final = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5, "blur_px": 8.0}


def strong_colors(config: AugmentConfig, strength: float) -> AugmentConfig:
    """What recolours strong views: the recipe's own, or more of it where a strong view has more."""
    more = {name: min(_MOST[name], max(getattr(config, name), strength * value)) for name, value in _STRONG.items()}
    return msgspec.structs.replace(config, **more)


def cutmix_boxes(
    rng: np.random.Generator, count: int, *, height: int, width: int, probability: float
) -> NDArray[np.bool_]:
    """Draw a rectangle for each of some images, or none; (count, height, width) bool, True inside."""
    boxes = np.zeros((count, height, width), bool)
    for box in boxes:
        is_mixed, area, aspect, row, col = rng.random(5)
        if is_mixed >= probability:
            continue
        area = (_AREA[0] + area * (_AREA[1] - _AREA[0])) * height * width
        aspect = _ASPECT[0] + aspect * (_ASPECT[1] - _ASPECT[0])
        rows, cols = min(height, round(math.sqrt(area * aspect))), min(width, round(math.sqrt(area / aspect)))
        top, left = int(row * (height - rows + 1)), int(col * (width - cols + 1))
        box[top : top + rows, left : left + cols] = True
    return boxes


def cutmix(boxes: Tensor, values: Tensor) -> Tensor:
    """Put into each box what the image before has there (the last one, into the first).

    Args:
        boxes: (n, h, w) bool.
        values: (n, h, w) of labels, or (n, channels, h, w) of pixels, which are mixed alike.
    """
    inside = boxes if values.ndim == 3 else boxes[:, None]
    return torch.where(inside, values.roll(1, 0), values)


def pseudo_labels(probabilities: Tensor, targets: Tensor, *, threshold: float) -> Tensor:
    """What a strong view learns: annotations where there are, else what the teacher says if it is sure.

    Args:
        probabilities: (n, classes, h, w) of the teacher on the weak view.
        targets: (n, h, w) class indices, UNLABELLED or IGNORE_INDEX.
        threshold: Least probability of a label.

    Returns:
        (n, h, w) int64: class indices; UNLABELLED where the teacher is not sure; IGNORE_INDEX outside.
    """
    sure, found = probabilities.max(dim=1)
    labels = torch.where(sure >= threshold, found, UNLABELLED)
    return torch.where(targets == UNLABELLED, labels, targets.long())


def unlabelled_loss(logits: Tensor, labels: Tensor, *, sigmoid: bool) -> Tensor:
    """Cross-entropy of the labelled pixels, summed and divided by the number of all valid ones.

    So it weighs the less, the fewer pixels the teacher is sure of.

    Args:
        logits: (n, classes, h, w) float.
        labels: As `pseudo_labels` gives them.
        sigmoid: As the recipe's loss has it.
    """
    learned = labels < UNLABELLED
    losses = pixel_losses(logits.float(), torch.where(learned, labels, IGNORE_INDEX), sigmoid=sigmoid)
    return (losses * learned).sum() / (labels != IGNORE_INDEX).sum().clamp(min=1)


class ChannelDropout:
    """Sets whole channels of an encoder's features to 0, inside a block.

    Args:
        encoder: Gives a list of features, the first one being the image; nothing happens to it outside of blocks.
        fraction: Of the channels; the others are scaled up.
    """

    def __init__(self, encoder: torch.nn.Module, fraction: float) -> None:
        self._fraction, self._is_on = fraction, False
        encoder.register_forward_hook(self._dropped)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Drop channels in a block."""
        self._is_on = True
        try:
            yield
        finally:
            self._is_on = False

    def _dropped(self, _: torch.nn.Module, __: Any, features: Any) -> Any:
        if not self._is_on:
            return None
        image, *rest = features
        return [image, *(F.dropout2d(part, self._fraction) if part.numel() else part for part in rest)]
