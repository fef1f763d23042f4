from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.tiles import Tile
from qpkit.errors import FormatError
from qpkit.slides import ArrayReader, Crop, Flip, Slide, Step, Turn, open_slide, parse_step

TURNS = st.builds(Turn, st.integers(0, 5))
FLIPS = st.builds(Flip, st.booleans(), st.booleans())


def picture(width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tile(x: int, y: int, width: int, height: int, downsample: float = 1.0) -> Tile:
    return Tile(col=0, row=0, x=x, y=y, width=width, height=height, downsample=downsample)


def applied(step: Step, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What numpy makes of a step: the definition."""
    if isinstance(step, Turn):
        return np.rot90(pixels, -step.quarters)
    if isinstance(step, Flip):
        pixels = pixels[:, ::-1] if step.across else pixels
        return pixels[::-1] if step.down else pixels
    return pixels[step.y : step.y + step.height, step.x : step.x + step.width]


@st.composite
def shown(draw: st.DrawFn) -> tuple[list[Step], NDArray[np.uint8], NDArray[np.uint8]]:
    """Steps, the file's pixels, and what is to be seen."""
    pixels = seen = picture(draw(st.integers(6, 40)), draw(st.integers(6, 40)))
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, 4))):
        step = draw(st.one_of(TURNS, FLIPS, st.just(None)))
        if step is None:
            height, width = seen.shape[:2]
            x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
            step = Crop(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))
        steps.append(step)
        seen = applied(step, seen)
    return steps, pixels, np.ascontiguousarray(seen)


@given(shown(), st.sampled_from([1.0, 1.5, 2.0, 3.7]), st.integers(-3, 9), st.integers(-3, 9))
def test_a_view_is_the_slide_that_numpy_makes_of_the_pixels(
    case: tuple[list[Step], NDArray[np.uint8], NDArray[np.uint8]], downsample: float, x: int, y: int
) -> None:
    steps, pixels, seen = case
    view, wanted = Slide(ArrayReader([pixels]), steps=steps), Slide(ArrayReader([seen]))
    assert (view.info.width, view.info.height) == (wanted.info.width, wanted.info.height)
    where = tile(x, y, 11, 7, downsample)
    difference = np.abs(view.read(where).astype(int) - wanted.read(where))
    assert difference.max() <= (0 if downsample in (1.0, 2.0) else 1)  # a turned sum may round the other way


@given(shown())
def test_steps_survive_as_text(case: tuple[list[Step], NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    assert [parse_step(str(step)) for step in case[0]] == case[0]


@pytest.mark.parametrize("text", ["", "turn", "turn:x", "turn:1,2", "crop:1,2,3", "flip:1", "spin:1"])
def test_other_texts_are_no_steps(text: str) -> None:
    with pytest.raises(FormatError, match="no way to show a slide"):
        parse_step(text)


def test_coarse_levels_are_used_where_a_crop_begins_between_their_pixels() -> None:
    """A ramp is the same on every level; had a level been moved to its own grid, the ramp would be off."""
    ramp = np.repeat(np.arange(0, 240, dtype=np.uint8)[np.newaxis], 64, axis=0)
    fine = np.stack([ramp] * 3, axis=-1)
    coarse = np.floor(fine.reshape(16, 4, 60, 4, 3).mean(axis=(1, 3)) + 0.5).astype(np.uint8)
    reader = ArrayReader([fine, coarse])
    read = Slide(reader, steps=[Crop(6, 3, 200, 50)]).read(tile(1, 1, 30, 8, 4.0))
    exact = Slide(ArrayReader([fine]), steps=[Crop(6, 3, 200, 50)]).read(tile(1, 1, 30, 8, 4.0))
    assert np.abs(read.astype(int) - exact).max() <= 1


@pytest.mark.parametrize("steps", [[Turn(2)], [Flip(True, False)]])
def test_levels_that_are_rounded_down_do_not_shift_when_turned(steps: list[Step]) -> None:
    """The level is 7 px of 2 px wide, the slide 15: the last slide px is on no level px."""
    fine = np.zeros((4, 15, 3), np.uint8)
    fine[:, ::1] = (np.arange(15, dtype=np.uint8) * 10)[:, np.newaxis]
    coarse = np.floor(fine[:, :14].reshape(2, 2, 7, 2, 3).mean(axis=(1, 3)) + 0.5).astype(np.uint8)
    read = Slide(ArrayReader([fine, coarse]), steps=steps).read(tile(1, 0, 6, 2, 2.0))
    exact = Slide(ArrayReader([fine]), steps=steps).read(tile(1, 0, 6, 2, 2.0))
    assert np.abs(read.astype(int) - exact).max() <= 5  # half a level px of this ramp; a shift would be 10


def test_what_lies_beside_a_crop_is_white_and_not_the_rest_of_the_file() -> None:
    slide = Slide(ArrayReader([np.zeros((50, 50, 3), np.uint8)]), steps=[Crop(10, 10, 20, 20)])
    read = slide.read(tile(-5, -5, 30, 30))
    assert (read[5:25, 5:25] == 0).all()
    read[5:25, 5:25] = 255
    assert (read == 255).all()


@pytest.mark.parametrize("crop", [Crop(-1, 0, 5, 5), Crop(0, 0, 51, 5), Crop(3, 48, 5, 5), Crop(0, 0, 0, 5)])
def test_a_crop_outside_the_image_is_refused(crop: Crop) -> None:
    with pytest.raises(FormatError, match="not inside the image"):
        Slide(ArrayReader([picture(50, 50)]), steps=[crop])


@pytest.mark.parametrize("version", ["v0.2.3", "v0.3.2", "v0.4.4", "v0.5.1", "v0.6.0", "v0.7.0"])
@pytest.mark.parametrize(
    ("entry", "steps", "wrong"),
    [(8, [Crop(100, 50, 400, 300)], [[]]), (9, [Turn(1)], [[], [Turn(2)], [Turn(3)]])],
)
def test_views_are_what_quPaths_own_thumbnails_show(
    shared: Path, version: str, entry: int, steps: list[Step], wrong: list[list[Step]]
) -> None:
    project = shared / "fixtures/qupath" / version / "project"
    with Image.open(project / f"data/{entry}/thumbnail.jpg") as file:
        thumbnail = np.asarray(file.convert("RGB")).astype(int)

    def distance(steps: list[Step]) -> float:
        with open_slide(project / "images/he.tif", steps=steps) as slide:
            whole = Image.fromarray(slide.read(tile(0, 0, slide.info.width, slide.info.height)))
        small = whole.resize((thumbnail.shape[1], thumbnail.shape[0]), Image.Resampling.BOX)
        return float(np.abs(np.asarray(small).astype(int) - thumbnail).mean())

    assert distance(steps) < 6.5  # JPEG, and QuPath's own way of making it small
    assert min(map(distance, wrong)) > 3 * distance(steps)
