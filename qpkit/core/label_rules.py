"""What a label map may say beyond "this class has this value": overlaps, derived classes, boundaries, strokes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Overlap = Literal["order", "smallest-on-top", "error"]
"""Which of two objects has the pixels that both cover."""

Masks = Literal["single", "multi-label"]
"""One value a pixel, or one channel a class."""

Between = Literal["instances", "classes"]
"""Whose outlines are boundaries: every object's (and every derived part's), or those of a class's whole area."""

CellShape = Literal["outline", "nucleus"]
DrawnKind = Literal["annotation", "detection", "cell"]

Erased = Literal["background", "ignore"]
"""What an eraser leaves."""

THE_REST: Final = "*"
"""As a QuPath class: every class that the label map does not name and whose name does not end in "*"."""

UNCLASSIFIED: Final = ""
"""As a QuPath class: objects without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """How the area of a class follows from those of others, all by their names in the label map.

    The areas are those drawn, whatever covers them in the mask. In this order: all of `of`, grown by `grow_um`, inside
    all of `inside`, at most `within_um` from any of `around`, without all of `outside`.

    Args:
        of: Classes to start from, together.
        inside: Classes, together; () is everywhere. labels.toml calls it "and".
        outside: Classes to cut off. labels.toml calls it "not".
        grow_um: Grow (or with a minus shrink) by this much; 0 leaves as it is.
        around: Classes from which `within_um` is measured; their lines and points count, too.
        within_um: Farthest distance, um; what `around` itself covers is at distance 0.
    """

    of: tuple[str, ...]
    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    grow_um: float = 0.0
    around: tuple[str, ...] = ()
    within_um: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Every class that it is made from."""
        return (*self.of, *self.inside, *self.outside, *self.around)

    @property
    def has_um(self) -> bool:
        """Whether it can only be drawn where um per px is known."""
        return bool(self.grow_um or self.within_um)


@dataclass(frozen=True, slots=True)
class Eraser:
    """A QuPath class that says "not this": it takes away what lies below it in the order of painting.

    Args:
        name: What reports call it.
        leaves: What its pixels are.
        sources: Names of the QuPath classes that are drawn with it.
        place: Its place in the order of painting, counted among classes and erasers from 0.
        optional: Whether it is fine if no object anywhere has one of the QuPath classes.
    """

    name: str
    leaves: Erased
    sources: tuple[str, ...]
    place: int
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Boundary:
    """A band along outlines, half of it on either side.

    Args:
        value: Pixel value: that of a class without sources, or the map's background or ignore.
        width_um: Of the whole band.
        between: Whose outlines.
    """

    value: int
    width_um: float
    between: Between = "instances"


def derivation_faults(derivations: Mapping[str, Derivation], known: Sequence[str]) -> Iterator[str]:
    """Say what is wrong with derived classes: strange names, circles, numbers that are no lengths.

    Args:
        derivations: By name of the derived class.
        known: Every class of the label map.
    """
    for name, rule in derivations.items():
        for other in dict.fromkeys(rule.names):
            if other not in known:
                yield f"class {name!r} is derived from {other!r}, which the label map does not have"
        if not rule.of:
            yield f"class {name!r} is derived of nothing"
        if not math.isfinite(rule.grow_um):
            yield f"class {name!r}: grow_um = {rule.grow_um} is no length"
        if bool(rule.around) != bool(rule.within_um):
            yield f"class {name!r}: within_um and around need each other"
        elif rule.around:
            yield from length_faults(f"class {name!r}: within_um", rule.within_um)
    yield from _circles(derivations)


def _circles(derivations: Mapping[str, Derivation]) -> Iterator[str]:
    """Name each circle of derived classes once, from its first class on."""
    done: set[str] = set()
    for start in derivations:
        path: list[str] = []
        if circle := _circle(start, derivations, path, done):
            yield f"classes are derived from each other in a circle: {' -> '.join(circle)}"


def _circle(name: str, derivations: Mapping[str, Derivation], path: list[str], done: set[str]) -> list[str]:
    if name in path:
        return [*path[path.index(name) :], name]
    if name in done or name not in derivations:
        return []
    path.append(name)
    found = next((c for other in derivations[name].names if (c := _circle(other, derivations, path, done))), [])
    path.pop()
    done.add(name)
    return found


def length_faults(what: str, um: float | None) -> Iterator[str]:
    """Say it if a stated length is not a positive number of um."""
    if um is not None and not (um > 0 and math.isfinite(um)):
        yield f"{what} = {um} has to be a positive number of um"
