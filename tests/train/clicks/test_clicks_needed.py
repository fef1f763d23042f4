"""Counting the clicks that an object needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from qpkit_train.clicks.discs import Click
from qpkit_train.clicks.needed import clicks_needed, iou, play

INSIDE = np.zeros((20, 30), bool)
INSIDE[5:15, 5:25] = True


def half_by_half(clicks: Sequence[Click]) -> np.ndarray:
    """Each click inside brings the columns from its own on, those behind the last one stay."""
    found = np.zeros_like(INSIDE)
    for click in clicks:
        if click.is_inside:
            found[5:15, int(click.x) - 5 : int(click.x) + 5] = True
    return found & INSIDE


def test_a_perfect_answer_needs_one_click_and_no_answer_all_of_them() -> None:
    assert play(lambda clicks: INSIDE, INSIDE, ~INSIDE) == [1.0]
    never = play(lambda clicks: np.zeros_like(INSIDE), INSIDE, ~INSIDE, most=7)
    assert never == [0.0] * 7 and clicks_needed(never, 0.8, most=7) == 7


def test_clicks_go_where_something_is_missing() -> None:
    scores = play(half_by_half, INSIDE, ~INSIDE)
    assert scores[0] == pytest.approx(0.45) and scores[-1] == 1.0
    assert clicks_needed(scores, 0.4) == 1 and 2 <= clicks_needed(scores, 0.8) <= 4


def test_what_is_unknown_counts_neither_way() -> None:
    outside = ~INSIDE
    outside[:, 20:] = False
    answer = INSIDE.copy()
    answer[:, 26:] = True
    assert iou(answer, INSIDE, outside) == 1.0
