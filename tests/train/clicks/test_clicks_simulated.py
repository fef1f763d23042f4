"""Where simulated clicks lie."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qpkit_train.clicks.discs import Click
from qpkit_train.clicks.simulated import areas_of, corrective_click, depth_of, first_click, further_clicks

MASKS = arrays(np.bool_, (9, 11))
SEEDS = st.integers(0, 99)


@given(MASKS, SEEDS)
def test_the_first_click_is_inside_and_half_as_deep_as_the_deepest_pixel(inside: np.ndarray, seed: int) -> None:
    assume(inside.any())
    click = first_click(inside, np.random.default_rng(seed))
    assert click.is_inside and inside[click.pixel]
    assert depth_of(inside)[click.pixel] >= depth_of(inside).max() / 2


@given(MASKS, MASKS, SEEDS)
def test_further_clicks_are_inside_or_outside_as_they_say_and_never_where_nothing_is_known(
    inside: np.ndarray, known: np.ndarray, seed: int
) -> None:
    assume((inside & known).any())
    inside, outside = inside & known, ~inside & known
    clicks = further_clicks(inside, outside, 6, np.random.default_rng(seed))
    assert len(clicks) == 6
    for click in clicks:
        assert (inside if click.is_inside else outside)[click.pixel]


@given(MASKS, MASKS, MASKS)
def test_a_corrective_click_is_in_the_middle_of_the_largest_error(
    answer: np.ndarray, inside: np.ndarray, known: np.ndarray
) -> None:
    inside, outside = inside & known, ~inside & known
    click = corrective_click(answer, inside, outside)
    missing, too_much = inside & ~answer, outside & answer
    if click is None:
        assert not missing.any() and not too_much.any()
        return
    sizes = [np.bincount(areas_of(error)[0].ravel(), minlength=2)[1:].max() for error in (missing, too_much)]
    error = missing if click.is_inside else too_much
    numbers, _ = areas_of(error)
    own = numbers == numbers[click.pixel]
    assert error[click.pixel] and own.sum() == max(sizes)
    assert depth_of(own)[click.pixel] == depth_of(own).max()


def test_no_pixel_is_clicked_on_twice_and_of_nothing_wrong_there_is_no_click() -> None:
    inside = np.zeros((8, 8), bool)
    inside[2:5, 2:5] = True
    nothing = np.zeros_like(inside)
    clicks: list[Click] = []
    while (click := corrective_click(nothing, inside, ~inside, clicks)) is not None:
        clicks.append(click)
    assert clicks[0].pixel == (3, 3) and len({c.pixel for c in clicks}) == len(clicks) == 9
    assert corrective_click(inside, inside, ~inside) is None
