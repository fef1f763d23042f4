"""What a method sees: a slide, or a tile, as px of one resolution, and where tissue is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile, TileGrid, downsample_for, level_size
from qpkit.dataset import TileRecord, TileSet
from qpkit.errors import ConfigError, FormatError
from qpkit.ops.tissue import tissue_of_tile
from qpkit.slides import Slide, SlideSource, open_source
from qpkit_train.inference.pixels.tile_choice import choose_tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """One slide, or one tile, at the resolution that a method works at.

    Args:
        name: Unique among those that are divided together.
        width, height: Px.
        mpp: um per px, or None where nobody knows it.
        downsample: Slide px per px.
        slide_size: (width, height), slide px.
        reads: Gives (height, width, 3) uint8 RGB of x, y, width, height in px, inside the canvas.
        tissue: (h, w) bool of any size; covers all of it.
        note: What the user has to know.
    """

    name: str
    width: int
    height: int
    mpp: float | None
    downsample: float
    slide_size: tuple[int, int]
    reads: Callable[[int, int, int, int], NDArray[np.uint8]]
    tissue: NDArray[np.bool_]
    note: str = ""

    def read(self, x: int, y: int, *, width: int, height: int) -> NDArray[np.uint8]:
        """Read a rectangle, px of the canvas. Returns (height, width, 3) uint8; outside, the canvas is mirrored."""
        left, top = min(max(0, x), self.width - 1), min(max(0, y), self.height - 1)
        right, bottom = max(left + 1, min(x + width, self.width)), max(top + 1, min(y + height, self.height))
        pixels = self.reads(left, top, right - left, bottom - top)
        beyond = ((top - y, y + height - bottom), (left - x, x + width - right), (0, 0))
        return np.pad(pixels, beyond, mode="symmetric") if any(map(any, beyond)) else pixels

    def cells(self, cell: int) -> tuple[int, int]:
        """(columns, rows) of a raster whose px are `cell` px wide."""
        return level_size((self.width, self.height), cell)

    def tissue_in(self, x: int, y: int, *, width: int, height: int, cell: int = 1) -> NDArray[np.bool_]:
        """Tissue of a rectangle of cells, by their centres. Returns (height, width) bool; False outside."""
        found = np.zeros((height, width), np.bool_)
        columns, rows = self.cells(cell)
        left, top, right, bottom = max(0, x), max(0, y), min(x + width, columns), min(y + height, rows)
        if left < right and top < bottom:
            across, down = right - left, bottom - top
            inside = Tile(col=0, row=0, x=left, y=top, width=across, height=down, downsample=cell)
            part = tissue_of_tile(self.tissue, inside, self.width, self.height)
            found[top - y : bottom - y, left - x : right - x] = part
        return found

    def window_side(self, most: int, step: int) -> int:
        """Side of windows, px: `most`, or less where all of the canvas is smaller; a multiple of `step` both ways."""
        return min(most, -(-max(self.width, self.height) // step) * step)

    def windows(self, side: int) -> Iterator[tuple[int, int]]:
        """Corners (x, y) of windows with tissue that lie side by side, row by row, px."""
        for tile in TileGrid(slide_width=self.width, slide_height=self.height, tile_size=side):
            if self.tissue_in(tile.x, tile.y, width=side, height=side).any():
                yield tile.x, tile.y


def canvases_of_slides(
    sources: Sequence[SlideSource], mpp: float, stack: ExitStack, *, only_tissue: bool
) -> list[Canvas]:
    """Open slides; `stack` closes them.

    Raises:
        FormatError: A slide cannot be read, or its um/px are not known.
    """
    return [_canvas_of(source, stack.enter_context(open_source(source)), mpp, only_tissue) for source in sources]


def _canvas_of(source: SlideSource, slide: Slide, mpp: float, only_tissue: bool) -> Canvas:
    info = slide.info
    if info.mpp is None:
        raise FormatError(f"{source.name}: um/px is unknown ({info.mpp_note or 'not stated'}); give --slide-mpp")
    downsample = downsample_for(mpp, info.mpp)
    grid = TileGrid(slide_width=info.width, slide_height=info.height, tile_size=4096, downsample=downsample)
    choice = choose_tiles(slide, grid, None, only_tissue=only_tissue)
    return Canvas(
        name=source.name,
        width=grid.level_width,
        height=grid.level_height,
        mpp=mpp,
        downsample=downsample,
        slide_size=(info.width, info.height),
        reads=partial(_of_slide, slide, downsample),
        tissue=np.ones((1, 1), np.bool_) if choice.tissue is None else choice.tissue,
        note=choice.notes[0].replace("were predicted", "were divided") if choice.notes else "",
    )


def _of_slide(slide: Slide, downsample: float, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
    return slide.read(Tile(col=0, row=0, x=x, y=y, width=width, height=height, downsample=downsample))


def canvases_of_tiles(tiles: TileSet, chosen: Sequence[TileRecord]) -> list[Canvas]:
    """Tiles of an export, each by itself, as they are.

    Raises:
        ConfigError: There is none.
    """
    if not chosen:
        raise ConfigError(f"{tiles.root}: no tiles there, so there is nothing to divide")
    return [
        Canvas(
            name=tile.key,
            width=round(tile.width / tile.downsample),
            height=round(tile.height / tile.downsample),
            mpp=None if math.isnan(tile.mpp) else tile.mpp,
            downsample=tile.downsample,
            slide_size=(round(tile.width), round(tile.height)),
            reads=partial(_of_tile, tiles, tile),
            tissue=np.ones((1, 1), np.bool_),
        )
        for tile in chosen
    ]


def _of_tile(tiles: TileSet, tile: TileRecord, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
    return tiles.read_image(tile)[y : y + height, x : x + width]
