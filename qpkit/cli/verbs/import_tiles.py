"""qpkit import-tiles: Tiles of a plain folder of images and masks, cut, checked and shared out."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from qpkit.api.import_tiles import import_tiles
from qpkit.cli.shared.console import progress, say, took
from qpkit.cli.shared.folder_report import show_folder
from qpkit.workflows.folders.settings import FolderSettings


def command(
    folder: Path = typer.Argument(..., metavar="FOLDER", help="Images and masks (PNG, TIFF, BMP; images also JPEG)."),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make."),
    *,
    settings: FolderSettings,
    dataset: Path | None = typer.Option(
        None, metavar="FILE", help="dataset.toml with these options; without it FOLDER/dataset.toml, if there is one."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace tiles that are there."),
) -> None:
    """Write a plain folder of images and masks as tiles, as qpkit export makes them of a project.

    Images and masks are paired by their names, masks keep their values exactly; what lies beside an image is ignore.
    Nothing is written if sizes differ, a value has no class, or one image is in two splits.
    """
    start = time.perf_counter()
    with progress("import") as update:
        report = import_tiles(folder, out, settings, dataset=dataset, overwrite=overwrite, on_progress=update)
    show_folder(report)
    say(f"{report.tiles_written:,} tiles in {out} ({took(start)})")
