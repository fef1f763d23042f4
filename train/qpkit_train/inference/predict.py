"""From a model and slides to rasters of predictions: tiles with a halo at the model's um/px, tissue only.

The model is a run folder (torch), an ONNX file, or the description of a foreign one (no torch).

Every tile is read with `halo_px` more on each side, which are predicted and thrown away. As tile and halo are
multiples of the network's stride, a pixel of tissue gets the same answer whatever the tile size, as long as the halo
covers the receptive field; for a deeper network the border effect is smaller the wider the halo is. Only which
tiles count as tissue depends on the tile size. Tiles are read, predicted and written side by side (`pipeline`).
Memory holds some batches of tiles, never a slide.

Until all slides are done the work is in OUT.shared-XXXX beside OUT. Any number of processes may run the same command:
each claims slides (`claims`), and the one that finds all of them done gives the folder its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType
from typing import Final

from qpkit.claims import forget_claims
from qpkit.cluster import run_on_cluster
from qpkit.core.annotation import Annotation
from qpkit.files import one_at_a_time, settle_shared
from qpkit.predictions import PredictionSet
from qpkit.progress import OnProgress, no_progress
from qpkit.slides import SlideSource
from qpkit_train.inference.plan import Plan, plan_predictions
from qpkit_train.inference.report import PredictReport, finished_in, predictions_of, report_on, write_report
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.sharing.crew import work_on_devices
from qpkit_train.inference.sharing.finished import Finished, finished_slide, forget_failures, forget_finished
from qpkit_train.inference.sharing.unfinished import forget_process, is_done, unfinished_folder
from qpkit_train.inference.sharing.work import OnTiles, Progress, Worker, forget_trials

OnSlide = Callable[[PredictionSet], Future[None]]
"""Called with the predictions of one slide; gives what is to be waited for."""

DEFAULT_SETTINGS: Final = PredictSettings()


def predict(
    run_root: Path,
    sources: Sequence[SlideSource],
    out: Path,
    settings: PredictSettings = DEFAULT_SETTINGS,
    *,
    areas: Mapping[str, Sequence[Annotation]] | None = None,
    shard: tuple[int, int] | None = None,
    devices: Sequence[str] = (),
    scheduler: str | None = None,
    unopened: Mapping[str, str] = MappingProxyType({}),
    overwrite: bool = False,
    on_slide: OnSlide | None = None,
    on_progress: OnProgress = no_progress,
) -> PredictReport:
    """Predict slides with a run's best epoch, with a model that `qpkit export-model` wrote, or with a foreign one.

    Args:
        run_root: What fit() left, an .onnx file, or a .toml file that describes one.
        sources: Slides; names have to differ.
        out: Folder to make; it appears when everything is done, or not at all. If the process is killed, the same call
            goes on where it was; called by several processes, each does some of the slides.
        settings: How they are predicted.
        areas: Of each slide by name, the annotations inside which it is predicted, as `settings.within` says; None for
            all of all slides.
        shard: (number, count), the first is 1: do only this part of the slides.
        devices: A process for each of these: "cpu", "mps" or the number of a GPU; none works in this process.
        scheduler: Do the slides on a Dask cluster, such as tcp://node1:8786.
        unopened: Slides that could not even be opened, and why; the report names them.
        overwrite: Replace a folder that is there.
        on_slide: Called with the predictions of each slide when they are whole, in the folder where they still are.
            What it does in other threads is waited for before that folder gets its name.
        on_progress: Called with (tiles done, tiles in all, text); tiles of glass are done at once.

    Raises:
        ConfigError: A threshold of a class that the model does not have, or one that the model does not know; the
            device's memory is too small; a process was killed.
        FormatError: The run is damaged, or none of the slides can be predicted (no um/px, not readable ...); single
            ones are skipped and reported.
        OutputError: `out` is taken or cannot be written; slides that are done are kept.
    """
    started = time.perf_counter()
    plan = plan_predictions(run_root, sources, settings, areas, unopened)
    number, count = shard or (1, 1)
    mine = range(len(sources))[number - 1 :: count]
    if shard is not None and is_done(out, plan.job):
        return report_on(plan, out, finished_in(out), mine=mine, before=mine, started=started)
    with unfinished_folder(out, plan.job, overwrite=overwrite, alone=shard is None) as root:
        forget_failures(root, [plan.stems[i] for i in mine])
        before = [i for i in mine if finished_slide(root, plan.stems[i]) is not None]
        told = _Announcing(plan, root, Progress(plan, mine, on_progress), on_slide)
        _work(plan, root, mine, devices=devices, scheduler=scheduler, on_tiles=told)
        told.wait()
        with one_at_a_time(root):
            found = [finished_slide(root, stem) for stem in plan.stems]
            if root.is_dir():
                processes = max(1, len(devices))
                report = report_on(plan, out, found, mine=mine, before=before, processes=processes, started=started)
                if not report.missing:
                    _settle(plan, root, out, report, [item for item in found if item is not None])
                return report
    # Another process was the last one, and gave the folder its name.
    return report_on(plan, out, finished_in(out), mine=mine, before=mine, started=started)


def _settle(plan: Plan, root: Path, out: Path, report: PredictReport, found: Sequence[Finished]) -> None:
    """Finish the folder in which all slides are done.

    What the work needed goes last: a process that comes late finds the slides done, or the folder gone, never a folder
    whose slides seem to be undone.
    """
    write_report(plan, root, report, found)
    settle_shared(root, out)
    for forget in (forget_finished, forget_claims, forget_trials, forget_process):
        forget(out)


class _Announcing:
    """Passes progress on, and says once of each slide that it is whole."""

    def __init__(self, plan: Plan, root: Path, progress: Progress, on_slide: OnSlide | None) -> None:
        self._plan, self._root, self._progress, self._on_slide = plan, root, progress, on_slide
        self._said: dict[int, Future[None]] = {}

    def __call__(self, number: int, done: int, wanted: int) -> None:
        self._progress(number, done, wanted)
        if self._on_slide is None or number in self._said or wanted > done:
            return
        finished = finished_slide(self._root, self._plan.stems[number])
        if finished is not None and finished.row is not None:
            self._said[number] = self._on_slide(predictions_of(self._plan, self._root, finished))

    def wait(self) -> None:
        """Wait for what was begun with the slides."""
        for future in self._said.values():
            future.result()


def _work(
    plan: Plan, root: Path, mine: Sequence[int], *, devices: Sequence[str], scheduler: str | None, on_tiles: OnTiles
) -> None:
    if scheduler is not None:
        done = run_on_cluster(_slide_of_cluster, mine, plan, root, root=root, address=scheduler)
        for number, _ in zip(mine, done, strict=True):
            on_tiles(number, 0, 0)
    elif devices:
        work_on_devices(plan, root, mine, devices, on_tiles)
    else:
        with Worker(plan, root, on_tiles=on_tiles) as worker:
            worker.slides(mine)


def _slide_of_cluster(number: int, plan: Plan, root: Path) -> None:
    """What a worker of a cluster does; what came out lies in `root`."""
    with Worker(plan, root, on_tiles=lambda *said: None) as worker:
        worker.slide(number, wait=True)
