"""The label map as a value: what a pixel of a mask means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from qpkit.core.annotation import Annotation
from qpkit.core.label_rules import (
    THE_REST,
    UNCLASSIFIED,
    Boundary,
    CellShape,
    Derivation,
    DrawnKind,
    Eraser,
    Masks,
    Overlap,
    derivation_faults,
    length_faults,
)
from qpkit.errors import LabelError, listed

Unannotated = Literal["ignore", "background"]
Unlisted = Literal["skip", "ignore", "error"]


MOST_CLASSES: Final = 254
"""Values of a byte without those of background and ignore."""

RESERVED: Final = ("background", "ignore")
"""What the two values without a class are called."""


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One value of a mask.

    Args:
        name: What reports and predictions call it.
        value: Pixel value, 0..255.
        sources: Names of the QuPath classes that are drawn with it; "*" stands for every class that the map does not
            name, "" for objects without a class. None for derived classes and for the boundary.
        color: Signed ARGB for predictions, or None.
        derivation: How its area follows from other classes.
        optional: Whether it is fine if no object anywhere has one of the QuPath classes.
    """

    name: str
    value: int
    sources: tuple[str, ...]
    color: int | None = None
    derivation: Derivation | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMap:
    """Classes in painting order (later covers earlier, as in QuPath) and what the rest of the mask means.

    Args:
        classes: In painting order.
        background: Value of an annotated pixel that no class covers.
        ignore: Value of a pixel about which nothing is known; losses and metrics leave it out.
        unannotated: What lies outside every region: "ignore" or "background".
        unlisted: Annotations of classes that are not named here: "skip" (not drawn, reported), "ignore", "error".
        regions: QuPath classes inside which everything was annotated (background where nothing else is drawn).
        ignored: QuPath classes that are drawn as `ignore`, on top of everything.
        erasers: QuPath classes that take away what lies below them, by their place.
        overlap: Which of two objects of different values has the pixels that both cover: "order" the later class's,
            "smallest-on-top" the one with the smaller area, "error" neither is drawn, the overlap is refused.
        masks: "single" or "multi-label".
        instances: Whether every object also gets a number of its own.
        objects: Which of QuPath's objects classes are made of; regions and ignored areas are always annotations.
        cell: Whether a cell is drawn as its outline or as its nucleus.
        line_width_um, point_radius_um: How wide lines and how large points are drawn; None does not draw them.
        boundary: A band along outlines. If it has a value of its own, its class is among `classes`, without sources.

    Raises:
        LabelError: A value or a class is used twice, a value is outside 0..255, a derived class cannot be made, or a
            length is none. All faults in one message.
    """

    classes: tuple[LabelClass, ...]
    background: int = 0
    ignore: int = 255
    unannotated: Unannotated = "background"
    unlisted: Unlisted = "skip"
    regions: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    erasers: tuple[Eraser, ...] = ()
    overlap: Overlap = "order"
    masks: Masks = "single"
    instances: bool = False
    objects: tuple[DrawnKind, ...] = ("annotation",)
    cell: CellShape = "outline"
    line_width_um: float | None = None
    point_radius_um: float | None = None
    boundary: Boundary | None = None

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise LabelError("label map: " + listed(faults, joint="; "))

    def _faults(self) -> Iterable[str]:
        if len(self.classes) > MOST_CLASSES:
            yield (
                f"{len(self.classes):,} classes, and a mask holds {MOST_CLASSES}; write a labels.toml that merges "
                "them ([[class]] with several names in from)"
            )
            return
        values = [self.background, self.ignore, *(c.value for c in self.classes)]
        for value, count in Counter(values).items():
            if count > 1:
                yield f"value {value} is used {count} times"
            if not 0 <= value <= 255:
                yield f"value {value} does not fit a mask (0..255)"
        names = Counter(item.name for item in self.order)
        for name, count in names.items():
            if not name.strip() or name in RESERVED:
                yield f"a class cannot be called {name!r}"
            if count > 1:
                yield f"class {name!r} is there {count} times"
        sources = [s for item in self.order for s in item.sources]
        for name, count in Counter([*sources, *self.regions, *self.ignored]).items():
            if count > 1:
                yield f"QuPath class {name!r} is used {count} times"
        yield from self._faults_of_rules()

    def _faults_of_rules(self) -> Iterable[str]:
        derivations = {c.name: c.derivation for c in self.classes if c.derivation}
        yield from derivation_faults(derivations, [c.name for c in self.classes if c.sources or c.derivation])
        for name in (c.name for c in self.classes if c.derivation and c.sources):
            yield f"class {name!r} is either drawn from QuPath classes or derived of others, not both"
        yield from length_faults("line_width_um", self.line_width_um)
        yield from length_faults("point_radius_um", self.point_radius_um)
        if not self.objects:
            yield "objects = [] leaves nothing to draw"
        if self.masks == "multi-label" and self.ignore < 2:
            yield f"ignore = {self.ignore} cannot be told from a class's 0 and 1 in multi-label masks"
        if self.boundary is not None:
            yield from length_faults("boundary: width_um", self.boundary.width_um)
            free = {c.value for c in self.classes if not c.sources and not c.derivation}
            if self.boundary.value not in {self.background, self.ignore} | free:
                yield f"boundary: value {self.boundary.value} is not free"

    @property
    def values(self) -> tuple[int, ...]:
        """Every value a mask can hold, in ascending order: background, classes and ignore."""
        return tuple(sorted({self.background, self.ignore, *(c.value for c in self.classes)}))

    @property
    def trained_values(self) -> tuple[int, ...]:
        """Values a model learns, ascending: background and the classes. A model's channel i means value i of this."""
        return tuple(sorted({self.background, *(c.value for c in self.classes)}))

    @property
    def order(self) -> tuple[LabelClass | Eraser, ...]:
        """Classes and erasers in painting order."""
        items: list[LabelClass | Eraser] = list(self.classes)
        for eraser in sorted(self.erasers, key=lambda item: item.place):
            items.insert(eraser.place, eraser)
        return tuple(items)

    def name_of(self, value: int) -> str:
        """Name a mask value: a class name, "background" or "ignore"."""
        names = {self.background: "background", self.ignore: "ignore"} | {c.value: c.name for c in self.classes}
        return names[value]

    def class_of(self, class_name: str | None) -> LabelClass | None:
        """The class that objects of a QuPath class (None: of none) are drawn as; None where they are not.

        QuPath's ignored classes, whose names end in "*", are never part of the rest.
        """
        found = self.drawn_as(class_name)
        return found if isinstance(found, LabelClass) else None

    def drawn_as(self, class_name: str | None) -> LabelClass | Eraser | None:
        """As `class_of`, or the eraser that objects of a QuPath class are drawn with."""
        source = UNCLASSIFIED if class_name is None else class_name
        named = {s: item for item in self.order for s in item.sources}
        if source in named and source != THE_REST:
            return named[source]
        if class_name is None or class_name.endswith("*") or class_name in (*self.regions, *self.ignored):
            return None
        return named.get(THE_REST)

    def knows(self, class_name: str) -> bool:
        """Say whether the map says what to do with a QuPath class."""
        return class_name in self.regions or class_name in self.ignored or self.drawn_as(class_name) is not None

    def takes(self, item: Annotation) -> bool:
        """Say whether an object is of a kind that the map looks at; regions and ignored areas are annotations."""
        if item.kind == "annotation" and item.class_name in (*self.regions, *self.ignored):
            return True
        return item.kind in self.objects

    @property
    def um_settings(self) -> tuple[str, ...]:
        """Settings in um, which can only be drawn where um per px is known."""
        lengths = {"line_width_um": self.line_width_um, "point_radius_um": self.point_radius_um}
        derived = tuple(f"class {c.name!r}" for c in self.classes if c.derivation and c.derivation.has_um)
        return (*(name for name, um in lengths.items() if um), *derived, *(("[boundary]",) if self.boundary else ()))
