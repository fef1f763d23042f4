"""Areas of classes in places: regions, slides, patients, all; added up, and as rows of a table."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

Level = Literal["region", "slide", "patient", "all"]
"""What a row is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One class in one place.

    Args:
        level: What the place is: a region, a slide, all slides of a patient, or all.
        patient, slide, entry, region: Which; "" where it is about several. Entries are named by their ids, which tell
            those of one name apart; a region is called by its name, or its number.
        class_name: The class, "(none)" without one.
        objects: How many objects; in a region those of which at least half the area lies in it. None for rasters.
        area_px2: Level-0 px2 that they cover together.
        area_mm2: The same in mm2; None where um per px are not known.
        sum_mm2: Their areas added up, overlaps in each. None as above, and for rasters.
        of_mm2: What the fraction is of: the region's area; for slides, patients and all that of the regions if there
            are any, else of everything that was measured (of a raster: of all of it).
        fraction: How much of that the class covers, 0..1; None of nothing.
    """

    level: Level
    patient: str
    slide: str
    entry: str
    region: str
    class_name: str
    objects: int | None
    area_px2: float
    area_mm2: float | None
    sum_mm2: float | None
    of_mm2: float | None
    fraction: float | None


@dataclass(frozen=True, slots=True)
class MeasureReport:
    """Rows in the order region, slide, patient, all; and what the user has to know."""

    rows: tuple[Measured, ...]
    notes: tuple[str, ...]

    def to_csv(self) -> str:
        """The rows as a table."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow([field.name for field in fields(Measured)])
        for row in self.rows:
            rows.writerow(["" if value is None else value for value in asdict(row).values()])
        return text.getvalue()


@dataclass(slots=True)
class Sum:
    """What is added up for a class in a place: px2 and um2 may be of several slides; px2 inside its regions."""

    objects: int = 0
    px2: float = 0.0
    um2: float = 0.0
    sum_um2: float = 0.0
    inside_px2: float = 0.0

    def __add__(self, other: Sum) -> Sum:
        return Sum(
            self.objects + other.objects,
            self.px2 + other.px2,
            self.um2 + other.um2,
            self.sum_um2 + other.sum_um2,
            self.inside_px2 + other.inside_px2,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """The classes in a place, and the area that they are a fraction of (px2, um2)."""

    classes: Mapping[str, Sum]
    whole: Sum


def sum_of(px2: float, um2: float) -> Sum:
    """An area of px2 in which a px has `um2`, all of it inside."""
    return Sum(px2=float(px2), um2=float(px2) * um2, inside_px2=float(px2))


def together(places: Sequence[Place]) -> Place:
    """Add places up."""
    classes: dict[str, Sum] = defaultdict(Sum)
    for place in places:
        for name, own in place.classes.items():
            classes[name] += own
    return Place(dict(classes), sum((place.whole for place in places), Sum()))


def rows_of(
    level: Level,
    place: Place,
    classes: Iterable[str] | None = None,
    patient: str = "",
    slide: str = "",
    entry: str = "",
    region: str = "",
    *,
    known: bool,
    counted: bool,
) -> list[Measured]:
    """Rows of a place, one for each class.

    Args:
        level, patient, slide, entry, region: As in `Measured`.
        place: The place.
        classes: Of one that the place does not have there is nothing: 0. None: those that it has.
        known: Whether um per px are known.
        counted: Whether there are objects, not pixels.
    """
    return [
        Measured(
            level=level,
            patient=patient,
            slide=slide,
            entry=entry,
            region=region,
            class_name=name,
            objects=own.objects if counted else None,
            area_px2=round(float(own.px2), 2),
            area_mm2=own.um2 / 1e6 if known else None,
            sum_mm2=own.sum_um2 / 1e6 if known and counted else None,
            of_mm2=place.whole.um2 / 1e6 if known else None,
            fraction=own.inside_px2 / place.whole.px2 if place.whole.px2 else None,
        )
        for name, own in ((name, place.classes.get(name, Sum())) for name in sorted(classes or place.classes))
    ]
