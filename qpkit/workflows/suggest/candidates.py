"""Squares of tissue that nobody has annotated yet, and those that are annotated, with what they look like."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import has_area, mend
from qpkit.core.provenance import drawn_by_people
from qpkit.core.review import is_reviewed_region
from qpkit.core.tiles import Region, Tile
from qpkit.errors import ConfigError
from qpkit.ops.texture import texture_of
from qpkit.ops.tissue import thumbnail_tissue, tissue_fraction
from qpkit.slides import open_source
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.suggest.settings import SuggestSettings

_ANNOTATED = 0.05
"""A square is annotated if more than this fraction of it is: then it is no candidate."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A square of one slide.

    Args:
        item: The slide.
        region: Slide px.
        tissue: Fraction, 0..1.
        look: (features,) as the `Look` gives it.
    """

    item: SlideInput
    region: Region
    tissue: float
    look: NDArray[np.float64] = field(repr=False)

    @property
    def mm2(self) -> float:
        """Its area."""
        mpp = self.item.info.mpp or 0.0
        return self.region.width * self.region.height * (mpp / 1000) ** 2


class Look(Protocol):
    """Describes squares of tissue by numbers; alike ones have alike numbers.

    Attributes:
        name: For people.
        mpp: um per px at which it wants to see tissue.
        most_px: Side of what it looks at, at most: the middle of larger squares.
    """

    name: str
    mpp: float
    most_px: int

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(h, w, 3) uint8 RGB to (features,)."""
        ...


class TextureLook:
    """Colour and texture, see `texture_of`; of the structure of tissue, not of nuclei."""

    name, mpp, most_px = "colour and texture", 4.0, 1 << 16

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """As `Look` says."""
        return texture_of(pixels)


@dataclass(frozen=True, slots=True)
class Found:
    """What one slide has.

    Args:
        candidates: Squares that may be suggested.
        covered: Looks of squares that are annotated.
        tissue_mm2: Of the whole slide.
    """

    candidates: list[Candidate]
    covered: list[NDArray[np.float64]]
    tissue_mm2: float


def candidates_of(
    item: SlideInput, settings: SuggestSettings, look: Look, *, among: Collection[Region] | None = None
) -> Found:
    """Look at every square of a slide that has enough tissue; of those in `among`, where it is given.

    Raises:
        ConfigError: The slide has no um per px.
    """
    info, name = item.info, item.source.name
    if info.mpp is None:
        raise ConfigError(f"{name}: no um/px known ({info.mpp_note or 'the file has none'}); give --slide-mpp")
    side = round(settings.region_um / info.mpp)
    downsample = max(1.0, min(look.mpp / info.mpp, side / 8))
    whole = max(8, int(side / downsample))
    size = min(whole, look.most_px)
    margin = (whole - size) // 2
    found: list[Candidate] = []
    covered: list[NDArray[np.float64]] = []
    with open_source(item.source) as slide:
        thumbnail = thumbnail_tissue(slide.thumbnail())
        regions = [
            Region(x=x, y=y, width=side, height=side)
            for y in range(0, info.height - side + 1, side)
            for x in range(0, info.width - side + 1, side)
        ]
        if among is not None:
            regions = [region for region in regions if region in among]
        tissue = [tissue_fraction(thumbnail.tissue, region, info.width, info.height) for region in regions]
        regions = [region for region, there in zip(regions, tissue, strict=True) if there >= settings.min_tissue]
        tissue = [there for there in tissue if there >= settings.min_tissue]
        boxes = [shapely.box(r.x, r.y, r.x + side, r.y + side) for r in regions]
        shares = shapely.area(shapely.intersection(boxes, annotated_area(item.objects()))) / side**2
        for region, there, share in zip(regions, tissue, shares.tolist(), strict=True):
            left, top = round(region.x / downsample) + margin, round(region.y / downsample) + margin
            tile = Tile(col=0, row=0, x=left, y=top, width=size, height=size, downsample=downsample)
            seen = look(slide.read(tile))
            if share > _ANNOTATED:
                covered.append(seen)
            else:
                found.append(Candidate(item, region, there, seen))
    pixels = info.width * info.height
    tissue_mm2 = float(thumbnail.tissue.mean()) * pixels * (info.mpp / 1000) ** 2
    return Found(found, covered, tissue_mm2)


def annotated_area(objects: Sequence[Annotation]) -> shapely.Geometry:
    """Where people have annotated or reviewed, slide px."""
    drawn = [*drawn_by_people(objects), *(o for o in objects if is_reviewed_region(o))]
    areas = [o.geometry for o in drawn if o.kind == "annotation" and has_area(o.geometry)]
    return shapely.union_all([mend(area)[0] for area in areas])
