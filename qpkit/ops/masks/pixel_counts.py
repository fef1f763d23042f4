"""Which rule of the label map decided how many pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, TypeVar

Key = TypeVar("Key")

Role = Literal["unannotated", "outside", "region", "class", "derived", "boundary", "erased", "ignored", "unknown"]
"""What a pixel is: nothing was drawn there, it is beside the slide, or what lies on top there."""


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of pixel: why it has its value, and which.

    Args:
        role: Why it has its value.
        value: The value.
        label: Class of the label map, "" without one.
        source: QuPath class that it was drawn from, "(none)" for unclassified objects, "" without one.
    """

    role: Role
    value: int
    label: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelCounts:
    """Mask pixels by the rule that decided them.

    The sources, derived, boundary, erased, ignored, region, unknown, unannotated and outside ones are all pixels,
    each once. The others tell what else was there.

    Args:
        sources: Pixels drawn from objects, by class of the label map and within it by QuPath class.
        derived: Pixels of derived classes.
        values: Pixels by mask value; those that occur.
        boundary: Pixels of the boundary.
        erased: Pixels of erasers.
        ignored: Pixels of ignored objects.
        region: Pixels inside a region where nothing is drawn.
        unknown: Pixels of predictions that are no truth (nobody looked at them), where nothing else is drawn.
        unannotated: Pixels outside every region where nothing is drawn.
        outside: Pixels beside the slide.
        overlap: Pixels covered by objects of different values, which the label map's overlap rule decided.
        ignored_over_class: Pixels of objects that ignored ones cover.
        instance_overlap: Pixels covered by several instances, of one value or of different ones.
    """

    sources: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    derived: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[int, int] = field(default_factory=dict)
    boundary: int = 0
    erased: int = 0
    ignored: int = 0
    region: int = 0
    unknown: int = 0
    unannotated: int = 0
    outside: int = 0
    overlap: int = 0
    ignored_over_class: int = 0
    instance_overlap: int = 0

    @property
    def pixels(self) -> int:
        """All pixels."""
        drawn = sum(sum(part.values()) for part in self.sources.values()) + sum(self.derived.values())
        drawn += self.boundary + self.erased
        return drawn + self.ignored + self.region + self.unknown + self.unannotated + self.outside

    def __add__(self, other: PixelCounts) -> PixelCounts:
        names = dict.fromkeys((*self.sources, *other.sources))
        sources = {n: _sum(self.sources.get(n, {}), other.sources.get(n, {})) for n in names}
        # Behind the three mappings.
        numbers = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)[3:]}
        derived, values = _sum(self.derived, other.derived), _sum(self.values, other.values)
        return PixelCounts(sources=sources, derived=derived, values=values, **numbers)


def _sum(one: Mapping[Key, int], other: Mapping[Key, int]) -> dict[Key, int]:
    return dict(Counter(one) + Counter(other))


def tally_of(found: Mapping[Category, int], *, overlap: int = 0, ignored_over_class: int = 0) -> PixelCounts:
    """Sort counted categories by their rules.

    Args:
        found: Pixels by category.
        overlap, ignored_over_class: Pixels, as in PixelCounts.
    """
    sources: dict[str, Counter[str]] = {}
    derived: Counter[str] = Counter()
    others: Counter[str] = Counter()
    values: Counter[int] = Counter()
    for category, count in found.items():
        values[category.value] += count
        if category.role == "class":
            sources.setdefault(category.label, Counter())[category.source] += count
        elif category.role == "derived":
            derived[category.label] += count
        else:
            others[category.role] += count
    return PixelCounts(
        sources=sources,
        derived=derived,
        values=values,
        overlap=overlap,
        ignored_over_class=ignored_over_class,
        **others,
    )
