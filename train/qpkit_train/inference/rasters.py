"""The rasters of one slide while they are written: what a model answered, cleared of glass, held against thresholds."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap, label_colors
from qpkit.core.tiles import SlideInfo, Tile, TileGrid
from qpkit.ops.tissue import tissue_of_tile
from qpkit.predictions import RasterWriter, create_raster
from qpkit_train.inference.area import Area
from qpkit_train.inference.seams import Seams
from qpkit_train.inference.thresholds import apply_thresholds
from qpkit_train.models.card import Answer


class SlideRasters:
    """Takes the answers for one slide. One thread at a time.

    Args:
        labels: Of the model.
        limits: (classes,) uint8, as `threshold_levels` gives them.
        grid: Of the slide.
        info: Of the slide.
        tissue: Mask of the tissue, any size; None if all of the slide counts as it.
        writers: Of labels and, if wanted, of probabilities.
        area: What of the slide is predicted; None for all of it.

    Attributes:
        counts, likeliest, kept: (classes,) int64 pixels on the slide and in the area: as written, and before and after
            thresholds (where probabilities were asked for).
        seams: How probabilities jump at the borders of tiles.
    """

    def __init__(
        self,
        labels: LabelMap,
        limits: NDArray[np.uint8],
        grid: TileGrid,
        info: SlideInfo,
        tissue: NDArray[np.bool_] | None,
        writers: tuple[RasterWriter, RasterWriter | None],
        area: Area | None = None,
    ) -> None:
        self.limits, self.grid, self.info, self.tissue, self.area = limits, grid, info, tissue, area
        self.unknown = labels.ignore
        self.values = np.array(labels.trained_values, np.uint8)
        self.background = labels.trained_values.index(labels.background)
        self._labels, self._probabilities = writers
        self.counts, self.likeliest, self.kept = np.zeros((3, len(self.values)), np.int64)
        self.seams = Seams(grid)

    @property
    def wants_probabilities(self) -> bool:
        """Thresholds are held against probabilities, also where none are written."""
        return self._probabilities is not None or bool(self.limits.any())

    def write_background(self, tiles: Iterable[Tile]) -> None:
        """Say background where nothing is predicted; pixels that are not written say it already where that is 0.

        Outside the area they say that nothing was predicted.
        """
        value = self.values[self.background]
        for tile in tiles:
            shape = tile.height, tile.width
            inside = None if self.area is None else self.area.mask(tile)
            if value != 0 or inside is not None:
                labels = np.full(shape, value, np.uint8)
                self._labels.write(self._masked(labels, inside, self.unknown), x=tile.x, y=tile.y)
            if self._probabilities is not None:
                sure = self._masked(np.full(shape, 255, np.uint8), inside, 0)
                self._probabilities.write(sure, x=tile.x, y=tile.y, band=self.background)

    def write(self, tiles: Sequence[Tile], answer: Answer, broken: Container[tuple[int, int]] = ()) -> None:
        """Write what a model answered for some tiles; those at the places `broken` are background, of probability 0."""
        indices, probabilities = answer
        insides = [None if self.area is None else self.area.mask(tile) for tile in tiles]
        for i, tile in enumerate(tiles):
            if (tile.col, tile.row) in broken:
                indices[i] = self.background
                if probabilities is not None:
                    probabilities[i] = 0
        self._clear_glass(tiles, indices, probabilities)
        if probabilities is not None:
            self.likeliest += self._count(tiles, indices, insides)
            indices = apply_thresholds(self.limits, indices, probabilities, background=self.background)
            self.kept += self._count(tiles, indices, insides)
        for i, (tile, inside) in enumerate(zip(tiles, insides, strict=True)):
            self._labels.write(self._masked(self.values.take(indices[i]), inside, self.unknown), x=tile.x, y=tile.y)
            if probabilities is not None:
                self.seams.add(tile, probabilities[i])
                if self._probabilities is not None:
                    self._probabilities.write(self._masked(probabilities[i], inside, 0), x=tile.x, y=tile.y)
        self.counts += self._count(tiles, indices, insides)

    @staticmethod
    def _masked(pixels: NDArray[np.uint8], inside: NDArray[np.bool_] | None, outside: int) -> NDArray[np.uint8]:
        """(..., h, w) pixels with another value outside the area."""
        return pixels if inside is None else np.where(inside, pixels, np.uint8(outside))

    def _count(
        self, tiles: Sequence[Tile], indices: NDArray[np.uint8], insides: Sequence[NDArray[np.bool_] | None]
    ) -> NDArray[np.int64]:
        """Pixels by class index that lie on the slide and in the area."""
        width, height = self.grid.level_width, self.grid.level_height
        counts = np.zeros(len(self.values), np.int64)
        for i, (tile, within) in enumerate(zip(tiles, insides, strict=True)):
            inside = indices[i, : height - tile.y, : width - tile.x] if within is None else indices[i][within]
            # For the few classes that there are this is faster than bincount, which makes 64 bits of each pixel first.
            counts += [np.count_nonzero(inside == index) for index in range(len(counts))]
        return counts

    def _clear_glass(
        self, tiles: Sequence[Tile], indices: NDArray[np.uint8], probabilities: NDArray[np.uint8] | None
    ) -> None:
        """Say background where a batch shows glass."""
        if self.tissue is None:
            return
        for i, tile in enumerate(tiles):
            glass = ~tissue_of_tile(self.tissue, tile, self.info.width, self.info.height)
            indices[i][glass] = self.background
            if probabilities is not None:
                probabilities[i][:, glass] = 0
                probabilities[i][self.background, glass] = 255


@contextmanager
def open_writers(
    labels: LabelMap,
    grid: TileGrid,
    *,
    mpp: float | None,
    labels_path: Path,
    probabilities_path: Path | None,
    fill: int = 0,
) -> Iterator[tuple[RasterWriter, RasterWriter | None]]:
    """Create the rasters of a slide: of labels and, if it has a path, of probabilities.

    Args:
        labels, grid, mpp: Of model and slide.
        labels_path, probabilities_path: Files to make.
        fill: Label of pixels that nobody writes.

    Raises:
        OutputError: They cannot be written.
    """
    create = partial(
        create_raster, width=grid.level_width, height=grid.level_height, downsample=grid.downsample, mpp=mpp
    )
    with create(labels_path, colors=label_colors(labels), fill=fill) as writer:
        if probabilities_path is None:
            yield writer, None
            return
        with create(probabilities_path, bands=len(labels.trained_values), nearest=False) as probabilities:
            yield writer, probabilities
