"""qpkit split: shares out tiles anew, whole slides or patients, every class evenly; refuses leakage."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from qpkit.cli.shared.console import say, say_all, table, took
from qpkit.errors import ConfigError
from qpkit.workflows.tables.split import SplitReport, split_folds, split_tiles
from qpkit.workflows.tables.split_settings import SplitSettings


def command(
    tiles: Path = typer.Argument(..., help="Folder that qpkit export wrote."),
    *,
    settings: SplitSettings,
    metadata: Path | None = typer.Option(
        None, help="QuPath project, or CSV (first column the slide), that knows the KEY of --by."
    ),
    out: Path | None = typer.Option(
        None,
        "-o",
        "--out",
        help="Folder to make: a table about the same images (all folds: fold-1 to fold-K in it). Default: in place, "
        "with a backup; all folds: TILES-folds.",
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a table that an earlier -o wrote."),
) -> None:
    """Share out the tiles of an export anew: whole groups, every class evenly, folds or fractions."""
    start = time.perf_counter()
    if settings.folds and settings.fold is None:
        out = out or tiles.resolve().with_name(f"{tiles.resolve().name}-folds")
        first, *_ = split_folds(tiles, settings, out, metadata=metadata, overwrite=overwrite)
        _show(first, settings)
        count = f"{len(first.tiles.tiles):,} tiles in {settings.folds} folds"
        say(f"{count}, a table each, which tests it: {out}/fold-1 to fold-{settings.folds} ({took(start)})")
        return
    if overwrite and out is None:
        raise ConfigError("--overwrite goes with -o; in place there is always a backup")
    report = split_tiles(tiles, settings, metadata=metadata, out=out, overwrite=overwrite)
    _show(report, settings)
    where = tiles if report.backup else out
    kept = f"; the first table is kept in {report.backup.name}" if report.backup else ""
    say(f"{len(report.tiles.tiles):,} tiles split in {where}{kept} ({took(start)})")


def _show(report: SplitReport, settings: SplitSettings) -> None:
    labels = report.tiles.labels
    totals = {c.value: sum(part.counts.pixels[c.value] for part in report.parts) for c in labels.classes}
    rows = []
    for part in report.parts:
        counts = part.counts
        fractions = [_percent(counts.pixels[value], total) for value, total in totals.items()]
        wished = "-" if part.wished is None else f"{part.wished:.1%}"
        tested = () if settings.fold is None else (part.split,)
        rows.append((part.name, *tested, part.groups, counts.tiles, counts.positive, wished, *fractions))
    columns = ("split",) if settings.folds is None else ("fold",) if settings.fold is None else ("fold", "split")
    names = [f"of {c.name}" for c in labels.classes]
    table("Splits", (*columns, "groups", "tiles", "with a class", "wanted", *names), rows)
    if report.uneven is not None:
        rows = [
            (name, f"{value:.1%}")
            for name, value in (
                ("before", report.uneven_before),
                ("a draw that ignores classes", report.uneven_plain),
                ("now", report.uneven),
            )
            if value is not None
        ]
        table("Deviation of the fractions from the wished ones", ("", "root mean square"), rows)
    say_all("warning: leakage, allowed: ", report.leakage.describe())
    say_all("note: ", report.notes)


def _percent(part: int, total: int) -> str:
    return f"{part / total:.1%}" if total else "-"
