"""Whose a pixel is, which points are on one object, and how much of a slide is shown. The model is a made-up one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from qpkit.core.annotation import PathClass
from qpkit.core.points import PointPrompt, SlidePrompts
from qpkit.slides import Slide
from qpkit.slides.array import ArrayReader
from qpkit_train.clicks.discs import Click
from qpkit_train.clicks.simulated import areas_of
from qpkit_train.data.one_object import OBJECT_LABELS
from qpkit_train.inference.prompts.objects import FoundObject, SlideObjects, connected_with
from qpkit_train.inference.prompts.painting import BLOCK, painted
from qpkit_train.inference.prompts.settings import PromptSettings
from qpkit_train.models.card import ModelCard

TUMOR, STROMA = PathClass(("Tumor",)), PathClass(("Stroma",))


class Dark:
    """Answers with all that is dark, whatever was clicked on; not where somebody said no."""

    card = ModelCard(
        run="dark", name="dark", where="", labels=OBJECT_LABELS, mpp=None, downsample=1.0, trained={}, versions={}
    )
    device_name = "none"

    def __init__(self) -> None:
        self.sides: list[int] = []
        self.brightest = 0

    def answer(
        self, images: Sequence[NDArray[np.uint8]], clicks: Sequence[Sequence[Click]]
    ) -> list[NDArray[np.float32]]:
        self.sides += [len(image) for image in images]
        self.brightest = max(self.brightest, *(int(image.max()) for image in images))
        answers = [(image[..., 0] < 100).astype(np.float32) * 0.9 for image in images]
        for answer, own in zip(answers, clicks, strict=True):
            numbers, _ = areas_of(answer > 0)
            for click in own:
                if not click.is_inside:
                    answer[numbers == numbers[click.pixel]] = 0
        return answers


def slide_with(*boxes: tuple[int, int, int, int]) -> Slide:
    pixels = np.full((400, 600, 3), 220, np.uint8)
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = 40
    return Slide(ArrayReader([pixels]))


def found(
    slide: Slide, inside: Sequence[PointPrompt], outside: Sequence[tuple[float, float]] = (), **settings: int
) -> tuple[list[FoundObject], Dark]:
    model, answered = Dark(), list[int]()
    prompts = SlidePrompts(inside=tuple(inside), outside=tuple(outside))
    how = PromptSettings(**{"crop_px": 64, "largest_px": 256} | settings)  # type: ignore[arg-type]
    objects = SlideObjects(model, slide, prompts, 1.0, how, answered.append).found()
    assert sum(answered) >= len(inside)
    return objects, model


def box_of(item: FoundObject) -> tuple[int, int, int, int]:
    height, width = item.probabilities.shape
    return item.x, item.y, item.x + width, item.y + height


def test_an_object_is_what_is_connected_with_its_point() -> None:
    boxes = (100, 100, 120, 115), (130, 100, 150, 115)
    objects, _ = found(slide_with(*boxes), [PointPrompt(105, 110, TUMOR), PointPrompt(140, 105, STROMA)])
    assert [box_of(item) for item in objects] == [*boxes]


def test_points_of_one_class_in_each_others_answers_are_on_one_object() -> None:
    points = [PointPrompt(105, 110, TUMOR), PointPrompt(300, 30, TUMOR), PointPrompt(115, 104, TUMOR)]
    objects, _ = found(slide_with((100, 100, 120, 115), (290, 20, 310, 40)), points)
    assert [item.points for item in objects] == [(points[0], points[2]), (points[1],)]
    other = [points[0], PointPrompt(115, 104, STROMA)]
    assert len(found(slide_with((100, 100, 120, 115)), other)[0]) == 2


def test_more_is_shown_until_the_answer_has_room_and_no_more_than_was_allowed() -> None:
    wide = slide_with((150, 150, 260, 180))
    (item,), model = found(wide, [PointPrompt(200, 165, TUMOR)])
    assert box_of(item) == (150, 150, 260, 180) and not item.is_cut and model.sides == [64, 128]
    (cut,), _ = found(wide, [PointPrompt(200, 165, TUMOR)], largest_px=64)
    assert cut.is_cut and box_of(cut) == (168, 150, 232, 180)


def test_the_edge_of_the_slide_cuts_nothing() -> None:
    (item,), model = found(slide_with((0, 0, 20, 20), (580, 380, 600, 400)), [PointPrompt(5, 5, TUMOR)])
    assert box_of(item) == (0, 0, 20, 20) and not item.is_cut and model.sides == [64]


def test_what_is_beyond_a_slide_is_not_shown_where_the_slide_is_large_enough() -> None:
    boxes = (0, 0, 20, 20), (580, 380, 600, 400)
    objects, model = found(slide_with(*boxes), [PointPrompt(5, 5, TUMOR), PointPrompt(595, 395, TUMOR)])
    assert model.brightest == 220 and [box_of(item) for item in objects] == [*boxes]


def test_a_point_on_nothing_finds_nothing_and_a_no_near_it_is_heard() -> None:
    slide = slide_with((100, 100, 120, 115))
    (nothing,), _ = found(slide, [PointPrompt(300, 300, TUMOR)])
    (refused,), _ = found(slide, [PointPrompt(105, 105, TUMOR)], [(110.0, 110.0)])
    (far,), _ = found(slide, [PointPrompt(105, 105, TUMOR)], [(500.0, 300.0)])
    assert nothing.is_empty and refused.is_empty and not far.is_empty


def test_only_what_is_connected_with_a_click_inside_counts() -> None:
    answer = np.zeros((6, 8), np.float32)
    answer[1:3, 1:3], answer[4:, 5:] = 0.7, 0.5
    kept = connected_with(answer, [Click(1.5, 1.5), Click(6.5, 5.5, is_inside=False), Click(-3, 99)])
    assert kept.sum() == 4 and kept[1:3, 1:3].all()


@pytest.mark.parametrize("x", [10, BLOCK - 3])
def test_a_pixel_belongs_to_the_object_that_is_the_surest_of_it(x: int) -> None:
    weak, strong = np.full((4, 6), 0.6, np.float32), np.full((4, 6), 0.8, np.float32)
    objects = [
        FoundObject(points=(), x=x, y=BLOCK - 2, probabilities=weak, is_cut=False),
        FoundObject(points=(), x=x + 3, y=BLOCK - 2, probabilities=strong, is_cut=False),
    ]
    whole = np.zeros((2 * BLOCK, 2 * BLOCK), np.int32)
    for left, top, numbers in painted(objects):
        whole[top : top + BLOCK, left : left + BLOCK] = numbers
    expected = np.zeros_like(whole)
    expected[BLOCK - 2 : BLOCK + 2, x : x + 3], expected[BLOCK - 2 : BLOCK + 2, x + 3 : x + 9] = 1, 2
    np.testing.assert_array_equal(whole, expected)
