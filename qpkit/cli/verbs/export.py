"""qpkit export."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qpkit.cli.shared.console import progress, say, table, took
from qpkit.errors import ConfigError
from qpkit.report.rule_table import COLUMNS, rule_rows

if TYPE_CHECKING:
    from qpkit.workflows.export.shard import ShardReport
    from qpkit.workflows.export.tiles import ExportReport


_BROKEN = 2
"""Exit code of an export without some of its slides."""


def command(
    paths: list[Path] = typer.Argument(..., metavar="PROJECT|SLIDE...", help="QuPath projects or slide files."),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make."),
    annotations: Path | None = typer.Option(None, help="GeoJSON with the annotations of the one SLIDE."),
    entry: list[str] = typer.Option([], help="Only this entry of the project (name or id; repeatable)."),
    mpp: float | None = typer.Option(None, help="um per px of the tiles. Default: the finest that all slides have."),
    downsample: float | None = typer.Option(None, help="Slide px per tile px, instead of --mpp."),
    slide_mpp: float | None = typer.Option(None, help="um per px of the slides that do not state theirs."),
    tile_size: int = typer.Option(512, help="Tile px."),
    overlap: int = typer.Option(0, help="Tile px shared by neighbours."),
    labels: Path | None = typer.Option(
        None, help="labels.toml, or a shipped map such as tiger-stroma. Default: one label per class."
    ),
    unannotated: str | None = typer.Option(None, help="ignore or background: what lies outside every region."),
    tissue: str = typer.Option(
        "std:12.5", help="std:NUMBER, otsu, mask:FILE|FOLDER, class:NAME or none: which tiles are glass."
    ),
    only_annotated: bool = typer.Option(False, "--only-annotated", help="Drop tiles that no annotation reaches."),
    split: str = typer.Option("slide", help="slide, patient:KEY, metadata:KEY or tile (leaks)."),
    fractions: str = typer.Option("8:1:1", help="train:val:test, for splits that are drawn."),
    seed: int = typer.Option(0, help="Of the split."),
    with_predictions: bool = typer.Option(
        False, "--with-predictions", help="Draw what qpkit imported into the project, too."
    ),
    workers: int = typer.Option(1, help="Slides exported side by side, each in a process of its own."),
    pixel_rule: str = typer.Option("centre", help="centre (unbiased), or qupath: as QuPath's own exporter draws."),
    context: str = typer.Option("1", help="1,4: also show 4 times the surroundings of every tile (2,4,8 ...)."),
    store: str = typer.Option(
        "files", help="files, shards (WebDataset tar), none (slides are read in training) or nnunet."
    ),
    image_format: str = typer.Option("png", help="png, or jpeg:QUALITY for the pixels (masks stay PNG)."),
    shard: str | None = typer.Option(None, help="3/20: do the 3rd of 20 parts, for array jobs; the last one finishes."),
    scheduler: str | None = typer.Option(None, help="Do the slides on a Dask cluster, such as tcp://node1:8786."),
    reader: str = typer.Option("auto", help="auto, tiff (fast), openslide, raster or zarr: what reads the pixels."),
    z: int = typer.Option(0, "--z", help="Focal plane, from 0; objects of other planes are not drawn."),
    t: int = typer.Option(0, "--t", help="Time point, from 0."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an export that is there."),
) -> None:
    """Write annotations as tiles and masks at a stated resolution.

    A slide that breaks off while it is read is left out and named, and the exit code is 2. If the process is killed,
    the same command goes on where it was.
    """
    from qpkit.dataset.splits import SplitRule, parse_fractions
    from qpkit.dataset.stores.layers import ImageFormat
    from qpkit.dataset.stores.store import parse_store
    from qpkit.workflows.export.settings import (
        ExportSettings,
        parse_context,
        parse_pixel_rule,
        parse_unannotated,
    )
    from qpkit.workflows.export.shard import export_shard, parse_shard
    from qpkit.workflows.export.tiles import export_tiles
    from qpkit.workflows.inputs.slides import project_classes, read_label_map, slide_inputs
    from qpkit.workflows.inputs.tissue_rule import TissueRule

    start = time.perf_counter()
    settings = ExportSettings(
        mpp=mpp,
        downsample=downsample,
        tile_size=tile_size,
        overlap=overlap,
        labels=read_label_map(labels) if labels else None,
        unannotated=parse_unannotated(unannotated) if unannotated else None,
        tissue=TissueRule.parse(tissue),
        only_annotated=only_annotated,
        split=SplitRule.parse(split),
        fractions=parse_fractions(fractions),
        seed=seed,
        with_predictions=with_predictions,
        pixel_rule=parse_pixel_rule(pixel_rule),
        context=parse_context(context),
        store=parse_store(store),
        image_format=ImageFormat.parse(image_format),
        z=z,
        t=t,
    )
    part = parse_shard(shard) if shard else None
    if part and scheduler:
        raise ConfigError("--shard and --scheduler exclude each other; give one")
    if scheduler and workers != 1:
        raise ConfigError("--workers is for this machine; with --scheduler the cluster says how many there are")
    broken: dict[str, str] = {}
    inputs = slide_inputs(
        paths, annotations=annotations, entries=entry, slide_mpp=slide_mpp, reader=reader, broken=broken
    )
    classes = project_classes(paths)
    with progress("export") as update:
        if part:
            done = export_shard(
                inputs,
                out,
                settings,
                part,
                classes=classes,
                overwrite=overwrite,
                workers=workers,
                broken=broken,
                on_progress=update,
            )
        else:
            report = export_tiles(
                inputs,
                out,
                settings,
                classes=classes,
                overwrite=overwrite,
                workers=workers,
                scheduler=scheduler,
                broken=broken,
                on_progress=update,
            )
    if part:
        _show_part(done, out, start)
        failed = {**broken, **done.failed}
    else:
        _show(report, out, start)
        failed = dict(report.failed)
    if failed:
        raise typer.Exit(_BROKEN)


def _show_part(report: ShardReport, out: Path, start: float) -> None:
    for name, reason in report.failed.items():
        say(f"note: LEFT OUT, cannot be read: {name}: {reason}")
    if report.whole is not None:
        _show(report.whole, out, start)
    elif report.done == report.total:
        say(f"all {report.total} slides are in {out} already ({took(start)})")
    else:
        say(
            f"{len(report.slides)} slide(s) of this part done, {report.done} of {report.total} in all; "
            f"the part that is done last makes {out} ({took(start)})"
        )


def _show(report: ExportReport, out: Path, start: float) -> None:
    from qpkit.ops.masks.pixel_counts import PixelTally

    labels = report.labels
    rows = [
        (
            s.name,
            s.downsample,
            s.tiles_in_grid,
            s.tiles_kept,
            s.dropped.get("glass", 0),
            s.unread,
            s.dropped.get("without annotation", 0),
            sum(s.audit.drawn.values()),
            s.audit.mended,
            round(s.seconds, 1),
        )
        for s in report.slides
    ]
    columns = (
        "slide",
        "downsample",
        "grid",
        "kept",
        "glass",
        "of it never read",
        "no annotation",
        "objects drawn",
        "mended",
        "s",
    )
    table(f"Tiles ({_resolution(report.mpp)})", columns, rows)
    pixel_rows = []
    for value in labels.values:
        kept = sum(s.pixels.get(value, 0) for s in report.slides)
        dropped = sum(s.dropped_pixels.get(value, 0) for s in report.slides)
        pixel_rows.append((value, labels.name_of(value), kept, dropped))
    table("Mask pixels", ("value", "class", "kept", "in dropped glass tiles"), pixel_rows)
    tally = sum((s.tally for s in report.slides), PixelTally())
    table("Which rule decided the pixels", COLUMNS, rule_rows(tally, labels))
    split_rows = [(name, c["groups"], c["tiles"], c["positive"]) for name, c in report.splits.items()]
    table("Splits", ("split", "groups", "tiles", "with a class"), split_rows)
    for line in _remarks(report):
        say(f"note: {line}")
    say(f"{report.tiles_kept:,} tiles in {out} ({took(start)})")


def _resolution(mpp: float | None) -> str:
    return "um/px differ or are unknown" if mpp is None else f"{mpp:.4g} um/px"


def _remarks(report: ExportReport) -> list[str]:
    """Everything that was not drawn or decided by a default, in words."""
    remarks = [f"LEFT OUT, cannot be read: {name}: {reason}" for name, reason in report.failed.items()]
    remarks += report.notes
    if report.skipped:
        remarks.append(f"{len(report.skipped)} slide(s) without annotations left out: {', '.join(report.skipped)}")
    for slide in report.slides:
        audit = slide.audit
        if audit.unlisted:
            names = ", ".join(f"{name} ({count})" for name, count in audit.unlisted.items())
            remarks.append(f"{slide.name}: classes not in the label map, {report.labels.unlisted}: {names}")
        if audit.without_area:
            remarks.append(f"{slide.name}: {audit.without_area} object(s) without area (points, lines) not drawn")
        if audit.stroked:
            remarks.append(f"{slide.name}: {audit.stroked} line(s) and point(s) drawn as wide as the label map says")
        if audit.without_nucleus:
            remarks.append(f"{slide.name}: {audit.without_nucleus} cell(s) without a nucleus not drawn")
        if audit.other_plane:
            remarks.append(f"{slide.name}: {audit.other_plane} object(s) on other planes not drawn")
        if audit.slivers:
            remarks.append(
                f"{slide.name}: {audit.slivers} object(s) are slivers: thinner than half a px or under 1 px2"
            )
        if audit.outside:
            remarks.append(f"{slide.name}: {audit.outside} object(s) lie outside the slide")
        if slide.detections:
            remarks.append(f"{slide.name}: {slide.detections} detection(s), cell(s) or tile(s) not drawn")
        if slide.annotations_left_out:
            remarks.append(f"{slide.name}: {slide.annotations_left_out} annotation(s) not drawn, see objects = ...")
        if slide.reviewed_predictions:
            remarks.append(f"{slide.name}: {slide.reviewed_predictions} reviewed prediction(s) drawn")
        if slide.predictions_left_out:
            remarks.append(f"{slide.name}: {slide.predictions_left_out} imported prediction(s) not drawn")
    if report.labels.unannotated == "background" and not report.labels.regions:
        remarks.append("what nobody annotated counts as background; --unannotated ignore says it is unknown")
    return remarks
