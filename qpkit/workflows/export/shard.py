"""One job of several that share an export: does its part of the slides; whoever comes last writes the table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import msgspec

from qpkit.core.annotation import PathClass
from qpkit.dataset.manifest import INFO_NAME
from qpkit.errors import OutputError
from qpkit.files import one_at_a_time, settle_shared, shared_folder
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.workflows.export.jobs import finished, forget_progress, run_slides
from qpkit.workflows.export.plan import plan_export
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import ExportReport, finish_export
from qpkit.workflows.inputs.slides import SlideInput


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """What one job of an export did.

    Args:
        slides: Slides of this job.
        failed: Of these, the broken ones and why, and all slides that could not even be opened.
        done, total: Slides of all jobs, finished and in all.
        whole: The report of the whole export, if this job was the last.
    """

    slides: tuple[str, ...]
    failed: dict[str, str]
    done: int
    total: int
    whole: ExportReport | None = None


def export_shard(
    inputs: Sequence[SlideInput],
    out: Path,
    settings: ExportSettings,
    shard: tuple[int, int],
    *,
    classes: Sequence[PathClass] = (),
    overwrite: bool = False,
    workers: int = 1,
    broken: Mapping[str, str] = MappingProxyType({}),
    on_progress: OnProgress = no_progress,
) -> ShardReport:
    """Export every count-th slide into a folder that several jobs share, on any machines that see the same drive.

    Jobs may run in any order, at the same time, and again after they were killed. The one that finds all slides
    finished puts the table together and gives the folder its name.

    Args:
        inputs: All slides, the same for all jobs.
        out: Folder to make in the end; until then the work is in OUT.shared-XXXX beside it.
        settings: The same for all jobs.
        shard: (number, count), the first is 1.
        classes, overwrite, workers, broken, on_progress: As in `export_tiles`.

    Raises:
        As `export_tiles`.
    """
    start = time.perf_counter()
    number, count = shard
    plan = plan_export(inputs, settings, classes)
    mine = plan.jobs[number - 1 :: count]
    names = tuple(job.item.source.name for job in mine)
    done_before = ShardReport(slides=names, failed=dict(broken), done=len(plan.jobs), total=len(plan.jobs))
    if _job_of(out) == plan.job:
        return done_before
    try:
        with shared_folder(out, marker=INFO_NAME, overwrite=overwrite, job=plan.job) as root:
            tick = Ticker(sum(len(job.grid) for job in mine), on_progress)
            results = run_slides(mine, root, workers=workers, tick=tick)
            failed = {**broken, **{result.name: result.failure for result in results if result.failure}}
            with one_at_a_time(root):
                if _job_of(out) == plan.job:  # another job was the last one
                    return replace(done_before, failed=failed)
                complete = [result for job in plan.jobs if (result := finished(job, root)) is not None]
                whole = None
                if len(complete) == len(plan.jobs):
                    whole = finish_export(plan, complete, root, out, broken=broken, start=start)
                    settle_shared(root, out)
                    forget_progress(out)  # last: who comes late finds the slides done, or the folder gone
    except OutputError:
        if _job_of(out) == plan.job:  # and while this one wrote
            return done_before
        raise
    return ShardReport(slides=names, failed=failed, done=len(complete), total=len(plan.jobs), whole=whole)


def _job_of(out: Path) -> str:
    """Hash of the export that is in a folder, or ""."""
    try:
        return str(msgspec.json.decode((out / INFO_NAME).read_bytes(), type=dict[str, object]).get("job", ""))
    except (OSError, msgspec.DecodeError):
        return ""
