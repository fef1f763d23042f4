"""The slides of an export, one after the other or side by side; finished ones are kept when a run is killed."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from qpkit.core.labels import LabelMap
from qpkit.core.tiles import TileGrid
from qpkit.dataset.manifest import TileRecord
from qpkit.errors import ConfigError, FormatError, ProjectError
from qpkit.files import replace_file
from qpkit.workflows import Ticker
from qpkit.workflows.export_settings import ExportSettings
from qpkit.workflows.export_slide import SlideExport, SlideReport
from qpkit.workflows.sources import SlideInput

DONE: Final = ".done"
"""Folder in an unfinished export: what is known of each finished slide."""


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
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            waiting = [pool.submit(run_slide, job, root, None) for job in jobs]
            for job, future in zip(jobs, waiting, strict=True):
                result = future.result()
                for _ in range(len(job.grid)):
                    tick(job.item.source.name)
                yield result
        except BrokenProcessPool as err:
            raise ConfigError("a worker process was killed, perhaps for its memory; use fewer --workers") from err
        finally:
            pool.shutdown(cancel_futures=True)


def run_slide(job: SlideJob, root: Path, tick: Ticker | None) -> SlideResult:
    """Export one slide, unless that was done before. A slide that breaks off leaves no tiles."""
    done = root / DONE / f"{job.stem}.msgpack"
    if done.exists():
        for _ in range(len(job.grid) if tick is not None else 0):
            assert tick is not None
            tick(job.item.source.name)
        return msgspec.msgpack.decode(done.read_bytes(), type=SlideResult)
    _clear(job, root)
    try:
        export = SlideExport(job.item, job.grid, job.labels, job.settings)
        report = export.run(root, job.stem, tick or _no_tick)
        result = SlideResult(job.item.source.name, report, export.records)
    except (FormatError, ProjectError) as err:
        _clear(job, root)
        result = SlideResult(job.item.source.name, None, [], str(err))
    done.parent.mkdir(exist_ok=True)
    replace_file(done, msgspec.msgpack.encode(result))
    return result


def _no_tick(text: str) -> None:
    """For workers, which do not show progress themselves."""


def _clear(job: SlideJob, root: Path) -> None:
    """Remove the tiles that an interrupted run has left."""
    for kind in ("images", "masks"):
        shutil.rmtree(root / kind / job.stem, ignore_errors=True)


def forget_progress(root: Path) -> None:
    """Remove the notes about finished slides, once all are."""
    shutil.rmtree(root / DONE, ignore_errors=True)
