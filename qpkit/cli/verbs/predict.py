"""qpkit predict."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from qpkit.cli.shared.console import progress, say, table, took
from qpkit.cli.shared.trainer import BATCH_SIZE, HALO_PX, TILE_PX, say_thresholds
from qpkit.extras import extra

if TYPE_CHECKING:
    from qpkit_train.inference.predict import PredictReport

THRESHOLD: Final = typer.Option(
    [],
    metavar="CLASS=CHANCE|natural|validated",
    help="Background where a class is less likely than this; natural undoes what the sampler showed too often, "
    "validated had the highest Dice on the validation tiles.",
)


def command(
    run: Path = typer.Argument(..., help="Run folder that qpkit train made, or an .onnx file of qpkit export-model."),
    paths: list[Path] = typer.Argument(..., metavar="PROJECT|SLIDE...", help="QuPath projects or slide files."),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make."),
    entry: list[str] = typer.Option([], help="Only this entry of the project (name or id; repeatable)."),
    slide_mpp: float | None = typer.Option(None, help="um per px of the slides that do not state theirs."),
    probabilities: bool = typer.Option(False, "--probabilities", help="Write a raster of probabilities too."),
    halo: int = typer.Option(HALO_PX, help="Tile px read around each tile so that the model sees its surroundings."),
    tile_size: int = typer.Option(TILE_PX, help="Tile px that the model is sure of at a time."),
    batch_size: int = typer.Option(BATCH_SIZE, help="Tiles at a time."),
    threshold: list[str] = THRESHOLD,
    everything: bool = typer.Option(False, "--everything", help="Predict glass too, where there is no tissue."),
    reader: str = typer.Option("auto", help="auto, tiff (fast), openslide, raster or zarr: what reads the pixels."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace predictions that are there."),
) -> None:
    """Predict whole slides with a trained model."""
    from qpkit.workflows.inputs.slides import slide_inputs

    with extra("train"):
        from qpkit_train.inference.predict import predict
        from qpkit_train.inference.thresholds import parse_thresholds

    start = time.perf_counter()
    inputs = slide_inputs(paths, entries=entry, slide_mpp=slide_mpp, reader=reader)
    with progress("predict") as update:
        report = predict(
            run,
            [item.source for item in inputs],
            out,
            probabilities=probabilities,
            halo_px=halo,
            tile_px=tile_size,
            batch_size=batch_size,
            only_tissue=not everything,
            thresholds=parse_thresholds(threshold),
            overwrite=overwrite,
            on_progress=update,
        )
    _show(report, out, start)


def _show(report: PredictReport, out: Path, start: float) -> None:
    rows = []
    for slide in report.slides:
        pixels = ", ".join(f"{name} {count:,}" for name, count in slide.pixels.items())
        rows.append((slide.name, slide.tiles, slide.predicted, pixels, slide.mm2_per_second, slide.seconds))
        for line in slide.notes:
            say(f"note: {slide.name}: {line}")
    table(f"Run {report.run}", ("slide", "tiles", "with tissue", "pixels", "mm2/s", "s"), rows)
    say_thresholds(report)
    for name, reason in report.skipped:
        say(f"skipped {name}: {reason}")
    say(f"predictions on {report.device}, {report.precision}, in {out} ({took(start)})")
    if report.skipped:
        raise typer.Exit(1)
