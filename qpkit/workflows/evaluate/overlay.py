"""The picture of a prediction on its slide: the whole slide, and the annotated places enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Region, Tile
from qpkit.ops.masks.rasterize import Painting
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import read_window
from qpkit.report.figures.overlays import Panel, save_overlay
from qpkit.slides import Slide, open_source
from qpkit.workflows.evaluate.settings import Accepted
from qpkit.workflows.evaluate.truth import ground_truth
from qpkit.workflows.inputs.slides import SlideInput

WHOLE_PX: Final = 1400
ZOOM_PX: Final = 700
MAX_ZOOMS: Final = 3


def write_overlay(
    predictions: PredictionSet,
    slide: SlidePrediction,
    item: SlideInput,
    rules: LabelMap,
    path: Path,
    *,
    accepted: Accepted = "ignore",
) -> None:
    """Draw truth outlines and predicted areas over a slide and save them as a PNG.

    Args:
        predictions, slide: Whose label raster.
        item: The slide with its annotations.
        rules: How annotations become truth.
        path: PNG to write.
        accepted: As in EvaluateSettings.
    """
    annotations = ground_truth(item.objects(), rules, run=predictions.run, accepted=accepted).objects
    whole = Region(x=0, y=0, width=item.info.width, height=item.info.height)
    zooms = _places(annotations_of_interest(annotations, rules), item)
    with open_source(item.source) as pixels:
        panels = [_panel(predictions, slide, pixels, annotations, rules, whole, WHOLE_PX, item.source.name)]
        for number, place in enumerate(zooms, start=1):
            panels.append(_panel(predictions, slide, pixels, annotations, rules, place, ZOOM_PX, f"({number})"))
    save_overlay(panels, rules, path, zooms=[_fraction(place, whole) for place in zooms])


def annotations_of_interest(annotations: Sequence[Annotation], rules: LabelMap) -> list[BaseGeometry]:
    """Regions if there are any, else what the classes draw."""
    regions = [a.geometry for a in annotations if a.class_name in rules.regions]
    drawn = [
        a.geometry
        for a in annotations
        if a.class_name not in rules.ignored and rules.class_of(a.class_name) is not None
    ]
    return regions or drawn


def _places(geometries: list[BaseGeometry], item: SlideInput) -> list[Region]:
    """Up to three squares around the largest geometries, none overlapping another."""
    side = max(512.0, min(item.info.width, item.info.height) / 6)
    places: list[Region] = []
    taken: list[BaseGeometry] = []
    for geometry in sorted(geometries, key=lambda g: -g.area):
        x0, y0, x1, y1 = geometry.bounds
        size = max(side, 1.1 * (x1 - x0), 1.1 * (y1 - y0))
        place = Region(x=(x0 + x1 - size) / 2, y=(y0 + y1 - size) / 2, width=size, height=size)
        square = shapely.box(place.x, place.y, place.x + size, place.y + size)
        if len(places) < MAX_ZOOMS and not any(square.intersects(other) for other in taken):
            places.append(place)
            taken.append(square)
    return places


def _panel(
    predictions: PredictionSet,
    slide: SlidePrediction,
    pixels: Slide,
    annotations: Sequence[Annotation],
    rules: LabelMap,
    region: Region,
    max_px: int,
    title: str,
) -> Panel:
    downsample = max(region.width, region.height) / max_px
    tile = Tile(
        col=0,
        row=0,
        x=round(region.x / downsample),
        y=round(region.y / downsample),
        width=max(1, round(region.width / downsample)),
        height=max(1, round(region.height / downsample)),
        downsample=downsample,
    )
    size = (pixels.info.width, pixels.info.height)
    truth = Painting(annotations, rules, downsample=downsample, slide_size=size, mpp=pixels.info.mpp).draw(tile)
    return Panel(
        title=title,
        image=pixels.read(tile),
        truth=truth,
        predicted=read_window(predictions.root / slide.labels, tile, raster_downsample=slide.downsample),
        um_per_px=None if pixels.info.mpp is None else pixels.info.mpp * downsample,
    )


def _fraction(place: Region, whole: Region) -> tuple[float, float, float, float]:
    """(x, y, width, height) of a place as fractions of the slide."""
    return (
        place.x / whole.width,
        place.y / whole.height,
        place.width / whole.width,
        place.height / whole.height,
    )
