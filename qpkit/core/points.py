"""Points as prompts: what people clicked on, and where they said no. Slide frame."""

from __future__ import annotations

from dataclasses import dataclass

from qpkit.core.annotation import PathClass


@dataclass(frozen=True, slots=True)
class PointPrompt:
    """One point of a points annotation.

    Args:
        x, y: Level-0 px.
        path_class: Of what lies there.
    """

    x: float
    y: float
    path_class: PathClass


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidePrompts:
    """The points of a slide.

    Args:
        inside: On objects; each is on an object of its own until an answer says otherwise.
        outside: (x, y) of places that belong to none of them, level-0 px.
    """

    inside: tuple[PointPrompt, ...]
    outside: tuple[tuple[float, float], ...] = ()
