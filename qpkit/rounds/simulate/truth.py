"""The pathologist who is played: what is annotated where, what drawing it costs, and slides of which a part is known.

A slide of which only some regions are annotated is the slide with all its objects and one more, which covers everything
outside of these regions and is drawn as ignore on top of all: inside, masks are those of the whole annotation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import shapely

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Region, Tile, level_size
from qpkit.ops.masks.rasterize import Painting
from qpkit.workflows.export.jobs import SlideJob
from qpkit.workflows.export.slide import objects_of
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.suggest.evidence import areas_in, outline_px
from qpkit.workflows.suggest.settings import SuggestSettings
from qpkit.workflows.suggest.worth import minutes_of

COVER: Final = "Not annotated yet*"
"""Class of what covers a slide outside of the regions that are annotated so far."""

_REGION: Final = PathClass(("Region*",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """A square of the grid in which something is annotated.

    Args:
        slide: Its name.
        region: Slide px; at the right and lower edge it may be smaller.
        truth: Fraction of it that is annotated, 0..1.
        mm2: That area.
        minutes: What drawing it by hand costs.
    """

    slide: str
    region: Region
    truth: float
    mm2: float
    minutes: float


def squares_of(job: SlideJob, settings: SuggestSettings) -> list[Square]:
    """Every square of the grid of `qpkit suggest` in which something is annotated, as the export of `job` draws it."""
    info, mpp, ds = job.item.info, job.item.info.mpp or 0.0, job.grid.downsample
    side = round(settings.region_um / mpp)
    found = objects_of(job.item, job.settings)
    painting = Painting(
        found.draw, job.labels, downsample=ds, plane=job.grid.plane, slide_size=(info.width, info.height), mpp=info.mpp,
        pixel_rule=job.settings.pixel_rule, unknown=found.unknown if job.labels.unannotated == "background" else (),
    )  # fmt: skip
    columns, rows = level_size((info.width, info.height), ds)
    px_mm2 = (mpp * ds / 1000) ** 2
    made = []
    for region in _grid(info.width, info.height, side):
        left, top = round(region.x / ds), round(region.y / ds)
        right = min(columns, round((region.x + region.width) / ds))
        bottom = min(rows, round((region.y + region.height) / ds))
        if right <= left or bottom <= top:
            continue
        size = {"width": right - left, "height": bottom - top}
        mask = painting.draw(Tile(col=0, row=0, x=left, y=top, downsample=ds, plane=job.grid.plane, **size))
        known = int(np.count_nonzero(mask != job.labels.ignore))
        if known:
            outline_mm = outline_px(mask, job.labels) * mpp * ds / 1000
            made.append(
                Square(
                    slide=job.item.source.name,
                    region=region,
                    truth=known / mask.size,
                    mm2=known * px_mm2,
                    minutes=minutes_of(areas_in(mask, job.labels), outline_mm, settings),
                )
            )
    return made


def _grid(width: int, height: int, side: int) -> Iterator[Region]:
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield Region(x=x, y=y, width=min(side, width - x), height=min(side, height - y))


@dataclass(frozen=True, slots=True, kw_only=True)
class PartlyAnnotated(SlideInput):
    """A slide of which only `regions` are annotated so far; see `labels_of_rounds`."""

    regions: tuple[Region, ...]
    plane: Plane

    def objects(self) -> list[Annotation]:
        """All of the slide's objects, and what covers them outside of the regions."""
        whole = shapely.box(0, 0, self.info.width, self.info.height)
        cover = whole.difference(shapely.union_all(boxes_of(self.regions)))
        there = list(SlideInput.objects(self))
        if cover.is_empty:
            return there
        return [*there, Annotation(geometry=cover, path_class=PathClass((COVER,)), plane=self.plane)]

    def hashes(self) -> dict[str, str]:
        """As of the slide, and of its regions."""
        text = hashlib.sha256(repr(self.regions).encode()).hexdigest()
        return {**SlideInput.hashes(self), "annotated_regions_sha256": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlyRegions(SlideInput):
    """A slide as `qpkit suggest` has to see it: regions in which everything is annotated, and nothing else."""

    regions: tuple[Region, ...]

    def objects(self) -> list[Annotation]:
        """The regions."""
        return region_annotations(self.regions)


def partly(item: SlideInput, squares: Iterable[Square], plane: Plane) -> PartlyAnnotated:
    """The slide with nothing but its squares annotated."""
    return PartlyAnnotated(**_facts(item), regions=_own(item, squares), plane=plane)


def only_regions(item: SlideInput, squares: Iterable[Square]) -> OnlyRegions:
    """The slide with its squares as regions."""
    return OnlyRegions(**_facts(item), regions=_own(item, squares))


def _facts(item: SlideInput) -> dict[str, Any]:
    return {field.name: getattr(item, field.name) for field in fields(SlideInput)}


def _own(item: SlideInput, squares: Iterable[Square]) -> tuple[Region, ...]:
    return tuple(square.region for square in squares if square.slide == item.source.name)


def labels_of_rounds(labels: LabelMap) -> LabelMap:
    """The label map by which partly annotated slides are drawn."""
    return replace(labels, ignored=(*labels.ignored, COVER))


def boxes_of(regions: Iterable[Region]) -> list[shapely.Polygon]:
    """Regions as polygons."""
    return [shapely.box(r.x, r.y, r.x + r.width, r.y + r.height) for r in regions]


def region_annotations(regions: Sequence[Region]) -> list[Annotation]:
    """Regions as rectangles of class `Region*`."""
    return [Annotation(geometry=box, shape="rectangle", path_class=_REGION) for box in boxes_of(regions)]


def area_of(squares: Iterable[Square]) -> tuple[Annotation, ...]:
    """All squares together as one annotation: where slides are predicted."""
    return (Annotation(geometry=shapely.union_all(boxes_of(square.region for square in squares))),)
