"""qpkit export: tiles, masks, tiles.parquet and a report, from a project or from a slide with a GeoJSON file."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import typer

from qpkit.api.export import export, export_shard
from qpkit.cli.shared.console import BROKEN, progress, say, say_all, table, table_of, took
from qpkit.cluster import parse_shard
from qpkit.errors import ConfigError, about, listed
from qpkit.ops.masks.pixel_counts import PixelCounts
from qpkit.report.rule_table import COLUMNS, rule_rows
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.shard import ShardReport
from qpkit.workflows.export.slide import SlideReport
from qpkit.workflows.export.tiles import ExportReport
from qpkit.workflows.inputs.settings import SlideSettings


def command(
    paths: list[Path] = typer.Argument(
        ..., metavar="PROJECT|SLIDE...", help="Projects, slide files, or folders of them."
    ),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make."),
    *,
    settings: ExportSettings,
    slides: SlideSettings,
    annotations: Path | None = typer.Option(None, help="GeoJSON with the annotations of the one SLIDE."),
    workers: int = typer.Option(1, help="Slides exported side by side, each in a process of its own."),
    shard: str | None = typer.Option(None, help="3/20: do the 3rd of 20 parts, for array jobs; the last one finishes."),
    scheduler: str | None = typer.Option(None, help="Do the slides on a Dask cluster, such as tcp://node1:8786."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an export that is there."),
) -> None:
    """Write annotations as tiles and masks at a stated resolution.

    A slide that breaks off while it is read is left out and named, and the exit code is 2. If the process is killed,
    the same command goes on where it was.
    """
    start = time.perf_counter()
    part = parse_shard(shard) if shard else None
    if part and scheduler:
        raise ConfigError("--shard and --scheduler exclude each other; give one")
    if scheduler and workers != 1:
        raise ConfigError("--workers is for this machine; with --scheduler the cluster says how many there are")
    run = partial(export_shard, shard=part) if part else partial(export, scheduler=scheduler)
    with progress("export") as update:
        report = run(
            paths,
            out,
            settings,
            slides=slides,
            annotations=annotations,
            overwrite=overwrite,
            workers=workers,
            on_progress=update,
        )
    if isinstance(report, ShardReport):
        _show_part(report, out, start)
    else:
        _show(report, out, start)
    if report.failed:
        raise typer.Exit(BROKEN)


def _show_part(report: ShardReport, out: Path, start: float) -> None:
    if report.whole is not None:
        _show(report.whole, out, start)
        return
    for name, reason in report.failed.items():
        say(f"note: LEFT OUT, cannot be read: {about(name, reason)}")
    if report.done == report.total:
        say(f"all {report.total} slides are in {out} already ({took(start)})")
    else:
        say(
            f"{len(report.slides)} slide(s) of this part done, {report.done} of {report.total} in all; "
            f"the part that is done last makes {out} ({took(start)})"
        )


def _show(report: ExportReport, out: Path, start: float) -> None:
    labels = report.labels
    table_of(f"Tiles ({_resolution(report.mpp)})", [_row(slide) for slide in report.slides])
    pixel_rows = []
    for value in labels.values:
        kept = sum(s.pixels.get(value, 0) for s in report.slides)
        dropped = sum(s.dropped_pixels.get(value, 0) for s in report.slides)
        pixel_rows.append((value, labels.name_of(value), kept, dropped))
    table("Mask pixels", ("value", "class", "kept", "in dropped glass tiles"), pixel_rows)
    tally = sum((s.tally for s in report.slides), PixelCounts())
    table("Which rule decided the pixels", COLUMNS, rule_rows(tally, labels))
    split_rows = [(name, c["groups"], c["tiles"], c["positive"]) for name, c in report.splits.items()]
    table("Splits", ("split", "groups", "tiles", "with a class"), split_rows)
    say_all("note: ", _remarks(report))
    say(f"{report.tiles_kept:,} tiles in {out} ({took(start)})")


def _row(slide: SlideReport) -> dict[str, Any]:
    return {
        "slide": slide.name,
        "downsample": slide.downsample,
        "grid": slide.tiles_in_grid,
        "kept": slide.tiles_kept,
        "glass": slide.dropped.get("glass", 0),
        "of it never read": slide.unread,
        "no annotation": slide.dropped.get("without annotation", 0),
        "objects drawn": sum(slide.audit.drawn.values()),
        "mended": slide.audit.mended,
        "s": round(slide.seconds, 1),
    }


def _resolution(mpp: float | None) -> str:
    return "um/px differ or are unknown" if mpp is None else f"{mpp:.4g} um/px"


def _remarks(report: ExportReport) -> list[str]:
    """Everything that was not drawn or decided by a default, in words."""
    remarks = [f"LEFT OUT, cannot be read: {about(name, reason)}" for name, reason in report.failed.items()]
    remarks += report.notes
    if report.skipped:
        remarks.append(f"{len(report.skipped)} slide(s) without annotations left out: {listed(report.skipped)}")
    for slide in report.slides:
        audit = slide.audit
        if audit.unlisted:
            names = listed(f"{name} ({count})" for name, count in audit.unlisted.items())
            remarks.append(f"{slide.name}: classes not in the label map, {report.labels.unlisted}: {names}")
        if audit.too_small:
            names = listed(f"{name} {s.objects} (up to {s.largest_px2:.3g} px2)" for name, s in audit.too_small.items())
            remarks.append(f"{slide.name}: NOT DRAWN, too small for a pixel at this resolution: {names}")
        counted = (
            (audit.without_area, "object(s) without area (points, lines) not drawn"),
            (audit.stroked, "line(s) and point(s) drawn as wide as the label map says"),
            (audit.without_nucleus, "cell(s) without a nucleus not drawn"),
            (audit.other_plane, "object(s) on other planes not drawn"),
            (audit.slivers, "object(s) are slivers: thinner than half a px or under 1 px2"),
            (audit.outside, "object(s) outside the slide not drawn"),
            (slide.detections, "detection(s), cell(s) or tile(s) not drawn"),
            (slide.annotations_left_out, "annotation(s) not drawn, see objects = ..."),
            (slide.reviewed_predictions, "reviewed prediction(s) drawn"),
            (
                slide.predictions_left_out,
                "unreviewed prediction(s) not drawn (what they cover is unknown)",
            ),
            (
                slide.removed_background,
                "prediction(s) deleted or cut back: background there, outside regions too (--removed ignore: unknown)",
            ),
            (
                slide.rejected_unlearned,
                "deleted prediction(s) teach nothing: they lie in no region; draw Reviewed* around what was seen",
            ),
            (
                slide.recognised_by_name,
                "prediction(s) without metadata recognised by id and name (edits of their shapes cannot be seen)",
            ),
        )
        remarks += [f"{slide.name}: {count} {what}" for count, what in counted if count]
        if slide.runs_gone:
            remarks.append(
                f"{slide.name}: nothing is left of run {listed(slide.runs_gone)}, so nothing is learned of it: cleared "
                "away, or the data are of another time than the ledger; Reviewed* says that it was looked at"
            )
        if slide.labels_from:
            px = slide.labels_from
            last = (
                f", from predictions that nobody looked at {px['predicted']:,}"
                if "predicted" in px
                else f"; background where predictions were rejected {px['rejected']:,}"
            )
            remarks.append(
                f"{slide.name}: labelled px from people {px['human']:,}, from a review {px['reviewed']:,}{last}"
            )
    if report.labels.unannotated == "background" and not report.labels.regions:
        remarks.append("what nobody annotated counts as background; --unannotated ignore says it is unknown")
    return remarks
