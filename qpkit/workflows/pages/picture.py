"""qpkit picture: a place of a slide with annotations and predictions, as a PNG of any size."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from qpkit.core.annotation import PathClass
from qpkit.core.labels import LabelMap, default_label_map, label_colors, with_colors
from qpkit.core.provenance import drawn_by_people
from qpkit.core.tiles import Region, Tile
from qpkit.errors import ConfigError, ProjectError, or_else
from qpkit.ops.masks.rasterize import Painting
from qpkit.predictions import PredictionSet
from qpkit.predictions.store import read_window
from qpkit.report.figures.overlays import Panel, overlay
from qpkit.settings import Flag, Range, Settings
from qpkit.slides import open_source
from qpkit.workflows.inputs.slides import SlideInput

_INK: Final = (20, 20, 20)
_BAR_UM: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


def parse_region(text: str) -> Region:
    """Read "x,y,w,h" in level-0 px.

    Raises:
        ConfigError: Not four numbers, or no width or height.
    """
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--region {text!r}: has to be x,y,w,h in px of level 0") from None
    if not (np.isfinite([x, y, width, height]).all() and width > 0 and height > 0):
        raise ConfigError(f"--region {text!r}: width and height have to be positive numbers")
    return Region(x=x, y=y, width=width, height=height)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSettings(Settings):
    """What a picture shows.

    Args:
        region: x,y,w,h in px of level 0. Default: the whole slide.
        size: Px of the picture's longer side.
        outlines: Draw the outlines of annotations.
        legend: Draw a scale bar and the classes' names.
    """

    region: Annotated[Region | None, Flag(parse=parse_region, metavar="X,Y,W,H")] = None
    size: Annotated[int, Range(at_least=16, at_most=20_000)] = 1600
    outlines: Annotated[bool, Flag(name="--outlines/--no-outlines")] = True
    legend: Annotated[bool, Flag(name="--legend/--no-legend")] = True


def draw_picture(
    item: SlideInput,
    settings: PictureSettings,
    *,
    predictions: PredictionSet | None = None,
    labels: LabelMap | None = None,
    classes: tuple[PathClass, ...] = (),
) -> bytes:
    """Draw predicted classes as a tint and annotations as outlines; without predictions annotations are tinted, too.

    Args:
        item: The slide with its annotations.
        settings: Place and size.
        predictions: Whose rasters; the slide has to be among them.
        labels: What is drawn; None for that of the predictions, or else a value per class.
        classes: Colours of the project.

    Returns:
        A PNG whose longer side has settings.size px.

    Raises:
        ConfigError: The region lies beside the slide.
        ProjectError: The slide was not predicted.
        FormatError: Slide or raster cannot be read.
    """
    info = item.info
    region = settings.region or Region(x=0, y=0, width=info.width, height=info.height)
    if (
        region.x >= info.width
        or region.y >= info.height
        or region.x + region.width <= 0
        or region.y + region.height <= 0
    ):
        raise ConfigError(f"--region: lies beside {item.source.name!r}, which is {info.width} x {info.height} px")
    annotations = drawn_by_people(item.objects(), labels)
    rules = labels or (predictions.label_map if predictions else _labels_of(item, classes))
    tile = _tile(region, settings.size)
    painting = Painting(
        annotations, rules, downsample=tile.downsample, slide_size=(info.width, info.height), mpp=info.mpp
    )
    truth = painting.draw(tile)
    predicted = truth if predictions is None else _predicted(predictions, item, tile)
    with open_source(item.source) as slide:
        image = slide.read(tile)
    shown = truth if settings.outlines else np.full_like(truth, rules.background)
    um_per_px = None if info.mpp is None else info.mpp * tile.downsample
    panel = Panel(title="", image=image, truth=shown, predicted=predicted, um_per_px=um_per_px)
    picture = Image.fromarray(overlay(panel, rules))
    if settings.legend:
        _draw_legend(picture, rules, predicted, um_per_px)
    made = io.BytesIO()
    picture.save(made, "PNG")
    return made.getvalue()


def _tile(region: Region, size: int) -> Tile:
    downsample = max(region.width, region.height) / size
    width, height = (max(1, round(side / downsample)) for side in (region.width, region.height))
    x, y = round(region.x / downsample), round(region.y / downsample)
    return Tile(col=0, row=0, x=x, y=y, width=width, height=height, downsample=downsample)


def _labels_of(item: SlideInput, classes: tuple[PathClass, ...]) -> LabelMap:
    used = {str(o.path_class): o.path_class for o in item.objects() if o.path_class is not None}
    return with_colors(default_label_map(list(used.values())), classes)


def _predicted(predictions: PredictionSet, item: SlideInput, tile: Tile) -> NDArray[np.uint8]:
    names = {slide.name: slide for slide in predictions.slides}
    slide = names.get(item.source.name)
    if slide is None:
        raise ProjectError(
            f"{predictions.root}: no prediction of {item.source.name!r}; {or_else(item.source.name, names)}"
        )
    return read_window(predictions.root / slide.labels, tile, raster_downsample=slide.downsample)


def _draw_legend(picture: Image.Image, labels: LabelMap, shown: NDArray[np.uint8], um_per_px: float | None) -> None:
    """A scale bar at the left and the classes that are shown at the right of the lower edge, on white."""
    draw = ImageDraw.Draw(picture)
    size = max(10, picture.width // 60)
    # Pillow's own font has no µ.
    font = ImageFont.truetype(findfont("DejaVu Sans"), size)
    pad, bottom = size // 2, picture.height - size // 2
    if um_per_px is not None:
        um = max(um for um in _BAR_UM if um <= max(picture.width * um_per_px / 5, 1))
        length, text = um / um_per_px, f"{um} µm" if um < 1000 else f"{um // 1000} mm"
        wide = max(length, draw.textlength(text, font))
        draw.rectangle((pad, bottom - 2 * size, 3 * pad + wide, bottom), fill="white")
        draw.rectangle((2 * pad, bottom - size // 2, 2 * pad + length, bottom - size // 4), fill=_INK)
        draw.text((2 * pad, bottom - 2 * size), text, fill=_INK, font=font)
    there = [(labels.name_of(value), rgb) for value, rgb in label_colors(labels).items() if (shown == value).any()]
    if not there:
        return
    widths = [2 * size + draw.textlength(name, font) for name, _ in there]
    left = picture.width - pad - sum(widths) - pad
    draw.rectangle((left, bottom - 2 * size, picture.width - pad, bottom), fill="white")
    for (name, rgb), width in zip(there, widths, strict=True):
        draw.rectangle((left + pad, bottom - 3 * size // 2, left + pad + size, bottom - size // 2), fill=rgb)
        draw.text((left + pad + 3 * size // 2, bottom - 7 * size // 4), name, fill=_INK, font=font)
        left += width
