"""qpkit export: slides and their annotations to tiles, masks and a table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from qpkit.core.annotation import PathClass
from qpkit.core.labels import LabelMap, label_map_to_builtins
from qpkit.dataset.counts import common_mpp, count_tiles, split_counts
from qpkit.dataset.manifest import INFO_NAME, write_tile_set
from qpkit.dataset.record import TileRecord
from qpkit.dataset.splits import draw_splits
from qpkit.dataset.stores.nnunet import finish_dataset, remarks_on
from qpkit.dataset.stores.slides import StreamedSlide, path_beside
from qpkit.errors import ConfigError, FormatError, listed
from qpkit.files import new_folder, quick_hash, sha256
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.workflows.export.jobs import SlideJob, SlideResult, forget_progress, run_slides, run_slides_on_cluster
from qpkit.workflows.export.notes import note_on_colors, notes_on_slides
from qpkit.workflows.export.plan import ExportPlan, plan_export
from qpkit.workflows.export.removed import notes_on_ledgers
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.slide import SlideReport, snapshot_path
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.inputs.versions import versions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export did; `skipped` gives slides without a single annotation, `failed` broken ones and why."""

    mpp: float | None
    labels: LabelMap
    slides: tuple[SlideReport, ...]
    skipped: tuple[str, ...]
    failed: Mapping[str, str]
    splits: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    seconds: float

    @property
    def tiles_kept(self) -> int:
        """Tiles written, all slides together."""
        return sum(slide.tiles_kept for slide in self.slides)


def export_tiles(
    inputs: Sequence[SlideInput],
    out: Path,
    settings: ExportSettings,
    *,
    classes: Sequence[PathClass] = (),
    overwrite: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    broken: Mapping[str, str] = MappingProxyType({}),
    on_progress: OnProgress = no_progress,
) -> ExportReport:
    """Write tiles, masks, tiles.parquet and export.json into a new folder.

    Args:
        inputs: Slides with their objects.
        out: Folder to make; on any error nothing is left there. If the process is killed, the same export run again
            on the same machine keeps the slides that were finished.
        settings: What to export.
        classes: The project's class list: order and colours of the default label map.
        overwrite: Replace an export that is there.
        workers: Slides exported side by side, each in a process of its own.
        scheduler: Address of a Dask scheduler whose workers do the slides instead.
        broken: Slides that could not even be opened, and why (from `slide_inputs`); the report names them.
        on_progress: Called with tiles done and in all.

    Raises:
        ProjectError: No slide has an annotation.
        FormatError: A slide has no um per px, or none can be read; a single one that breaks off is reported.
        ConfigError: No such number of workers, one of them was killed, or the scheduler cannot be reached.
        MissingExtraError: A scheduler is given and Dask is not installed.
        LabelError, GeometryError: The objects and the label map do not fit.
        OutputError: `out` holds something, or the disk is full.
    """
    start = time.perf_counter()
    if workers < 1:
        raise ConfigError(f"--workers {workers}: has to be 1 or more")
    plan = plan_export(inputs, settings, classes)
    with new_folder(out, marker=INFO_NAME, overwrite=overwrite, job=plan.job) as root:
        tick = Ticker(sum(len(job.grid) for job in plan.jobs), on_progress)
        if scheduler is None:
            results = run_slides(plan.jobs, root, workers=workers, tick=tick)
        else:
            results = run_slides_on_cluster(plan.jobs, root, address=scheduler, tick=tick)
        report = finish_export(plan, results, root, out, broken=broken, start=start)
        forget_progress(root)
        return report


def finish_export(
    plan: ExportPlan,
    results: Iterable[SlideResult],
    root: Path,
    out: Path,
    *,
    broken: Mapping[str, str],
    start: float,
) -> ExportReport:
    """Share the tiles of all slides out to splits, and write the table and export.json.

    Args:
        plan: Of the export.
        results: One per job, in their order.
        root: Folder that the tiles are in.
        out: What it will be called.
        broken: Slides that could not be opened.
        start: Of the export (perf_counter).

    Raises:
        FormatError: Not one slide could be read.
    """
    results = list(results)
    failed = {result.name: result.failure for result in results if result.failure}
    if len(failed) == len(results):
        raise FormatError(f"no slide could be exported ({listed(failed)}); the first: {next(iter(failed.values()))}")
    exported = [job for job in plan.jobs if job.item.source.name not in failed]
    every = [record for result in results for record in result.records]
    records, notes = _with_splits(every, [job.item for job in exported], plan.settings)
    notes += [_note_on_mpp(job.item) for job in exported if job.item.info.mpp_note]
    notes += [f"{job.item.source.name}: {job.item.source.note}" for job in exported if job.item.source.note]
    notes += notes_on_ledgers(job.item for job in exported) if plan.settings.reviewed else []
    notes += note_on_colors([job.item.source for job in exported])
    if plan.settings.store == "nnunet":
        records = finish_dataset(root, records, plan.labels, name=out.resolve().name)
        notes += remarks_on(out.resolve())
    reports = [result.report for result in results if result.report is not None]
    notes += [*notes_on_slides(reports, plan.labels), *_notes_on_unknown_tiles(records, plan)]
    report = ExportReport(
        mpp=common_mpp(records),
        labels=plan.labels,
        slides=tuple(reports),
        skipped=plan.skipped,
        failed={**broken, **failed},
        splits=split_counts(records, plan.labels),
        notes=tuple(notes),
        seconds=time.perf_counter() - start,
    )
    write_tile_set(root, records, _info(report, plan, exported, out.resolve()))
    return report


def _with_splits(
    records: Sequence[TileRecord], inputs: Sequence[SlideInput], settings: ExportSettings
) -> tuple[list[TileRecord], list[str]]:
    """Give every record its split, and say what the user should know about it."""
    rule = settings.split
    if rule.by == "metadata":
        named = {i.source.name: rule.named_split(i.source.name, i.metadata) or "train" for i in inputs}
        return [replace(r, split=named[r.slide]) for r in records], []
    if rule.by == "tile":
        drawn = draw_splits([r.key for r in records], seed=settings.seed, fractions=settings.fractions)
        leak = "split by tile: tiles of one slide, and neighbours, are in different splits (leakage)"
        return [replace(r, group=r.key, split=drawn[r.key]) for r in records], [leak]
    groups = [settings.split.group_of(i.source.name, i.metadata) for i in inputs]
    drawn = draw_splits(groups, seed=settings.seed, fractions=settings.fractions)
    wanted = {name for name, fraction in zip(("val", "test"), settings.fractions[1:], strict=True) if fraction}
    missing = wanted - set(drawn.values())
    notes = [f"only {len(set(groups))} {rule.by}(s): no {' and no '.join(sorted(missing))} split"] if missing else []
    return [replace(r, split=drawn[r.group]) for r in records], notes


def _notes_on_unknown_tiles(records: Sequence[TileRecord], plan: ExportPlan) -> list[str]:
    """Say it if nothing is known of most tiles: they take room and time, and no training shows them."""
    counts = count_tiles(records, plan.labels)
    if plan.settings.only_annotated or counts.unknown <= counts.tiles / 2:
        return []
    return [f"{counts.unknown:,} of {counts.tiles:,} tiles are ignore only; --only-annotated leaves them out"]


def _note_on_mpp(item: SlideInput) -> str:
    known = "its um/px is" if item.info.mpp is not None else "no um/px is known:"
    return f"{item.source.name}: {known} {item.info.mpp_note}"


def _info(report: ExportReport, plan: ExportPlan, exported: Sequence[SlideJob], out: Path) -> dict[str, Any]:
    """The content of export.json."""
    settings = plan.settings
    return {
        "job": plan.job,
        "mpp": report.mpp,
        "tile_size_px": settings.tile_size,
        "store": settings.store,
        "layers": list(settings.layers),
        "labels": label_map_to_builtins(report.labels),
        "settings": settings.to_builtins(),
        "versions": versions(),
        "inputs": [{"name": job.item.source.name, **job.item.hashes()} for job in exported],
        "slides": [msgspec.to_builtins(_slide_row(job, out)) for job in exported],
        "report": _report_to_builtins(report),
    }


def _slide_row(job: SlideJob, out: Path) -> StreamedSlide:
    path = job.item.source.path.resolve()
    return StreamedSlide(
        name=job.item.source.name,
        path=str(path),
        beside=path_beside(path, out),
        quick_hash=quick_hash(path),
        mpp=job.item.info.mpp,
        width=job.item.info.width,
        height=job.item.info.height,
        annotations=snapshot_path(job.stem) if job.settings.store == "none" else "",
        reader=job.item.source.reader,
        series=job.item.source.series,
        to_bounds=job.item.source.to_bounds,
        steps=[str(step) for step in job.item.source.steps],
        colors=job.item.source.colors,
        profiles_sha256={str(file): sha256(file) for file in job.item.source.colors.files},
        metadata=dict(job.item.metadata),
        origin=str(job.item.origin or ""),
    )


def _report_to_builtins(report: ExportReport) -> dict[str, Any]:
    """The report as plain values; the label map stands beside it."""
    told = {field.name: getattr(report, field.name) for field in fields(report) if field.name != "labels"}
    plain: dict[str, Any] = msgspec.to_builtins(told, str_keys=True)  # JSON knows no integers as keys
    return plain
