"""Regions, slides as numbers, and the grid of tiles over one. Owns the way from the level frame to arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from qpkit.core.annotation import Plane
from qpkit.core.pixel_size import PixelSize
from qpkit.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A rectangle in the slide frame, level-0 px."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideInfo:
    """A slide as numbers.

    Args:
        width, height: Level-0 px.
        downsamples: Slide px per px of each level the file holds, ascending, the first is 1.0.
        mpp: um per level-0 px, or None where neither the file nor the project says it.
        mpp_note: Why mpp is None, or what it was averaged from, in words for the user.
        pixel_size: What it was averaged from.
        magnification: Of the objective, where the file says it.
        size_z, size_t: Number of planes.
    """

    width: int
    height: int
    downsamples: tuple[float, ...] = (1.0,)
    mpp: float | None = None
    mpp_note: str = ""
    pixel_size: PixelSize | None = None
    magnification: float | None = None
    size_z: int = 1
    size_t: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One cell of a grid: integers in level px, `halo` px around the core.

    The core is what a tile is responsible for; `array_*` include the halo.
    """

    col: int
    row: int
    x: int
    y: int
    width: int
    height: int
    halo: int = 0
    downsample: float = 1.0
    plane: Plane = Plane()

    @property
    def array_x(self) -> int:
        """Level px of the array's left edge (core minus halo; may be negative)."""
        return self.x - self.halo

    @property
    def array_y(self) -> int:
        """Level px of the array's top edge."""
        return self.y - self.halo

    @property
    def array_shape(self) -> tuple[int, int]:
        """(rows, columns) of the tile's array, halo included."""
        return self.height + 2 * self.halo, self.width + 2 * self.halo

    @property
    def slide_region(self) -> Region:
        """The core in the slide frame."""
        ds = self.downsample
        return Region(x=self.x * ds, y=self.y * ds, width=self.width * ds, height=self.height * ds)

    def surroundings(self, factor: int) -> Tile:
        """The tile with the same centre and as many px that shows `factor` times as much of the slide each way.

        Its pixels are aligned with this tile's: each covers `factor` x `factor` of them, and this tile is its middle
        part, exactly. No halo. 1 gives the tile itself.

        Raises:
            ConfigError: The px do not line up: width and height have to be multiples of 2 * factor, x and y of factor.
        """
        if factor == 1 and not self.halo:
            return self
        if factor < 1 or self.width % (2 * factor) or self.height % (2 * factor) or self.x % factor or self.y % factor:
            raise ConfigError(
                f"{factor} times the surroundings of a tile of {self.width} x {self.height} px at ({self.x}, {self.y}) "
                f"do not line up with its pixels: its size has to be a multiple of {2 * factor}, its place of {factor}"
            )
        return replace(
            self,
            x=self.x // factor - (factor - 1) * self.width // (2 * factor),
            y=self.y // factor - (factor - 1) * self.height // (2 * factor),
            halo=0,
            downsample=self.downsample * factor,
        )


def level_size(slide_size: tuple[float, float], downsample: float) -> tuple[int, int]:
    """(width, height) of a slide in level px, rounded up (1e-6 px, the error of a division, is not a pixel)."""
    width, height = slide_size
    return max(1, math.ceil(width / downsample - 1e-6)), max(1, math.ceil(height / downsample - 1e-6))


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """A grid of equal tiles over a slide at one downsample, from (0, 0); the last ones may stick out.

    Args:
        slide_width, slide_height: Level-0 px.
        tile_size: Core width and height, level px.
        overlap: Level px shared by neighbouring cores; 0 makes the cores a partition.
        halo: Level px around each core.
        downsample: Slide px per level px.
        plane: z and t of the tiles.

    Raises:
        ConfigError: tile_size or downsample not positive, or overlap not in 0..tile_size-1.
    """

    slide_width: int
    slide_height: int
    tile_size: int
    overlap: int = 0
    halo: int = 0
    downsample: float = 1.0
    plane: Plane = Plane()

    def __post_init__(self) -> None:
        if self.tile_size < 1 or self.downsample <= 0 or self.halo < 0:
            raise ConfigError(
                f"tile size {self.tile_size} px, halo {self.halo} px and downsample {self.downsample} make no grid"
            )
        if not 0 <= self.overlap < self.tile_size:
            raise ConfigError(f"overlap {self.overlap} px has to be from 0 to tile size - 1 ({self.tile_size - 1})")

    @property
    def level_width(self) -> int:
        """Slide width in level px, rounded up."""
        return level_size((self.slide_width, self.slide_height), self.downsample)[0]

    @property
    def level_height(self) -> int:
        """Slide height in level px, rounded up."""
        return level_size((self.slide_width, self.slide_height), self.downsample)[1]

    @property
    def columns(self) -> int:
        """Number of tiles in a row."""
        return _steps(self.level_width, self.tile_size, self.overlap)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return _steps(self.level_height, self.tile_size, self.overlap)

    def __len__(self) -> int:
        return self.columns * self.rows

    def tile(self, col: int, row: int) -> Tile:
        """The tile in column `col` and row `row`, both from 0."""
        stride = self.tile_size - self.overlap
        return Tile(
            col=col,
            row=row,
            x=col * stride,
            y=row * stride,
            width=self.tile_size,
            height=self.tile_size,
            halo=self.halo,
            downsample=self.downsample,
            plane=self.plane,
        )

    def __iter__(self) -> Iterator[Tile]:
        """Row by row from the top left."""
        return (self.tile(col, row) for row in range(self.rows) for col in range(self.columns))


def _steps(length: int, size: int, overlap: int) -> int:
    stride = size - overlap
    return max(1, math.ceil((length - overlap) / stride))


def downsample_for(mpp: float, slide_mpp: float) -> float:
    """Slide px per px at `mpp` on a slide of `slide_mpp` um/px.

    A whole number is taken when it is right to 1 in 10,000, so that the last digits of a scanner's calibration do
    not turn every read into a resampling; pixels and masks use the same number, so they always agree.
    """
    downsample = mpp / slide_mpp
    whole = round(downsample)
    return float(whole) if whole and abs(downsample - whole) <= 1e-4 * whole else downsample
