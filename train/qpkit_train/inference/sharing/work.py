"""One process's part of a prediction: it claims slides, one after the other, and predicts each into a shared folder.

Rasters are written into a folder of the slide's own and moved when they are whole, so what a killed process leaves is
no raster. Its journal is: whoever claims the slide next goes on from it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from qpkit.claims import Claim, LostClaimError, claimed, wait_a_little
from qpkit.errors import ConfigError, MissingExtraError, OutputError, QpkitError
from qpkit.predictions.ome_zarr import write_ome_zarr
from qpkit.progress import OnProgress
from qpkit.slides import Slide, open_source
from qpkit_train.inference.pipeline import first_readers
from qpkit_train.inference.pixels.reading_processes import ReadingProcesses
from qpkit_train.inference.pixels.tile_choice import TileChoice
from qpkit_train.inference.plan import Plan
from qpkit_train.inference.running.opening import open_model
from qpkit_train.inference.sharing.finished import Finished, finished_slide, note_finished
from qpkit_train.inference.sharing.journal import Journal
from qpkit_train.inference.slide import SlidePredictor, Steps, finished, tile_grid
from qpkit_train.models.card import Model, on_device

OnTiles = Callable[[int, int, int], None]
"""Called with the number of a slide, how many of its tiles with tissue are done, and how many there are."""

_TRIALS: Final = ".trials"
"""Folder in the shared one: slides that are being predicted, each trial in a folder of its own."""

_JOURNAL: Final = "journal"


class Progress:
    """Adds up how far the slides are.

    Args:
        plan: The plan.
        mine: Numbers of the slides that are waited for.
        on_progress: Told of all of them together.
    """

    def __init__(self, plan: Plan, mine: Iterable[int], on_progress: OnProgress) -> None:
        self._on_progress, self._names = on_progress, [source.name for source in plan.sources]
        self._tiles = {number: _tiles_of(plan, number) for number in mine}
        self._done = dict.fromkeys(self._tiles, 0)

    def __call__(self, number: int, done: int, wanted: int) -> None:
        """So many of the tiles with tissue of a slide are done."""
        self._done[number] = max(0, self._tiles[number] - wanted + done)
        self._on_progress(sum(self._done.values()), sum(self._tiles.values()), self._names[number])


def _tiles_of(plan: Plan, number: int) -> int:
    """Tiles in the grid of a slide; 0 if it cannot be predicted, which is said when its turn comes."""
    source = plan.sources[number]
    try:
        with open_source(source) as slide:
            return len(tile_grid(plan.card, source.name, slide.info, plan.settings))
    except QpkitError:
        return 0


class Worker:
    """Predicts slides of a plan with a model of its own, which is opened when it is needed; a context manager.

    Args:
        plan: The plan.
        root: The folder that all processes share.
        device: "cpu", the number of a GPU, or None for the best there is.
        threads: Of a CPU; 0 for as many as there are cores.
        on_tiles: Told of the progress.
    """

    def __init__(
        self, plan: Plan, root: Path, *, device: str | None = None, threads: int = 0, on_tiles: OnTiles
    ) -> None:
        self._plan, self._root, self._on_tiles = plan, root, on_tiles
        self._device, self._threads = device, threads
        self._processes: ReadingProcesses | None = None

    @cached_property
    def _model(self) -> Model:
        plan = self._plan
        model = open_model(plan.run_root, plan.settings, device=self._device, threads=self._threads)
        if on_device(model) is not None:
            self._processes = ReadingProcesses(first_readers(plan.settings.readers))
        return model

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._processes is not None:
            self._processes.close()

    def slides(self, numbers: Iterable[int]) -> None:
        """Predict slides, but for those that other living processes have.

        Raises:
            ConfigError: The device's memory is too small.
            OutputError: The disk is full.
            FormatError: The model is damaged.
        """
        left: list[int] = []
        finishing: tuple[int, Future[bool]] | None = None

        def await_last() -> None:
            if finishing is not None and not finishing[1].result():
                left.append(finishing[0])

        order = list(numbers)
        with ThreadPoolExecutor(2, "qpkit-beside") as beside:
            # The first one's tiles while the model is opened.
            choice = beside.submit(self._choice, order[0]) if order else None
            for number, following in zip(order, [*order[1:], None], strict=True):
                steps = self._claim(number, choice)
                choice = None if following is None else beside.submit(self._choice, following)
                try:
                    next(steps)
                except StopIteration as end:  # done before, another's, or it failed: there is nothing to finish
                    left += [] if end.value else [number]
                    continue
                try:
                    await_last()
                except BaseException:
                    steps.close()
                    raise
                # Its rasters are completed while the next slide, whose tiles are chosen already, is predicted.
                finishing = number, beside.submit(finished, steps)
            await_last()
        for number in left:  # whose process may have died meanwhile
            self.slide(number)

    def slide(self, number: int, *, wait: bool = False) -> bool:
        """Predict a slide, unless that was done before.

        Args:
            number: Of the slide in the plan.
            wait: Where another process has it, wait until that is done or dead.

        Returns:
            Whether the slide is done.
        """
        while not (done := self._is_done(number) or finished(self._claim(number))) and wait:
            wait_a_little()
        return done

    def _is_done(self, number: int) -> bool:
        done = finished_slide(self._root, self._plan.stems[number]) is not None
        if done:
            self._on_tiles(number, 0, 0)
        return done

    def _choice(self, number: int) -> TileChoice | None:
        """Choose a slide's tiles ahead of its turn; None if it is done, or what is wrong is said in its turn."""
        if finished_slide(self._root, self._plan.stems[number]) is not None:
            return None
        try:
            with open_source(self._plan.sources[number]) as slide:
                return self._job(number, slide, self._root).choose()
        except (QpkitError, OSError):
            return None

    def _job(self, number: int, slide: Slide, folder: Path) -> SlidePredictor:
        plan, source = self._plan, self._plan.sources[number]
        area = None if plan.areas is None else plan.areas[source.name]
        stem, processes = plan.stems[number], self._processes
        return SlidePredictor(plan.card, source, slide, folder, stem, plan.settings, plan.limits, area, processes)

    def _claim(self, number: int, choice: Future[TileChoice | None] | None = None) -> Steps[bool]:
        """Predict a slide, if no other process has it; see `SlidePredictor.steps`."""
        with claimed(self._root, self._plan.stems[number]) as claim:
            if claim is None:
                return False
            if self._is_done(number):  # by whoever had it until now
                return True
            model = self._model
            try:
                found = yield from self._predicted(number, model, claim, choice)
            except LostClaimError:
                return False
            note_finished(self._root, self._plan.stems[number], found)
        self._on_tiles(number, 0, 0)
        return True

    def _predicted(
        self, number: int, model: Model, claim: Claim, choice: Future[TileChoice | None] | None
    ) -> Steps[Finished]:
        """Predict a slide and put its rasters in their places."""
        plan, source = self._plan, self._plan.sources[number]
        trials = self._root / _TRIALS / plan.stems[number]
        earlier = max(trials.glob(f"*/{_JOURNAL}"), key=lambda path: path.stat().st_size, default=None)
        trial = trials / claim.token
        for folder in (trials.parent, trials, trial):  # not the root: where it is gone, another process finished it
            folder.mkdir(exist_ok=True)
        try:
            with open_source(source) as slide, Journal(trial / _JOURNAL, earlier) as journal:
                job = self._job(number, slide, trial)
                chosen = None if choice is None else choice.result()
                report = yield from job.steps(model, lambda *done: self._on_tiles(number, *done[:2]), journal, chosen)
            row = job.described()
            if row.ome_zarr is not None:
                write_ome_zarr(trial / row.labels, trial / row.ome_zarr, plan.card.labels, row)
            claim.require()
            for path in _rasters_in(trial):
                _remove(self._root / path.name)
                path.replace(self._root / path.name)
            shutil.rmtree(trials, ignore_errors=True)
            return Finished(name=source.name, report=report, row=row, notes=model.notes)
        except OutputError as err:
            text = str(err).replace(f"{trial}{os.sep}", "")
            raise OutputError(f"{text} What is done is kept: free some space, and the same command goes on") from err
        except (ConfigError, MissingExtraError):  # not the fault of a slide: they end everything
            raise
        except QpkitError as err:
            return Finished(name=source.name, failure=str(err))
        finally:
            for path in _rasters_in(trial):
                _remove(path)


def _rasters_in(trial: Path) -> list[Path]:
    return [path for path in trial.glob("*") if path.name != _JOURNAL]


def _remove(path: Path) -> None:
    """Remove a raster, which may be a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def has_journals(root: Path) -> bool:
    """Whether a slide of a folder has been begun."""
    return any(path.stat().st_size for path in root.glob(f"{_TRIALS}/*/*/{_JOURNAL}"))


def forget_trials(root: Path) -> None:
    """Remove what broken trials have left, once all slides are done."""
    shutil.rmtree(root / _TRIALS, ignore_errors=True)
