"""How clicks become channels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qpkit_train.clicks.discs import Click, click_channels, clicked_image

PLACES = st.floats(-8, 40, allow_nan=False)
CLICKS = st.lists(st.builds(Click, PLACES, PLACES, st.booleans()), max_size=5)


@given(CLICKS, st.integers(1, 7))
def test_a_pixel_is_in_a_disc_if_its_centre_is_at_most_a_radius_from_a_click_of_its_kind(
    clicks: list[Click], radius: int
) -> None:
    found = click_channels(clicks, height=24, width=32, radius_px=radius)
    rows, columns = np.indices((24, 32)) + 0.5
    for channel, is_inside in ((0, True), (1, False)):
        expected = np.zeros((24, 32), bool)
        for click in clicks:
            if click.is_inside == is_inside:
                expected |= (rows - click.y) ** 2 + (columns - click.x) ** 2 <= radius**2
        np.testing.assert_array_equal(found[channel], expected * np.uint8(255))


def test_the_channels_of_clicks_stand_behind_those_of_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    sample = clicked_image(image, [Click.on_pixel(4, 6, is_inside=True), Click(20, 10, is_inside=False)], radius_px=2)
    np.testing.assert_array_equal(sample[..., :3], image)
    assert sample[4, 6, 3] == sample[10, 20, 4] == 255 and sample[4, 6, 4] == sample[10, 20, 3] == 0


def test_a_click_on_a_pixel_lies_in_that_pixel() -> None:
    assert Click.on_pixel(7, 3, is_inside=False) == Click(3.5, 7.5, is_inside=False)
    assert Click.on_pixel(7, 3, is_inside=True).pixel == (7, 3)
