"""The points annotations of slides as prompts: their class says what was clicked on, "Ignore*" that it is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import shapely

from qpkit.core.annotation import DEFAULT_PLANE, Annotation
from qpkit.core.points import PointPrompt, SlidePrompts
from qpkit.errors import ConfigError, FormatError
from qpkit.workflows.inputs.slides import SlideInput

NOT_HERE: Final = "Ignore*"
"""QuPath's class of points that say where an object is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsOfSlides:
    """The points of slides.

    Args:
        inputs: Slides with a point on something.
        prompts: Of each of them, by name.
        notes: What was found and what was left out.
    """

    inputs: tuple[SlideInput, ...]
    prompts: Mapping[str, SlidePrompts]
    notes: tuple[str, ...]


def points_of_slides(inputs: Sequence[SlideInput]) -> PointsOfSlides:
    """Read the points annotations of slides.

    Each point stands for itself: QuPath keeps many points of one class in one annotation.

    Raises:
        FormatError: A point lies outside its slide; or annotations cannot be read.
        ConfigError: No slide has a point with a class.
    """
    left_out: Counter[str] = Counter()
    prompts = {item.source.name: _prompts(item, left_out) for item in inputs}
    found = {name: own for name, own in prompts.items() if own.inside}
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    if not found:
        left = f" (left out: {reasons})" if reasons else ""
        raise ConfigError(f"--prompts: no slide has points with a class{left}; draw them with QuPath's points tool")
    inside, outside = (sum(len(part) for part in parts) for parts in zip(*map(_parts, found.values()), strict=True))
    notes = [f"{inside:,} points on objects and {outside:,} of class {NOT_HERE} on {len(found)} slide(s)"]
    if reasons:
        notes.append(f"points left out: {reasons}")
    if without := len(inputs) - len(found):
        notes.append(f"{without} slide(s) without points on objects were left out")
    return PointsOfSlides(
        inputs=tuple(item for item in inputs if item.source.name in found), prompts=found, notes=tuple(notes)
    )


def _parts(prompts: SlidePrompts) -> tuple[Sequence[object], Sequence[object]]:
    return prompts.inside, prompts.outside


def _prompts(item: SlideInput, left_out: Counter[str]) -> SlidePrompts:
    inside, outside = [], []
    for annotation in item.objects():
        if annotation.kind != "annotation":
            continue
        for x, y in _points(annotation):
            _require_on_slide(x, y, item)
            if annotation.plane.z != DEFAULT_PLANE.z or annotation.plane.t != DEFAULT_PLANE.t:
                left_out["on other planes than the first"] += 1
            elif annotation.path_class is None:
                left_out["without a class"] += 1
            elif annotation.class_name == NOT_HERE:
                outside.append((x, y))
            elif str(annotation.path_class).endswith("*"):
                left_out[f"of class {annotation.class_name}"] += 1
            else:
                inside.append(PointPrompt(x, y, annotation.path_class))
    return SlidePrompts(inside=tuple(inside), outside=tuple(outside))


def _points(annotation: Annotation) -> Iterator[tuple[float, float]]:
    if annotation.geometry.geom_type in ("Point", "MultiPoint"):
        for x, y in shapely.get_coordinates(annotation.geometry):
            yield float(x), float(y)


def _require_on_slide(x: float, y: float, item: SlideInput) -> None:
    if not (0 <= x < item.info.width and 0 <= y < item.info.height):
        raise FormatError(
            f"entry {item.source.name!r}: a point at {x:.10g}, {y:.10g} lies outside of the slide "
            f"({item.info.width} x {item.info.height} px); move or delete it in QuPath"
        )
