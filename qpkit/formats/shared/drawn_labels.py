"""The objects of an image drawn as one raster of label values: what every format of pixels writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from shapely.affinity import translate

from qpkit.core.labels import LabelMap
from qpkit.core.tiles import Tile, level_size
from qpkit.errors import ConfigError
from qpkit.formats.shared.cannot_hold import ONLY_QUPATH, CannotHold, cannot_hold, count_losses
from qpkit.formats.shared.drawing import Choices, Drawing
from qpkit.formats.shared.label_place import Place
from qpkit.ops.masks.rasterize import Painting

CANNOT_HOLD: Final[CannotHold] = cannot_hold(
    "own colour",
    "name",
    "id",
    *ONLY_QUPATH,
    "metadata",
    instead=dict.fromkeys(
        ("no shape", "line", "points"), "objects without an area (lines, points, empty ones) left out"
    ),
)
"""Of every format of pixels."""

AS_PIXELS: Final = "areas written as pixels; where they overlap the later class covers the earlier"
UNLISTED: Final = "objects of a class that the labels do not name left out"
AS_GROUND: Final = "regions and ignored areas kept only as background and ignore values"

_STRIP_PX: Final = 1024


@dataclass(frozen=True, slots=True)
class DrawnLabels:
    """A raster of labels.

    Args:
        mask: (h, w) uint8.
        labels: What its values mean.
        place: Where it lies on the slide.
        losses: What was lost.
    """

    mask: NDArray[np.uint8]
    labels: LabelMap
    place: Place
    losses: Counter[str]


def draw_labels(drawing: Drawing, choices: Choices, *, what: str) -> DrawnLabels:
    """Draw the objects of an image: a pixel belongs to a shape if its centre lies inside.

    Args:
        drawing: The objects.
        choices: Labels, downsample and offset.
        what: The format, for messages: "a label image".

    Raises:
        ConfigError: The image's size or the labels are not known.
        LabelError: An object's class is not in labels with unlisted = "error".
    """
    labels = choices.labels
    if labels is None:
        raise ConfigError(f"{what} needs --labels: which class is drawn with which value")
    width, height = drawing.image.size(what)
    x, y = choices.offset or (0.0, 0.0)
    downsample = choices.downsample or drawing.downsample or 1.0
    columns, rows = level_size((width - x, height - y), downsample)
    objects = [replace(item, geometry=translate(item.geometry, -x, -y)) for item in drawing.objects]
    painting = Painting(objects, labels, downsample=downsample, mpp=drawing.image.mpp)
    mask = np.zeros((rows, columns), dtype=np.uint8)
    for top in range(0, rows, _STRIP_PX):
        tall = min(_STRIP_PX, rows - top)
        tile = Tile(col=0, row=0, x=0, y=top, width=columns, height=tall, downsample=downsample)
        mask[top : top + tall] = painting.draw(tile)
    losses = count_losses(drawing.objects, CANNOT_HOLD) + _audit_losses(painting, labels)
    if drawing.downsample == downsample and not (x or y):
        losses.pop(AS_PIXELS, None)  # they come from these very pixels
    return DrawnLabels(mask, labels, Place(x, y, downsample), losses)


def _audit_losses(painting: Painting, labels: LabelMap) -> Counter[str]:
    ground = {*labels.regions, *labels.ignored}
    drawn = painting.audit.drawn
    losses = Counter({f"{UNLISTED} ({name})": count for name, count in painting.audit.unlisted.items()})
    losses[AS_GROUND] = sum(count for name, count in drawn.items() if name in ground)
    losses[AS_PIXELS] = sum(count for name, count in drawn.items() if name not in ground)
    losses["objects on other planes than the first left out"] = painting.audit.other_plane
    losses["objects outside the image left out"] = painting.audit.outside
    losses["objects without a pixel at this resolution left out"] = sum(
        small.objects for small in painting.audit.too_small.values()
    )
    losses["invalid shapes mended"] = painting.audit.mended
    return +losses
