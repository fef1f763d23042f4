"""Which tiles of a slide are predicted: those with tissue, in the area that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import SlideInfo, Tile, TileGrid
from qpkit.ops.tissue import solid_tissue, tissue_fraction, tissue_mask
from qpkit.slides import Slide
from qpkit_train.inference.pixels.area import Area

_LARGEST_LUMEN_MM2: Final = 0.01
"""Patches of glass inside tissue up to this size are predicted like tissue: lumens, vessels, fat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileChoice:
    """What becomes of the tiles of a slide; those in neither list are outside the area.

    Args:
        predicted: Row by row.
        glass: In the area, without tissue.
        tissue: Mask of the tissue, any size; None if all of the slide counts as it.
        tissue_fraction: Of the slide, 0..1.
        not_predicted: Raster px outside the area.
        notes: What the user has to know.
    """

    predicted: list[Tile]
    glass: list[Tile]
    tissue: NDArray[np.bool_] | None
    tissue_fraction: float
    not_predicted: int
    notes: tuple[str, ...]


def choose_tiles(slide: Slide, grid: TileGrid, area: Area | None, *, only_tissue: bool) -> TileChoice:
    """Look at the thumbnail of a slide, and at the area.

    Args:
        slide: The slide.
        grid: Its tiles.
        area: What of it is predicted; None for all of it.
        only_tissue: Whether glass is left out.
    """
    mask: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    if only_tissue:
        mask, notes = _tissue_of(slide)
    inside, not_predicted = list(grid), 0
    if area is not None:
        counts = [int(np.count_nonzero(area.mask(tile))) for tile in inside]
        not_predicted = grid.level_width * grid.level_height - sum(counts)
        inside = [tile for tile, count in zip(inside, counts, strict=True) if count]
    size = slide.info.width, slide.info.height
    has_tissue = [mask is None or tissue_fraction(mask, tile.slide_region, *size) > 0 for tile in inside]
    return TileChoice(
        predicted=[tile for tile, has in zip(inside, has_tissue, strict=True) if has],
        glass=[tile for tile, has in zip(inside, has_tissue, strict=True) if not has],
        tissue=mask,
        tissue_fraction=0.0 if notes else 1.0 if mask is None else float(mask.mean()),
        not_predicted=not_predicted,
        notes=notes,
    )


def _tissue_of(slide: Slide) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """Mask of the tissue; None, and a note, where it cannot be told from glass."""
    mask = tissue_mask(slide.thumbnail())
    if not mask.any():
        return None, ("no tissue could be told from glass: all tiles were predicted",)
    return solid_tissue(mask, largest_hole=_lumen_px(mask, slide.info)), ()


def _lumen_px(mask: NDArray[np.bool_], info: SlideInfo) -> float:
    """Px of the tissue mask in the largest lumen; none is filled without um/px."""
    if info.mpp is None:
        return 0
    um_per_px = info.mpp * info.width / mask.shape[1]
    return float(_LARGEST_LUMEN_MM2 * 1e6 / um_per_px**2)
