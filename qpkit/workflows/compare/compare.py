"""Readers against each other: every slide that two or more of them have read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import combinations
from typing import Final

import numpy as np
import shapely

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.geometry import has_area, mend
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile, level_size
from qpkit.errors import ProjectError, listed
from qpkit.ops.masks.rasterize import Painting
from qpkit.ops.scores.shape_fates import hausdorff
from qpkit.ops.vectors.areas import class_areas
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.workflows.compare.counts import PlaceCounts, PlaceTally
from qpkit.workflows.compare.readers import Draw, Reader, common_label_map
from qpkit.workflows.compare.result import Comparison, Place, rows_of
from qpkit.workflows.compare.settings import CompareSettings
from qpkit.workflows.inputs.slides import SlideInput

STRIP_PX: Final = 512
"""Rows that are compared at once."""

_INSIDE: Final = LabelClass("inside", 1, ("inside",))


def compare(
    readers: Sequence[Reader],
    settings: CompareSettings,
    *,
    labels: LabelMap | None = None,
    on_progress: OnProgress = no_progress,
) -> Comparison:
    """Compare readers pixel by pixel and area by area, on all slides that each of them has.

    Only what both of a pair have judged counts: a pixel that one leaves open (outside regions, ignored) counts for
    neither.

    Raises:
        ProjectError: No slide was read by all of them, or one has no um per px.
        ConfigError: Label maps do not fit.
        LabelError: An annotation is of a class that the label map refuses.
    """
    labels = common_label_map(readers, labels)
    names = [name for name in readers[0].slides if all(name in reader.slides for reader in readers)]
    if not names:
        said = "; ".join(f"{reader.name}: {listed(reader.slides)}" for reader in readers)
        raise ProjectError(f"no slide was read by all ({said}); slides are found by their names in the project")
    notes = []
    for reader in readers:
        if left := [name for name in reader.slides if name not in names]:
            notes.append(f"{reader.name}: {len(left)} slide(s) that not all have read are left out: {listed(left)}")
    tick = Ticker(len(names), on_progress)
    places: list[Place] = []
    for name in names:
        places += _places_of(readers, name, item_of(readers, name), labels, settings)
        tick(name)
    whole = [place for place in places if place.level == "slide"]
    total = Place(level="all", slide="", region="", counts=reduce(PlaceCounts.__add__, [p.counts for p in whole]))
    rows = rows_of([total, *places], [reader.name for reader in readers], labels, settings)
    return Comparison(readers=tuple(r.name for r in readers), slides=tuple(names), rows=rows, notes=tuple(notes))


def item_of(readers: Sequence[Reader], name: str) -> SlideInput:
    """The slide as one of those has it who have its project.

    Raises:
        ProjectError: All of them are models.
    """
    found = next((reader.items[name] for reader in readers if name in reader.items), None)
    if found is None:
        raise ProjectError("two models alone say nothing of the slide; compare them with a project, too")
    return found


def _places_of(
    readers: Sequence[Reader], name: str, item: SlideInput, labels: LabelMap, settings: CompareSettings
) -> Iterator[Place]:
    """A slide, and the regions on it."""
    downsample = downsample_of(item, settings)
    draws = [reader.drawing(name, item, labels, downsample) for reader in readers]
    tally = PlaceTally(len(readers), labels, with_objects=True)
    for tile in strips_of(item, downsample):
        tally.add([draw(tile) for draw in draws])
    yield Place(
        level="slide", slide=name, region="", counts=tally.counts(), hausdorff=_apart(readers, name, item, settings)
    )
    first = next(reader for reader in readers if name in reader.items)
    regions = [o for o in first.objects(name) if o.class_name in labels.regions and has_area(o.geometry)]
    for number, region in enumerate(regions, 1):
        counts = _region_counts(mend(region.geometry)[0], draws, item, downsample, len(readers), labels)
        yield Place(level="region", slide=name, region=region.name or f"{region.class_name} {number}", counts=counts)


def downsample_of(item: SlideInput, settings: CompareSettings) -> float:
    """Slide px per px that is compared.

    Raises:
        ProjectError: The slide has no um per px.
    """
    if item.info.mpp is None:
        raise ProjectError(f"{item.source.name}: no um/px known; give --slide-mpp")
    return max(1.0, settings.mpp / item.info.mpp)


def strips_of(item: SlideInput, downsample: float) -> Iterator[Tile]:
    """Rows of the whole slide, from the top."""
    width, height = level_size((item.info.width, item.info.height), downsample)
    for row, y in enumerate(range(0, height, STRIP_PX)):
        rows = min(STRIP_PX, height - y)
        yield Tile(col=0, row=row, x=0, y=y, width=width, height=rows, downsample=downsample)


def _region_counts(
    region: shapely.Geometry, draws: Sequence[Draw], item: SlideInput, downsample: float, count: int, labels: LabelMap
) -> PlaceCounts:
    width, height = level_size((item.info.width, item.info.height), downsample)
    left, top, right, bottom = (value / downsample for value in region.bounds)
    x, y = max(0, int(left)), max(0, int(top))
    columns, end = min(width, int(right) + 1) - x, min(height, int(bottom) + 1)
    tally = PlaceTally(count, labels, with_objects=False)
    shape = Annotation(geometry=region, path_class=PathClass((_INSIDE.name,)))
    painting = Painting([shape], LabelMap(classes=(_INSIDE,)), downsample=downsample)
    for top_row in range(y, end if columns > 0 else y, STRIP_PX):
        rows = min(STRIP_PX, end - top_row)
        tile = Tile(col=0, row=0, x=x, y=top_row, width=columns, height=rows, downsample=downsample)
        inside = painting.draw(tile) == _INSIDE.value
        tally.add([np.where(inside, draw(tile), np.uint8(labels.ignore)) for draw in draws])
    return tally.counts()


def _apart(
    readers: Sequence[Reader], name: str, item: SlideInput, settings: CompareSettings
) -> dict[tuple[int, int], dict[str, float]]:
    """By pair and class how far the outlines of all that both drew lie apart at most, um."""
    if not settings.hausdorff:
        return {}
    areas = [class_areas([o for o in reader.objects(name) if o.kind == "annotation"]) for reader in readers]
    mpp = item.info.mpp or math.nan
    return {
        (a, b): {of: hausdorff(areas[a][of], areas[b][of]) * mpp for of in areas[a].keys() & areas[b].keys()}
        for a, b in combinations(range(len(readers)), 2)
    }
