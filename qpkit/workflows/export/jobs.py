"""The slides of an export: one after the other, in processes or on a cluster; finished ones outlive a killed run."""

from __future__ import annotations

import multiprocessing
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from qpkit.cluster import run_on_cluster
from qpkit.core.labels import LabelMap
from qpkit.core.tiles import TileGrid
from qpkit.dataset.record import TileRecord
from qpkit.errors import ConfigError, FormatError, ProjectError
from qpkit.files import replace_file
from qpkit.progress import Ticker
from qpkit.spawned import without_script
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.slide import SlideExport, SlideReport
from qpkit.workflows.inputs.slides import SlideInput

_DONE: Final = ".done"
"""Folder in an unfinished export: what is known of each finished slide."""

_TRIALS: Final = ".trials"
"""Folder in an unfinished export: slides that are being written, each trial in a folder of its own."""


@dataclass(frozen=True, slots=True)
class SlideJob:
    """One slide to export: its objects, tiles, label map and settings, and how its files begin."""

    item: SlideInput
    grid: TileGrid
    labels: LabelMap
    settings: ExportSettings
    stem: str


@dataclass(frozen=True, slots=True)
class SlideResult:
    """What came out of a slide; `failure` says why nothing did, and then there are no records."""

    name: str
    report: SlideReport | None
    records: list[TileRecord]
    failure: str = ""


def run_slides(jobs: Sequence[SlideJob], root: Path, *, workers: int, tick: Ticker) -> Iterator[SlideResult]:
    """Export slides into a folder; those that an earlier run has finished there are taken as they are.

    Args:
        jobs: In the order of the table.
        root: The unfinished export.
        workers: Processes; 1 works in this one.
        tick: Called for each tile (with several workers when a slide is finished).

    Raises:
        ConfigError: A worker process died.
        OSError, LabelError, GeometryError: As in `SlideExport`; a slide that cannot be read is a failure, no error.
    """
    if workers == 1:
        yield from (run_slide(job, root, tick) for job in jobs)
        return
    # Not forked: that copies the locks of threads, but not the threads that would open them.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            with without_script():
                waiting = [pool.submit(run_slide, job, root, None) for job in jobs]
            for job, future in zip(jobs, waiting, strict=True):
                result = future.result()
                tick_slide(job, tick)
                yield result
        except BrokenProcessPool as err:
            raise ConfigError("a worker process was killed, perhaps for its memory; use fewer --workers") from err
        finally:
            pool.shutdown(cancel_futures=True)


def run_slides_on_cluster(jobs: Sequence[SlideJob], root: Path, *, address: str, tick: Ticker) -> Iterator[SlideResult]:
    """Export slides on the workers of a Dask scheduler; see `run_slides` and `qpkit.cluster.run_on_cluster`.

    Ticks for all tiles of a slide when the results before it are in.
    """
    results = run_on_cluster(run_slide, jobs, root, None, root=root, address=address)
    for job, result in zip(jobs, results, strict=True):
        tick_slide(job, tick)
        yield result


def tick_slide(job: SlideJob, tick: Ticker) -> None:
    """Count all tiles of a slide at once."""
    for _ in range(len(job.grid)):
        tick(job.item.source.name)


def run_slide(job: SlideJob, root: Path, tick: Ticker | None) -> SlideResult:
    """Export one slide, unless that was done before.

    Its files are written into a folder of their own and moved into `root` when all are there: a slide that breaks off
    leaves none, and two processes that happen to do the same slide do not meet.
    """
    done = finished(job, root)
    if done is not None:
        if tick is not None:
            tick_slide(job, tick)
        return done
    trial = root / _TRIALS / f"{job.stem}-{uuid.uuid4().hex}"
    trial.parent.mkdir(exist_ok=True)  # not `root`: where that is gone, the export has been finished by another process
    trial.mkdir()
    try:
        export = SlideExport(job.item, job.grid, job.labels, job.settings)
        report = export.run(trial, job.stem, tick or _no_tick)
        result = SlideResult(job.item.source.name, report, export.records)
        _publish(trial, root)
    except (FormatError, ProjectError) as err:
        result = SlideResult(job.item.source.name, None, [], str(err))
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    # Last: a slide counts as finished only when its files are in their places.
    file = _note(job, root)
    file.parent.mkdir(exist_ok=True)
    replace_file(file, msgspec.msgpack.encode(result))
    return result


def finished(job: SlideJob, root: Path) -> SlideResult | None:
    """What came out of a slide that is finished in a folder, or None."""
    try:
        return msgspec.msgpack.decode(_note(job, root).read_bytes(), type=SlideResult)
    except FileNotFoundError:
        return None


def _note(job: SlideJob, root: Path) -> Path:
    return root / _DONE / f"{job.stem}.msgpack"


def _publish(trial: Path, root: Path) -> None:
    """Move every file of a trial to its place; one that a killed run has left there is replaced."""
    for file in sorted(path for path in trial.rglob("*") if path.is_file()):
        target = root / file.relative_to(trial)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)


def _no_tick(text: str) -> None:
    """For workers, which do not show progress themselves."""


def forget_progress(root: Path) -> None:
    """Remove the notes about finished slides and what broken trials have left, once all slides are done."""
    for name in (_DONE, _TRIALS):
        shutil.rmtree(root / name, ignore_errors=True)
