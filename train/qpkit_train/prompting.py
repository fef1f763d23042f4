"""Clicks on mini-batches while a network learns and is measured. Stands beside the loop, which knows two moments of it.

Clicks are made after the augmentation, on the object where it has been moved to: they lie on it, and their discs are
as large as in predictions. What is drawn depends on (seed, epoch, step, row) alone, the corrective ones also on the
network as it is; so a resumed training sees what an uninterrupted one sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.clicks.discs import Click, click_channels
from qpkit_train.clicks.simulated import corrective_click, first_click, further_clicks
from qpkit_train.models.forward import cropped
from qpkit_train.recipe.settings import Recipe

_STREAM: Final = 77
"""Of these random numbers, beside those of crops and augmentation."""

Answer = Callable[[Tensor], Tensor]
"""Logits of the network as it is, for (n, 5, h, w) float32 in 0..1."""

Clicks = list[list[Click]]
"""Of each sample of a mini-batch."""


class Prompting:
    """Clicks for the samples of a mini-batch; without `model.click_px` pixels stay as they are.

    Args:
        recipe: How many, and how large their discs are.
        answer: Asked where corrective clicks are made.
    """

    def __init__(self, recipe: Recipe, answer: Answer) -> None:
        self._config, self._radius_px, self._seed = recipe.prompts, recipe.model.click_px, recipe.seed
        self._answer = answer

    def clicked(self, pixels: Tensor, targets: Tensor, *, epoch: int, step: int, first: int = 0) -> Tensor:
        """Click on the samples of a training step.

        Args:
            pixels: (n, 3, h, w) float32 in 0..1, augmented.
            targets: (n, h, w) uint8: 1 the object, 0 not, IGNORE_INDEX. Where there is no object, it becomes unknown.
            epoch, step: Where the training is.
            first: Row of the whole batch that this part begins with.

        Returns:
            (n, 5, h, w) float32.
        """
        if not self._radius_px:
            return pixels
        masks = targets.cpu().numpy()
        targets[torch.from_numpy(~(masks == 1).any(axis=(1, 2))).to(targets.device)] = IGNORE_INDEX
        key = (self._seed, epoch, step, _STREAM)
        clicks = [self._first(mask, np.random.default_rng((*key, first + row))) for row, mask in enumerate(masks)]
        # One number for the whole batch, the same in all processes.
        rounds = int(np.random.default_rng(key).integers(self._config.corrective + 1))
        return self._corrected(pixels, masks, clicks, rounds)

    def measured(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """Click on validation tiles: into the middle of the object, then correctively; as `clicked`."""
        if not self._radius_px:
            return pixels
        masks = targets.cpu().numpy()
        clicks: Clicks = [[] for _ in masks]
        _add_corrective(clicks, np.zeros_like(masks, bool), masks)
        return self._corrected(pixels, masks, clicks, self._config.measured_clicks - 1)

    def _first(self, mask: NDArray[np.uint8], rng: np.random.Generator) -> list[Click]:
        inside = mask == 1
        if not inside.any():
            return []
        count = int(rng.integers(self._config.clicks))
        return [first_click(inside, rng), *further_clicks(inside, mask == 0, count, rng)]

    def _corrected(self, pixels: Tensor, masks: NDArray[np.uint8], clicks: Clicks, rounds: int) -> Tensor:
        """Add `rounds` corrective clicks to each sample, and put the discs of all behind the pixels."""
        height, width = masks.shape[1:]
        for _ in range(rounds):
            logits = self._answer(self._with_discs(pixels, clicks))
            answered = cropped(logits, height=height, width=width).argmax(dim=1).cpu().numpy() == 1
            _add_corrective(clicks, answered, masks)
        return self._with_discs(pixels, clicks)

    def _with_discs(self, pixels: Tensor, clicks: Clicks) -> Tensor:
        height, width = pixels.shape[-2:]
        discs = [click_channels(own, height=height, width=width, radius_px=self._radius_px) for own in clicks]
        channels = torch.from_numpy(np.stack(discs)).to(pixels.device, pixels.dtype) / 255
        return torch.cat([pixels, channels], dim=1)


def _add_corrective(clicks: Clicks, answered: NDArray[np.bool_], masks: NDArray[np.uint8]) -> None:
    """Click once more on each sample, where its answer is wrong; nobody clicks where there is no object."""
    for own, answer, mask in zip(clicks, answered, masks, strict=True):
        inside = mask == 1
        click = corrective_click(answer, inside, mask == 0, own) if inside.any() else None
        if click is not None:
            own.append(click)
