"""How many clicks an object needs: NoC, the measure of interactive segmentation. Knows no networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from qpkit_train.clicks.discs import Click
from qpkit_train.clicks.simulated import Mask, corrective_click

MOST_CLICKS: Final = 20
"""Objects that need more count as this many, as in the literature; how many they are is told beside it."""

Answer = Callable[[Sequence[Click]], Mask]
"""What is answered to all clicks so far, (h, w) bool."""


def play(answer: Answer, inside: Mask, outside: Mask, *, most: int = MOST_CLICKS, until: float = 1.0) -> list[float]:
    """Click as a person who wants an object: into its middle, then into the middle of the largest error each time.

    Args:
        answer: Is asked after every click.
        inside, outside: (h, w) bool of the object, and of what is known not to be it.
        most: Clicks.
        until: Stops at this IoU.

    Returns:
        IoU over what is known after each click; fewer than `most` where it was reached, or nothing is wrong any more.
    """
    clicks: list[Click] = []
    found = np.zeros_like(inside)
    scores: list[float] = []
    while len(clicks) < most and (not scores or scores[-1] < until):
        click = corrective_click(found, inside, outside, clicks)
        if click is None:
            break
        clicks.append(click)
        found = answer(clicks)
        scores.append(iou(found, inside, outside))
    return scores


def iou(answer: Mask, inside: Mask, outside: Mask) -> float:
    """Intersection over union of an answer and an object, over what is known; 1 if both are empty."""
    union = int((inside | (answer & outside)).sum())
    return int((answer & inside).sum()) / union if union else 1.0


def clicks_needed(scores: Sequence[float], threshold: float, *, most: int = MOST_CLICKS) -> int:
    """Clicks until an IoU was reached for the first time; `most` where it never was."""
    return next((number for number, score in enumerate(scores, start=1) if score >= threshold), most)
