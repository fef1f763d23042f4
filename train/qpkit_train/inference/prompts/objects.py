"""From the points of a slide to its objects: what is asked, how much of the slide is shown, whose a pixel is.

Each point is asked about by itself. Two points of one class that lie in each other's answers are on one object, which
is asked about once more with all of its points. Points outside go with whatever is asked near them. Of an answer only
what is connected with a point on it counts, from a probability of 0.5; a pixel that several objects claim belongs to
the one that is the surest of it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from qpkit.core.annotation import PathClass
from qpkit.core.points import PointPrompt, SlidePrompts
from qpkit.core.tiles import Tile, level_size
from qpkit.slides import Slide
from qpkit_train.clicks.discs import Click
from qpkit_train.clicks.simulated import areas_of
from qpkit_train.inference.prompts.models import PromptModel
from qpkit_train.inference.prompts.settings import PromptSettings

_BATCH: Final = 4
"""Answers at a time."""

_MARGIN_PX: Final = 32
"""Around the points of one object."""

OnAnswer = Callable[[int], None]
"""Called with how many points were answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """What was answered to the points of one object.

    Args:
        points: On it.
        x, y: Level px of the upper left corner of what follows.
        probabilities: (h, w) float32; 0 outside of the object.
        is_cut: It reaches the edge of the most that was shown.
    """

    points: tuple[PointPrompt, ...]
    x: int
    y: int
    probabilities: NDArray[np.float32]
    is_cut: bool

    @property
    def path_class(self) -> PathClass:
        """Of its points."""
        return self.points[0].path_class

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing below the points, as far as the model knows."""
        return not self.probabilities.any()

    def holds(self, point: PointPrompt, downsample: float) -> bool:
        """Whether a point lies in it."""
        row, col = math.floor(point.y / downsample) - self.y, math.floor(point.x / downsample) - self.x
        height, width = self.probabilities.shape
        return 0 <= row < height and 0 <= col < width and bool(self.probabilities[row, col] > 0)


class SlideObjects:
    """Asks about the points of a slide.

    Args:
        model: What answers.
        slide: Opened.
        prompts: Its points.
        downsample: Slide px per px that the model sees.
        settings: How much it sees.
        on_answer: Told of the progress.
    """

    def __init__(
        self,
        model: PromptModel,
        slide: Slide,
        prompts: SlidePrompts,
        downsample: float,
        settings: PromptSettings,
        on_answer: OnAnswer,
    ) -> None:
        self._model, self._slide, self._prompts, self._downsample = model, slide, prompts, downsample
        self._size = level_size((slide.info.width, slide.info.height), downsample)
        self._sides = list(_sides(settings.crop_px, settings.largest_px, model.card.stride))
        self._on_answer = on_answer

    def found(self) -> list[FoundObject]:
        """All objects, in the order of their first points.

        Raises:
            FormatError: The slide cannot be read.
        """
        alone = self._answers([(point,) for point in self._prompts.inside])
        groups = self._joined(alone)
        together = iter(self._answers([group for group in groups if len(group) > 1]))
        by_point = {id(item.points[0]): item for item in alone}
        return [next(together) if len(group) > 1 else by_point[id(group[0])] for group in groups]

    def _joined(self, alone: Sequence[FoundObject]) -> list[tuple[PointPrompt, ...]]:
        """Points by object: those of one class that lie in each other's answers, directly or over others."""
        points = [item.points[0] for item in alone]
        tree = shapely.STRtree(shapely.points([(p.x / self._downsample, p.y / self._downsample) for p in points]))
        corners = [(item.x, item.y, *item.probabilities.shape[::-1]) for item in alone]
        boxes = [shapely.box(x, y, x + width, y + height) for x, y, width, height in corners]
        pairs = [(i, j) for i, j in tree.query(boxes).T.tolist() if i < j and self._are_one(alone[i], alone[j])]
        links = coo_array((np.ones(len(pairs)), tuple(np.array(pairs, int).reshape(-1, 2).T)), shape=(len(alone),) * 2)
        groups: dict[int, list[PointPrompt]] = defaultdict(list)
        for point, group in zip(points, connected_components(links, directed=False)[1].tolist(), strict=True):
            groups[group].append(point)
        return [tuple(group) for group in groups.values()]

    def _are_one(self, one: FoundObject, other: FoundObject) -> bool:
        return (
            str(one.path_class) == str(other.path_class)
            and one.holds(other.points[0], self._downsample)
            and other.holds(one.points[0], self._downsample)
        )

    def _answers(self, asked: Sequence[tuple[PointPrompt, ...]]) -> list[FoundObject]:
        """Answer each group of points, with as much of the slide as its answer takes."""
        answers: dict[int, FoundObject] = {}
        for last, side in [(side == self._sides[-1], side) for side in self._sides]:
            left = [i for i in range(len(asked)) if i not in answers]
            fitting = [i for i in left if last or self._extent(asked[i]) + 2 * _MARGIN_PX <= side]
            for start in range(0, len(fitting), _BATCH):
                part = fitting[start : start + _BATCH]
                for i, found in zip(part, self._at_size([asked[i] for i in part], side), strict=True):
                    if last or not found.is_cut:
                        answers[i] = found
                        self._on_answer(len(asked[i]))
        return [answers[i] for i in range(len(asked))]

    def _extent(self, points: Sequence[PointPrompt]) -> float:
        """The longer side of the box around points, level px."""
        xs, ys = [point.x for point in points], [point.y for point in points]
        return max(max(xs) - min(xs), max(ys) - min(ys)) / self._downsample

    def _at_size(self, asked: Sequence[tuple[PointPrompt, ...]], side: int) -> Iterator[FoundObject]:
        corners = [self._corner(points, side) for points in asked]
        images = [self._slide.read(self._square(x, y, side)) for x, y in corners]
        clicks = [self._clicks(points, *corner, side) for points, corner in zip(asked, corners, strict=True)]
        answers = self._model.answer(images, clicks)
        for points, (x, y), own, answer in zip(asked, corners, clicks, answers, strict=True):
            kept = connected_with(answer, own)
            yield self._cut_out(points, x, y, np.where(kept, answer, 0).astype(np.float32), side)

    def _corner(self, points: Sequence[PointPrompt], side: int) -> tuple[int, int]:
        """Where an image begins: points in its middle, but as little as can be beyond the slide, where all is white."""
        xs, ys = ([getattr(point, axis) / self._downsample for point in points] for axis in ("x", "y"))
        x, y = (
            max(0, min(math.floor((min(places) + max(places)) / 2 - side / 2), length - side))
            for places, length in zip((xs, ys), self._size, strict=True)
        )
        return x, y

    def _square(self, x: int, y: int, side: int) -> Tile:
        return Tile(col=0, row=0, x=x, y=y, width=side, height=side, downsample=self._downsample)

    def _clicks(self, points: Sequence[PointPrompt], x: int, y: int, side: int) -> list[Click]:
        """All clicks of an image: on the object, and near it those that say no."""
        inside = [Click(p.x / self._downsample - x, p.y / self._downsample - y) for p in points]
        places = [(px / self._downsample - x, py / self._downsample - y) for px, py in self._prompts.outside]
        return [*inside, *(Click(*at, is_inside=False) for at in places if all(0 <= c < side for c in at))]

    def _cut_out(
        self, points: tuple[PointPrompt, ...], x: int, y: int, kept: NDArray[np.float32], side: int
    ) -> FoundObject:
        """Keep the slide's part of an answer, and of that what is not empty."""
        width, height = self._size
        kept[height - y :] = kept[:, width - x :] = 0
        # At the slide's own edges there is no more to be shown.
        edges = (kept[0], y > 0), (kept[-1], y + side < height), (kept[:, 0], x > 0), (kept[:, -1], x + side < width)
        is_cut = any(has_more and bool(edge.any()) for edge, has_more in edges)
        rows, columns = (np.flatnonzero(kept.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return FoundObject(points=points, x=x, y=y, probabilities=np.zeros((0, 0), np.float32), is_cut=False)
        top, left = int(rows[0]), int(columns[0])
        part = kept[top : rows[-1] + 1, left : columns[-1] + 1].copy()
        return FoundObject(points=points, x=x + left, y=y + top, probabilities=part, is_cut=is_cut)


def connected_with(answer: NDArray[np.float32], clicks: Sequence[Click]) -> NDArray[np.bool_]:
    """(h, w) bool: pixels of a probability of 0.5 or more that are connected with one that was clicked on."""
    numbers, _ = areas_of(answer >= 0.5)
    height, width = answer.shape
    pixels = [click.pixel for click in clicks if click.is_inside]
    wanted = {int(numbers[row, col]) for row, col in pixels if 0 <= row < height and 0 <= col < width} - {0}
    return np.isin(numbers, list(wanted))


def _sides(first: int, most: int, stride: int) -> Iterator[int]:
    """Sides of what is shown, whole strides, each twice the one before."""
    side = -(-first // stride) * stride
    last = max(side, most // stride * stride)
    while side < last:
        yield side
        side *= 2
    yield last
