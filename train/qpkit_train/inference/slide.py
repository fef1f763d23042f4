"""One slide's prediction: which tiles, in which batches, and where the answers go. Memory holds a few batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import label_colors
from qpkit.core.tiles import SlideInfo, Tile, TileGrid, downsample_for
from qpkit.errors import FormatError
from qpkit.ops.tissue import solid_tissue, tissue_fraction, tissue_mask, tissue_of_tile
from qpkit.predictions import RasterWriter, SlidePrediction, create_raster
from qpkit.progress import OnProgress
from qpkit.slides import AS_IN_FILE, Colors, Slide, SlideSource
from qpkit_train.data.ahead import read_ahead
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.thresholds import apply_thresholds
from qpkit_train.models.card import Model, ModelCard

_LARGEST_LUMEN_MM2: Final = 0.01
"""Patches of glass inside tissue up to this size are predicted like tissue: lumens, vessels, fat."""

_READ_AHEAD: Final = 2
"""Batches that are read while one is predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedSlide:
    """The result of predicting one slide.

    Args:
        name: Of the slide.
        tiles, predicted: In the grid, and those with tissue.
        tissue: Fraction of the slide that is tissue, 0..1.
        seconds: Reading and writing included.
        mm2_per_second: Of predicted tiles; None without um/px.
        pixels: Raster pixels by class name, in predicted tiles.
        notes: What the user has to know.
        colors: In which colours the slide was shown.
    """

    name: str
    tiles: int
    predicted: int
    tissue: float
    seconds: float
    mm2_per_second: float | None
    pixels: dict[str, int]
    notes: tuple[str, ...]
    colors: Colors = AS_IN_FILE


def tile_grid(card: ModelCard, name: str, info: SlideInfo, settings: PredictSettings) -> TileGrid:
    """The tiles that a slide is predicted in, at the model's resolution.

    Raises:
        FormatError: Its um/px is not known, or finer ones would be needed.
    """
    return TileGrid(
        slide_width=info.width,
        slide_height=info.height,
        tile_size=settings.tile_px,
        halo=settings.halo_px,
        downsample=_downsample(card, info, name),
    )


class SlidePredictor:
    """One slide: which tiles, and where the answers go."""

    def __init__(
        self,
        card: ModelCard,
        source: SlideSource,
        slide: Slide,
        root: Path,
        stem: str,
        settings: PredictSettings,
        limits: NDArray[np.uint8],
    ) -> None:
        self.card, self.source, self.slide, self.root = card, source, slide, root
        self.info = slide.info
        self.grid = tile_grid(card, source.name, slide.info, settings)
        self.mpp = None if self.info.mpp is None else self.info.mpp * self.grid.downsample
        self.settings = settings
        self.labels_name = f"{stem}.labels.tif"
        self.probabilities_name = f"{stem}.probabilities.tif" if settings.probabilities else None
        self.values = np.array(card.labels.trained_values, np.uint8)
        self.background = card.labels.trained_values.index(card.labels.background)
        self.limits = limits
        self.tissue: NDArray[np.bool_] | None = None

    def described(self) -> SlidePrediction:
        """Row of predictions.json."""
        return SlidePrediction(
            name=self.source.name,
            image=str(self.source.path),
            entry=self.source.entry,
            width=self.info.width,
            height=self.info.height,
            downsample=self.grid.downsample,
            mpp=self.mpp,
            labels=self.labels_name,
            probabilities=self.probabilities_name,
        )

    def run_with(self, model: Model, on_progress: OnProgress) -> PredictedSlide:
        """Predict the slide into its rasters."""
        started = time.perf_counter()
        tissue, wanted, notes = self._choose_tiles()
        counts, likeliest, kept = np.zeros((3, len(self.values)), np.int64)
        done = 0
        with ExitStack() as stack:
            labels, probabilities = self._open_rasters(stack)
            for tile in self.grid:
                if (tile.col, tile.row) not in wanted:
                    self._write_background(tile, labels, probabilities)
            chosen, size = list(wanted.values()), self.settings.batch_size
            parts = (chosen[i : i + size] for i in range(0, len(chosen), size))
            for tiles, pixels in read_ahead(self._read, parts, workers=1, waiting=_READ_AHEAD):
                # Thresholds are held against probabilities, also where none are written.
                wants = probabilities is not None or bool(self.limits.any())
                indices, bytes_ = model.answer(pixels, halo=self.grid.halo, probabilities=wants)
                self._clear_glass(tiles, indices, bytes_)
                if bytes_ is not None:
                    likeliest += self._count(tiles, indices)
                    indices = apply_thresholds(self.limits, indices, bytes_, background=self.background)
                    kept += self._count(tiles, indices)
                self._write(tiles, indices, bytes_, labels, probabilities)
                counts += self._count(tiles, indices)
                done += len(tiles)
                on_progress(done, len(wanted), self.source.name)
        seconds = time.perf_counter() - started
        return PredictedSlide(
            name=self.source.name,
            tiles=len(self.grid),
            predicted=len(wanted),
            tissue=round(tissue, 4),
            seconds=round(seconds, 3),
            mm2_per_second=self._speed(len(wanted), seconds),
            pixels={self.card.labels.name_of(int(v)): int(n) for v, n in zip(self.values, counts, strict=True)},
            notes=(*self._notes_on_source(), *notes, *self._nothing_left(likeliest, kept)),
            colors=self.source.colors,
        )

    def _notes_on_source(self) -> tuple[str, ...]:
        is_mean = self.info.mpp is not None and self.info.mpp_note
        size = f"its um/px is {self.info.mpp_note}" if is_mean else ""
        return tuple(note for note in (self.source.note, size) if note)

    def _count(self, tiles: Sequence[Tile], indices: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Pixels by class index that lie on the slide."""
        width, height = self.grid.level_width, self.grid.level_height
        inside = [indices[i, : height - tile.y, : width - tile.x].ravel() for i, tile in enumerate(tiles)]
        return np.bincount(np.concatenate(inside), minlength=len(self.values))

    def _nothing_left(self, likeliest: NDArray[np.int64], kept: NDArray[np.int64]) -> list[str]:
        """Classes that the model saw somewhere, nowhere as likely as it has to be."""
        return [
            f"{self.card.labels.name_of(int(self.values[i]))}: the likeliest class of {likeliest[i]:,} px, and of none "
            f"with a probability of {self.limits[i] / 255:.2f}: all of it is background"
            for i in np.flatnonzero((likeliest > 0) & (kept == 0))
        ]

    def _choose_tiles(self) -> tuple[float, dict[tuple[int, int], Tile], tuple[str, ...]]:
        """Tissue fraction of the slide, the tiles to predict by (col, row), and notes."""
        everything = {(tile.col, tile.row): tile for tile in self.grid}
        if not self.settings.only_tissue:
            return 1.0, everything, ()
        mask = tissue_mask(self.slide.thumbnail())
        if not mask.any():
            return 0.0, everything, ("no tissue could be told from glass: all tiles were predicted",)
        size = self.info.width, self.info.height
        mask = self.tissue = solid_tissue(mask, largest_hole=self._lumen_px(mask))
        wanted = {key: tile for key, tile in everything.items() if tissue_fraction(mask, tile.slide_region, *size) > 0}
        return float(mask.mean()), wanted, ()

    def _lumen_px(self, mask: NDArray[np.bool_]) -> float:
        """Px of the tissue mask in the largest lumen; none is filled without um/px."""
        if self.info.mpp is None:
            return 0
        um_per_px = self.info.mpp * self.info.width / mask.shape[1]
        return float(_LARGEST_LUMEN_MM2 * 1e6 / um_per_px**2)

    def _open_rasters(self, stack: ExitStack) -> tuple[RasterWriter, RasterWriter | None]:
        width, height = self.grid.level_width, self.grid.level_height
        create = partial(create_raster, width=width, height=height, downsample=self.grid.downsample, mpp=self.mpp)
        labels = stack.enter_context(create(self.root / self.labels_name, colors=label_colors(self.card.labels)))
        if self.probabilities_name is None:
            return labels, None
        probabilities = create(self.root / self.probabilities_name, bands=len(self.values), nearest=False)
        return labels, stack.enter_context(probabilities)

    def _write_background(self, tile: Tile, labels: RasterWriter, probabilities: RasterWriter | None) -> None:
        """Say background where nothing was predicted; unwritten pixels are 0, which is enough if that means it."""
        shape = tile.height, tile.width
        if self.card.labels.background != 0:
            labels.write(np.full(shape, self.card.labels.background, np.uint8), x=tile.x, y=tile.y)
        if probabilities is not None:
            sure = np.zeros((len(self.values), *shape), np.uint8)
            sure[self.background] = 255
            probabilities.write(sure, x=tile.x, y=tile.y)

    def _clear_glass(self, tiles: Sequence[Tile], indices: NDArray[np.uint8], bytes_: NDArray[np.uint8] | None) -> None:
        """Say background where a batch shows glass."""
        if self.tissue is None:
            return
        for i, tile in enumerate(tiles):
            glass = ~tissue_of_tile(self.tissue, tile, self.info.width, self.info.height)
            indices[i][glass] = self.background
            if bytes_ is not None:
                bytes_[i][:, glass] = 0
                bytes_[i][self.background, glass] = 255

    def _write(
        self,
        tiles: Sequence[Tile],
        indices: NDArray[np.uint8],
        bytes_: NDArray[np.uint8] | None,
        labels: RasterWriter,
        probabilities: RasterWriter | None,
    ) -> None:
        for i, tile in enumerate(tiles):
            labels.write(self.values[indices[i]], x=tile.x, y=tile.y)
            if probabilities is not None and bytes_ is not None:
                probabilities.write(bytes_[i], x=tile.x, y=tile.y)

    def _read(self, tiles: Sequence[Tile]) -> tuple[Sequence[Tile], NDArray[np.uint8]]:
        return tiles, np.stack([self.slide.read(tile) for tile in tiles])

    def _speed(self, tiles: int, seconds: float) -> float | None:
        if self.mpp is None:
            return None
        return round(tiles * (self.grid.tile_size * self.mpp / 1000) ** 2 / max(seconds, 1e-9), 4)


def _downsample(card: ModelCard, info: SlideInfo, name: str) -> float:
    """Slide px per px at the run's um/px.

    Raises:
        FormatError: The slide's um/px are unknown, or the run has neither um/px nor one downsample.
    """
    if card.mpp is None:
        if card.downsample is None:
            raise FormatError(f"{card.where}: neither um/px nor one downsample is known of the tiles it was trained on")
        return card.downsample
    if info.mpp is None:
        raise FormatError(
            f"{name}: um/px is unknown ({info.mpp_note or 'not stated'}); the model expects {card.mpp:g} um/px, "
            "so state the slide's with --slide-mpp or set it in QuPath"
        )
    return downsample_for(card.mpp, info.mpp)
