"""One slide's prediction: which tiles, in which batches, and where the answers go. Memory holds a few batches."""

from __future__ import annotations

import time
from collections.abc import Container, Generator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.tiles import SlideInfo, Tile, TileGrid, downsample_for
from qpkit.errors import FormatError
from qpkit.predictions import SlidePrediction
from qpkit.progress import OnProgress
from qpkit.slides import Slide, SlideSource
from qpkit_train.inference.distance import appearance_in, distance_of, warnings_of
from qpkit_train.inference.pipeline import StageTimes, run_stages
from qpkit_train.inference.pixels.area import Area
from qpkit_train.inference.pixels.blend import neighbourhood
from qpkit_train.inference.pixels.rasters import SlideRasters
from qpkit_train.inference.pixels.reading import TileReader
from qpkit_train.inference.pixels.reading_processes import ReadingProcesses
from qpkit_train.inference.pixels.tile_choice import TileChoice, choose_tiles
from qpkit_train.inference.pixels.writers import open_writers
from qpkit_train.inference.predicted import PredictedSlide, Speed
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.sharing.journal import AnsweredTiles, Journal
from qpkit_train.inference.slide_stages import stages_of
from qpkit_train.models.card import Model, ModelCard, for_slide, on_device

_Result = TypeVar("_Result")

Steps = Generator[None, None, _Result]
"""Work in steps, each of which may be done by another thread."""


def finished(steps: Steps[_Result]) -> _Result:
    """Do all steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result


_BATCH: Final = {False: 2, True: 8}
"""Tiles at a time where nothing is said: on a GPU eight take 0.87 of the time of four times two (U-Net/ResNet18)."""


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
    """One slide: which tiles, and where the answers go.

    Args:
        card: Of the model.
        source, slide: The slide, opened.
        root: Folder for the rasters.
        stem: How their names begin.
        settings: How it is predicted.
        limits: (classes,) uint8, as `threshold_levels` gives them.
        within: Annotations inside which it is predicted; None for all of it.
        processes: Read its tiles for this one, where there are some.

    Raises:
        FormatError: Its um/px is not known, or finer ones would be needed.
    """

    def __init__(
        self,
        card: ModelCard,
        source: SlideSource,
        slide: Slide,
        root: Path,
        stem: str,
        settings: PredictSettings,
        limits: NDArray[np.uint8],
        within: Sequence[Annotation] | None = None,
        processes: ReadingProcesses | None = None,
    ) -> None:
        self.card, self.source, self.slide, self.root, self.stem = card, source, slide, root, stem
        self.info = slide.info
        self.grid = tile_grid(card, source.name, slide.info, settings)
        self.mpp = None if self.info.mpp is None else self.info.mpp * self.grid.downsample
        self.settings, self.limits, self._processes = settings, limits, processes
        self.area = None if within is None else Area(within, self.grid, self.info)

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
            labels=f"{self.stem}.labels.tif",
            probabilities=f"{self.stem}.probabilities.tif" if self.settings.probabilities else None,
            uncertainty=f"{self.stem}.uncertainty.tif" if self.settings.uncertainty else None,
            ome_zarr=f"{self.stem}.labels.ome.zarr" if self.settings.ome_zarr else None,
            within=None if self.area is None else self.settings.within,
        )

    def run_with(self, model: Model, on_progress: OnProgress, journal: Journal | None = None) -> PredictedSlide:
        """Predict the slide into its rasters; see `steps`."""
        return finished(self.steps(model, on_progress, journal))

    def choose(self) -> TileChoice:
        """Look which tiles are to be predicted.

        Raises:
            FormatError: The slide cannot be read.
        """
        return choose_tiles(self.slide, self.grid, self.area, only_tissue=self.settings.only_tissue)

    def steps(
        self, model: Model, on_progress: OnProgress, journal: Journal | None = None, choice: TileChoice | None = None
    ) -> Steps[PredictedSlide]:
        """Predict the slide into its rasters, in two steps: in the second, nothing is left to predict.

        Args:
            model: What predicts it.
            on_progress: Called with (tiles with tissue done, such tiles, name).
            journal: Takes up every answer; what it already has is not predicted again.
            choice: As `choose` gives it, if that was done before.

        Raises:
            FormatError: The slide cannot be read any more, or none of its tiles.
            OutputError: A raster or the journal cannot be written.
        """
        started = time.perf_counter()
        choice = choice or self.choose()
        model = for_slide(model, self.slide, choice.predicted)
        chosen, size = choice.predicted, self.settings.batch_size or _BATCH[on_device(model) is not None]
        batches = [chosen[i : i + size] for i in range(0, len(chosen), size)]
        with open_writers(self.card.labels, self.described(), self.root, looks=self.settings.looks) as writers:
            rasters = SlideRasters(
                self.card.labels, self.limits, self.grid, self.info, choice.tissue, writers, area=self.area
            )
            rasters.write_background(choice.glass)
            answers = AnsweredTiles(rasters, journal)
            answers.replay(self.grid)
            left = batches[self._first_batch(batches, answers.places) :]
            done = len(chosen) - sum(map(len, left))

            def tell(tiles: int) -> None:
                nonlocal done
                done += tiles
                on_progress(done, len(chosen), self.source.name)

            tell(0)
            appearance = appearance_in(self.card)
            reader = TileReader(
                self.source,
                self.slide,
                answers.broken,
                factors=self.card.factors,
                looks_by=None if appearance is None else appearance.side,
                processes=self._processes,
            )
            try:
                stages = stages_of(
                    model,
                    self.settings,
                    self.grid,
                    rasters,
                    answers,
                    reader,
                    [tile for batch in left for tile in batch],
                )
                times = run_stages(left, stages, readers=self.settings.readers, on_batch=tell)
            finally:
                reader.close()
            yield
        if chosen and len(reader.broken) == len(chosen):
            raise FormatError(f"{self.source.path}: none of its tiles can be read ({min(reader.broken.values())})")
        looks = {**answers.looks, **reader.looks}
        distance = None if appearance is None else distance_of(appearance, looks, self.grid)
        pixels = self._by_class(rasters.counts)
        predicted, seconds = sum(map(len, left)), time.perf_counter() - started
        return PredictedSlide(
            name=self.source.name,
            tiles=len(self.grid),
            predicted=len(chosen),
            tissue=round(choice.tissue_fraction, 4),
            seconds=round(seconds, 3),
            mm2_per_second=self._mm2_per_second(predicted, seconds),
            pixels=pixels,
            not_predicted=choice.not_predicted,
            notes=(
                *self._notes_on_source(),
                *choice.notes,
                *self._notes_on_area(choice.not_predicted),
                *self._nothing_left(rasters.likeliest, rasters.kept),
                *warnings_of(
                    distance,
                    appearance,
                    self.grid.downsample,
                    pixels,
                    background=self.card.labels.name_of(self.card.labels.background),
                    in_regions=self.area is not None,
                ),
            ),
            colors=self.source.colors,
            speed=self._speed(times, predicted, seconds),
            seams=rasters.seams.measured(),
            uncertainty=rasters.mean_uncertainty(),
            distance=distance,
            broken=self._named(reader.broken),
            kept=len(chosen) - predicted,
            device=model.device_name,
            precision=model.precision,
        )

    def _first_batch(self, batches: Sequence[Sequence[Tile]], answered: Container[tuple[int, int]]) -> int:
        """The first batch that still has to be predicted: with one of the tiles that make those not yet answered."""
        needed = {(tile.col, tile.row) for batch in batches for tile in batch if (tile.col, tile.row) not in answered}
        if self.settings.blend != "crop":
            needed = {other for place in needed for other in neighbourhood(*place)}
        numbers = (i for i, batch in enumerate(batches) if any((tile.col, tile.row) in needed for tile in batch))
        return next(numbers, len(batches))

    def _named(self, broken: Mapping[tuple[int, int], str]) -> dict[str, str]:
        """Broken tiles by where they are on the slide, from the top."""
        corners = {place: self.grid.tile(*place).slide_region for place in broken}
        order = sorted(broken, key=lambda place: place[::-1])
        return {f"{corners[place].x:.0f}, {corners[place].y:.0f}": broken[place] for place in order}

    def _by_class(self, counts: NDArray[np.int64]) -> dict[str, int]:
        values = self.card.labels.trained_values
        return {self.card.labels.name_of(v): int(n) for v, n in zip(values, counts, strict=True)}

    def _speed(self, times: StageTimes, tiles: int, seconds: float) -> Speed:
        loop = max(times.seconds, 1e-9)
        return Speed(
            readers=times.readers,
            loop_seconds=round(times.seconds, 3),
            reading_seconds=round(times.reading, 3),
            predicting_seconds=round(times.predicting, 3),
            writing_seconds=round(times.writing, 3),
            slowest=times.slowest,
            device_busy_in_loop=round(times.device_busy, 3),
            device_busy=round(min(1.0, times.predicting / max(seconds, 1e-9)), 3),
            tiles_per_second=round(tiles / loop, 3),
            megapixels_per_second=round(tiles * self.grid.tile_size**2 / 1e6 / loop, 3),
            mm2_per_second=self._mm2_per_second(tiles, loop),
        )

    def _notes_on_source(self) -> tuple[str, ...]:
        is_mean = self.info.mpp is not None and self.info.mpp_note
        size = f"its um/px is {self.info.mpp_note}" if is_mean else ""
        return tuple(note for note in (self.source.note, size) if note)

    def _notes_on_area(self, not_predicted: int) -> tuple[str, ...]:
        if self.area is None:
            return ()
        fraction = not_predicted / (self.grid.level_width * self.grid.level_height)
        return (f"{not_predicted:,} px ({fraction:.1%}) outside --within {self.settings.within} were not predicted",)

    def _nothing_left(self, likeliest: NDArray[np.int64], kept: NDArray[np.int64]) -> list[str]:
        """Classes that the model saw somewhere, nowhere as likely as it has to be."""
        labels = self.card.labels
        return [
            f"{labels.name_of(labels.trained_values[i])}: the likeliest class of {likeliest[i]:,} px, and of none "
            f"with a probability of {self.limits[i] / 255:.2f}: all of it is background"
            for i in np.flatnonzero((likeliest > 0) & (kept == 0))
        ]

    def _mm2_per_second(self, tiles: int, seconds: float) -> float | None:
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
