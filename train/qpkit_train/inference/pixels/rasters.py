"""The rasters of one slide while they are written: what a model answered, cleared of glass, held against thresholds."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap
from qpkit.core.tiles import SlideInfo, Tile, TileGrid
from qpkit.ops.tissue import tissue_of_tile
from qpkit_train.inference.pixels.area import Area
from qpkit_train.inference.pixels.seams import Seams
from qpkit_train.inference.pixels.uncertainty import BANDS
from qpkit_train.inference.pixels.writers import Writers
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
        writers: Of its rasters.
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
        writers: Writers,
        area: Area | None = None,
    ) -> None:
        self.limits, self.grid, self.info, self.tissue, self.area = limits, grid, info, tissue, area
        self.unknown = labels.ignore
        self.values = np.array(labels.trained_values, np.uint8)
        self._value_of = bytes(self.values).ljust(256, b"\0")
        self._are_values = bool((self.values == np.arange(len(self.values))).all())
        self.background = labels.trained_values.index(labels.background)
        self._writers = writers
        self.counts, self.likeliest, self.kept = np.zeros((3, len(self.values)), np.int64)
        self.seams = Seams(grid)
        self._unsure = np.zeros(0 if writers.uncertainty is None else writers.uncertainty.bands, np.int64)

    @property
    def wants_probabilities(self) -> bool:
        """Thresholds are held against probabilities, also where none are written."""
        return self._writers.probabilities is not None or bool(self.limits.any())

    def held_to_limits(self, answer: Answer) -> Answer:
        """Say what thresholds leave of an answer, wherever it lies; as it is where there are none, or that was said."""
        if answer.kept is not None or answer.probabilities is None or not self.limits.any():
            return answer
        found = apply_thresholds(self.limits, answer.indices, answer.probabilities, background=self.background)
        return answer._replace(kept=found)

    def mean_uncertainty(self) -> dict[str, float]:
        """Mean of each band over the pixels of predicted tiles, 0..1."""
        pixels = max(1, int(self.counts.sum()))
        return {name: round(int(n) / pixels / 255, 4) for name, n in zip(BANDS, self._unsure, strict=False)}

    def write_background(self, tiles: Iterable[Tile]) -> None:
        """Say background where nothing is predicted, inside the area.

        Where there is no area, labels need no writing: background is the fill of their raster.
        """
        for tile in tiles:
            shape = tile.height, tile.width
            inside = None if self.area is None else self.area.mask(tile)
            if inside is not None:
                labels = np.full(shape, self.values[self.background], np.uint8)
                self._writers.labels.write(self._masked(labels, inside, self.unknown), x=tile.x, y=tile.y)
            if self._writers.probabilities is not None:
                sure = self._masked(np.full(shape, 255, np.uint8), inside, 0)
                self._writers.probabilities.write(sure, x=tile.x, y=tile.y, band=self.background)

    def write(self, tiles: Sequence[Tile], answer: Answer, broken: Container[tuple[int, int]] = ()) -> None:
        """Write what a model answered for some tiles; those at the places `broken` are background, and utterly unsure.

        Their probabilities are 0.
        """
        insides = [None if self.area is None else self.area.mask(tile) for tile in tiles]
        for i, tile in enumerate(tiles):
            if (tile.col, tile.row) in broken:
                self._put(answer, i, True, probability=0, unsure=255)
            if self.tissue is not None:
                glass = ~tissue_of_tile(self.tissue, tile, self.info.width, self.info.height)
                self._put(answer, i, glass, probability=255, unsure=0)
        answer = self.held_to_limits(answer)
        written = answer if answer.kept is None else answer._replace(indices=answer.kept)
        if answer.probabilities is not None:
            self.likeliest += self._count(tiles, answer.indices, insides)
            self.kept += self._count(tiles, written.indices, insides)
        for i, (tile, inside) in enumerate(zip(tiles, insides, strict=True)):
            self._write_tile(tile, inside, written.of_tile(i))
        self.counts += self._count(tiles, written.indices, insides)

    def _write_tile(self, tile: Tile, inside: NDArray[np.bool_] | None, answer: Answer) -> None:
        labels = answer.indices
        if not self._are_values:
            # Bytes for bytes: numpy's take makes 64 bits of each index first.
            translated = answer.indices.tobytes().translate(self._value_of)
            labels = np.frombuffer(translated, np.uint8).reshape(answer.indices.shape)
        place = {"x": tile.x, "y": tile.y}
        self._writers.labels.write(self._masked(labels, inside, self.unknown), **place)
        if answer.probabilities is not None:
            self.seams.add(tile, answer.probabilities)
            if self._writers.probabilities is not None:
                self._writers.probabilities.write(self._masked(answer.probabilities, inside, 0), **place)
        if answer.uncertainty is not None and self._writers.uncertainty is not None:
            unsure = self._masked(answer.uncertainty, inside, 0)
            self._writers.uncertainty.write(unsure, **place)
            on_slide = unsure[:, : self.grid.level_height - tile.y, : self.grid.level_width - tile.x]
            self._unsure += on_slide.sum(axis=(1, 2), dtype=np.int64)

    def _put(
        self, answer: Answer, number: int, where: NDArray[np.bool_] | bool, *, probability: int, unsure: int
    ) -> None:
        """Say background somewhere in a tile, of this probability and this unsure."""
        for indices in (answer.indices, answer.kept):
            if indices is not None:
                np.copyto(indices[number], np.uint8(self.background), where=where)
        if answer.probabilities is not None:
            np.copyto(answer.probabilities[number], 0, where=where)
            np.copyto(answer.probabilities[number][self.background], probability, where=where)
        if answer.uncertainty is not None:
            np.copyto(answer.uncertainty[number], unsure, where=where)

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
