"""qpkit export: slides and their annotations to tiles, masks and a table."""

from __future__ import annotations

import hashlib
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

import qpkit
from qpkit.core.annotation import PathClass
from qpkit.core.geometry import has_area
from qpkit.core.labels import LabelMap, default_label_map, label_map_to_builtins, with_colors
from qpkit.core.tiles import SlideInfo, TileGrid, downsample_for
from qpkit.dataset.manifest import INFO_NAME, TileRecord, write_tile_set
from qpkit.dataset.splits import draw_splits
from qpkit.errors import ConfigError, FormatError, LabelError, ProjectError
from qpkit.files import new_folder, safe_names
from qpkit.workflows import OnProgress, Ticker, no_progress
from qpkit.workflows.export_jobs import SlideJob, forget_progress, run_slides
from qpkit.workflows.export_settings import ExportSettings
from qpkit.workflows.export_slide import SlideReport, drawable
from qpkit.workflows.sources import SlideInput, require_mpp


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
        on_progress: Called with tiles done and in all.

    Raises:
        ProjectError: No slide has an annotation.
        FormatError: A slide has no um per px, or none can be read; a single one that breaks off is reported.
        ConfigError: No such number of workers, or one of them was killed.
        LabelError, GeometryError: The objects and the label map do not fit.
        OutputError: `out` holds something, or the disk is full.
    """
    start = time.perf_counter()
    if workers < 1:
        raise ConfigError(f"--workers {workers}: has to be 1 or more")
    if settings.downsample is None:
        require_mpp(inputs)
    used, skipped, in_use = _survey(inputs, settings)
    _check_split(used, settings)
    labels = _label_map(in_use, settings, classes)
    _require_drawn(labels, in_use)
    mpp = settings.mpp or (None if settings.downsample else max(i.info.mpp or 0 for i in used))
    grids = [_grid(item.info, mpp, settings) for item in used]
    stems = safe_names([item.source.name for item in used])
    jobs = [SlideJob(i, g, labels, settings, stem) for i, g, stem in zip(used, grids, stems, strict=True)]
    with new_folder(out, marker=INFO_NAME, overwrite=overwrite, job=_job_hash(jobs)) as root:
        tick = Ticker(sum(len(grid) for grid in grids), on_progress)
        results = list(run_slides(jobs, root, workers=workers, tick=tick))
        forget_progress(root)
        failed = {result.name: result.failure for result in results if result.failure}
        if len(failed) == len(results):
            raise FormatError(f"no slide could be exported: {'; '.join(failed.values())}")
        exported = [item for item in used if item.source.name not in failed]
        records, notes = _with_splits([r for result in results for r in result.records], exported, settings)
        result = ExportReport(
            mpp=_common_mpp(records),
            labels=labels,
            slides=tuple(result.report for result in results if result.report is not None),
            skipped=tuple(skipped),
            failed=failed,
            splits=_split_counts(records, labels),
            notes=tuple(notes),
            seconds=time.perf_counter() - start,
        )
        write_tile_set(root, records, _info(result, exported, settings))
    return result


def _job_hash(jobs: Sequence[SlideJob]) -> str:
    """Tell exports apart: everything that decides what is written."""
    facts = [
        {
            "inputs": {**job.item.hashes(), "name": job.item.source.name, "metadata": dict(job.item.metadata)},
            "mpp": job.item.info.mpp,
            "grid": repr(job.grid),
            "labels": label_map_to_builtins(job.labels),
            "settings": job.settings.to_builtins(),
            "stem": job.stem,
        }
        for job in jobs
    ]
    return hashlib.sha256(msgspec.json.encode([facts, versions()], order="deterministic")).hexdigest()


def _survey(
    inputs: Sequence[SlideInput], settings: ExportSettings
) -> tuple[list[SlideInput], list[str], dict[str, PathClass]]:
    """Slides with annotations, names of those without (what nobody annotated is not a negative), classes in use."""
    used, skipped, in_use = [], [], dict[str, PathClass]()
    for item in inputs:
        annotations, _ = drawable(item.objects(), settings)
        in_use |= {str(a.path_class): a.path_class for a in annotations if a.path_class and has_area(a.geometry)}
        if annotations:
            used.append(item)
        else:
            skipped.append(item.source.name)
    if not used:
        raise ProjectError(
            f"none of {len(inputs)} slides has an annotation; annotate in QuPath and save, or pass --annotations"
        )
    return used, skipped, in_use


def _check_split(inputs: Sequence[SlideInput], settings: ExportSettings) -> None:
    """Find out before the work whether every slide has the metadata that the split needs."""
    for item in inputs:
        settings.split.group_of(item.source.name, item.metadata)
        settings.split.named_split(item.source.name, item.metadata)


def _label_map(in_use: Mapping[str, PathClass], settings: ExportSettings, classes: Sequence[PathClass]) -> LabelMap:
    known = {str(c) for c in classes}
    every = [*classes, *(c for name, c in in_use.items() if name not in known)]
    labels = with_colors(settings.labels, every) if settings.labels else default_label_map(every)
    return replace(labels, unannotated=settings.unannotated) if settings.unannotated else labels


def _require_drawn(labels: LabelMap, in_use: Mapping[str, PathClass]) -> None:
    """Raise if not one annotation would be drawn: masks of nothing but background teach the wrong thing."""
    if not any(labels.knows(name) for name in in_use):
        there = ", ".join(map(repr, sorted(in_use))) or "none"
        wanted = ", ".join(repr(source) for item in labels.classes for source in item.sources) or "none"
        raise LabelError(
            f"no annotation with an area has a class that the label map draws (classes of the annotations: {there}; "
            f"of the label map: {wanted}); classify them in QuPath or name their classes in --labels"
        )


def _grid(info: SlideInfo, mpp: float | None, settings: ExportSettings) -> TileGrid:
    if settings.downsample is not None:
        downsample = settings.downsample
    else:
        downsample = downsample_for(mpp or math.nan, info.mpp or math.nan)
    return TileGrid(
        slide_width=info.width,
        slide_height=info.height,
        tile_size=settings.tile_size,
        overlap=settings.overlap,
        downsample=downsample,
    )


def _with_splits(
    records: Sequence[TileRecord], inputs: Sequence[SlideInput], settings: ExportSettings
) -> tuple[list[TileRecord], list[str]]:
    """Give every record its split, and say what the user should know about it."""
    rule = settings.split
    if rule.by == "metadata":
        named = {i.source.name: rule.named_split(i.source.name, i.metadata) or "train" for i in inputs}
        return [replace(r, split=named[r.slide]) for r in records], []
    if rule.by == "tile":
        drawn = draw_splits([r.image for r in records], seed=settings.seed, fractions=settings.fractions)
        leak = "split by tile: tiles of one slide, and neighbours, are in different splits (leakage)"
        return [replace(r, group=r.image, split=drawn[r.image]) for r in records], [leak]
    groups = [settings.split.group_of(i.source.name, i.metadata) for i in inputs]
    drawn = draw_splits(groups, seed=settings.seed, fractions=settings.fractions)
    wanted = {name for name, share in zip(("val", "test"), settings.fractions[1:], strict=True) if share}
    missing = wanted - set(drawn.values())
    notes = [f"only {len(set(groups))} {rule.by}(s): no {' and no '.join(sorted(missing))} split"] if missing else []
    return [replace(r, split=drawn[r.group]) for r in records], notes


def _split_counts(records: Sequence[TileRecord], labels: LabelMap) -> dict[str, dict[str, int]]:
    """Per split: groups, tiles, positive tiles (any class pixel)."""
    values = {c.value for c in labels.classes}
    counts: dict[str, dict[str, int]] = {}
    for split in ("train", "val", "test"):
        part = [r for r in records if r.split == split]
        positive = sum(1 for r in part if values & r.pixels.keys())
        counts[split] = {"groups": len({r.group for r in part}), "tiles": len(part), "positive": positive}
    return counts


def _common_mpp(records: Sequence[TileRecord]) -> float | None:
    """The tiles' um per px if all have the same to 1 in 1,000, else None."""
    sizes = [r.mpp for r in records]
    if not sizes or any(math.isnan(s) for s in sizes) or max(sizes) > min(sizes) * 1.001:
        return None
    return sizes[0]


def _info(report: ExportReport, inputs: Sequence[SlideInput], settings: ExportSettings) -> dict[str, Any]:
    """The content of export.json."""
    return {
        "mpp": report.mpp,
        "tile_size_px": settings.tile_size,
        "labels": label_map_to_builtins(report.labels),
        "settings": settings.to_builtins(),
        "versions": versions(),
        "inputs": [{"name": i.source.name, **i.hashes()} for i in inputs],
        "report": _report_to_builtins(report),
    }


def _report_to_builtins(report: ExportReport) -> dict[str, Any]:
    """The report as plain values; the label map stands beside it."""
    return {
        "mpp": report.mpp,
        "slides": msgspec.to_builtins(report.slides, str_keys=True),
        "skipped": list(report.skipped),
        "failed": dict(report.failed),
        "splits": {name: dict(counts) for name, counts in report.splits.items()},
        "notes": list(report.notes),
        "seconds": report.seconds,
    }


def versions() -> dict[str, str]:
    """Versions of what decides pixels and shapes."""
    packages = ("numpy", "shapely", "rasterio", "openslide-python", "tifffile", "pillow")
    return {"qpkit": qpkit.__version__, "python": platform.python_version()} | {p: version(p) for p in packages}
