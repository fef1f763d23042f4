"""qpkit stats: what tiles show per split, group, slide and class, and what leaks between splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qpkit.cli.shared.console import say, table
from qpkit.errors import ConfigError

if TYPE_CHECKING:
    from qpkit.workflows.tables.stats import PartStats, StatsReport

_MOST_ROWS = 40


def command(
    tiles: Path = typer.Argument(..., help="Folder that qpkit export or qpkit split wrote."),
    out: Path | None = typer.Option(None, "-o", "--out", help="PNG to draw: classes over splits and groups."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Count what tiles show, per split, group, slide and class, and look for leakage between the splits."""
    import msgspec

    from qpkit.files import replace_file
    from qpkit.workflows.tables.stats import draw_stats, stats_to_builtins, tile_stats

    if out is not None and out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: the picture is a PNG; its name has to end in .png")
    report = tile_stats(tiles)
    if out is not None:
        replace_file(out, draw_stats(report))
    if as_json:
        typer.echo(msgspec.json.encode(stats_to_builtins(report)).decode())
    else:
        _show(report)
    if out is not None:
        say(f"picture: {out}")


def _show(report: StatsReport) -> None:
    total, mpp = report.total, report.mpp
    resolution = "unknown" if mpp is None else f"{mpp[0]:.4g}" if mpp[0] == mpp[1] else f"{mpp[0]:.4g} to {mpp[1]:.4g}"
    facts = [
        ("tiles", total.tiles),
        ("tile px", report.tile_size),
        ("um/px", resolution),
        ("tiles without um/px", report.mpp_unknown),
        ("with a class : without", _ratio(total.negatives_per_positive)),
        ("nothing but ignore", total.unknown),
        ("tissue", f"{total.tissue:.1%}"),
        ("split by", report.rule or "-"),
    ]
    table("Tiles", ("", ""), [(name, str(value)) for name, value in facts])
    for title, parts in (("Splits", report.splits), ("Groups", report.groups), ("Slides", report.slides)):
        _parts(title, parts, report)
    rows = [
        (
            c.value,
            c.name,
            c.tiles,
            _ratio(c.others_per_tile),
            c.pixels,
            c.area_mm2,
            "-" if c.fraction is None else f"{c.fraction:.2%}",
            *(f"{c.split_fractions[p.name]:.1%}" if c.split_fractions else "-" for p in report.splits),
        )
        for c in report.classes
    ]
    columns = ("value", "class", "tiles", "with : without", "px", "mm2", "of labelled")
    table("Classes", (*columns, *(f"in {p.name}" for p in report.splits)), rows)
    for line in report.leakage.describe() or ["none found"]:
        say(f"leakage: {line}")
    for line in report.notes:
        say(f"note: {line}")


def _parts(title: str, parts: Sequence[PartStats], report: StatsReport) -> None:
    rows: list[tuple[Any, ...]] = []
    for part in parts[:_MOST_ROWS]:
        counts = part.counts
        areas = [counts.area_mm2[c.value] if counts.area_mm2 else None for c in report.labels.classes]
        where = (part.groups, part.slides) if title == "Splits" else ("/".join(part.splits),)
        rows.append(
            (
                part.name,
                *where,
                counts.tiles,
                counts.positive,
                _ratio(counts.negatives_per_positive),
                counts.unknown,
                f"{counts.tissue:.0%}",
                *areas,
            )
        )
    where_columns = ("groups", "slides") if title == "Splits" else ("split",)
    areas_columns = [f"{c.name} mm2" for c in report.labels.classes]
    columns = ("", *where_columns, "tiles", "with a class", "with : without", "only ignore", "tissue", *areas_columns)
    more = f", first {_MOST_ROWS} of {len(parts)} (all: --json)" if len(parts) > _MOST_ROWS else ""
    table(title + more, columns, rows)


def _ratio(others: float | None) -> str:
    return "-" if others is None else f"1 : {others:.3g}"
