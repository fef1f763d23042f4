"""qpkit stats: what tiles show per split, group, slide and class, and what leaks between splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qpkit.cli.shared.console import say, say_all, table, table_of
from qpkit.errors import ConfigError

if TYPE_CHECKING:
    from qpkit.core.labels import LabelMap
    from qpkit.workflows.tables.stats import ClassStats, PartStats, StatsReport

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
    if total.reviewed is not None:
        facts += [
            ("labels from people", f"{1 - total.reviewed - (total.predicted or 0):.1%}"),
            ("labels from a review", f"{total.reviewed:.1%}"),
        ]
        if total.predicted is None:
            facts.append(("rejected predictions, px", total.origins.get("rejected", 0)))
        else:
            facts.append(("labels from predictions that nobody looked at", f"{total.predicted:.1%}"))
    table("Tiles", ("", ""), [(name, str(value)) for name, value in facts])
    for title, parts in (("Splits", report.splits), ("Groups", report.groups), ("Slides", report.slides)):
        _parts(title, parts, report)
    table_of("Classes", [_class_row(item, report.splits) for item in report.classes])
    say_all("leakage: ", report.leakage.describe() or ["none found"])
    say_all("note: ", report.notes)


def _parts(title: str, parts: Sequence[PartStats], report: StatsReport) -> None:
    more = f", first {_MOST_ROWS} of {len(parts)} (all: --json)" if len(parts) > _MOST_ROWS else ""
    table_of(title + more, [_part_row(title, part, report.labels) for part in parts[:_MOST_ROWS]])


def _class_row(item: ClassStats, splits: Sequence[PartStats]) -> dict[str, Any]:
    shown = {f"in {p.name}": f"{item.split_fractions[p.name]:.1%}" if item.split_fractions else "-" for p in splits}
    return {
        "value": item.value,
        "class": item.name,
        "tiles": item.tiles,
        "with : without": _ratio(item.others_per_tile),
        "px": item.pixels,
        "mm2": item.area_mm2,
        "of labelled": "-" if item.fraction is None else f"{item.fraction:.2%}",
        **shown,
    }


def _part_row(title: str, part: PartStats, labels: LabelMap) -> dict[str, Any]:
    counts = part.counts
    where = {"groups": part.groups, "slides": part.slides} if title == "Splits" else {"split": "/".join(part.splits)}
    return {
        "": part.name,
        **where,
        "tiles": counts.tiles,
        "with a class": counts.positive,
        "with : without": _ratio(counts.negatives_per_positive),
        "only ignore": counts.unknown,
        "tissue": f"{counts.tissue:.0%}",
        **({"reviewed": _percent(counts.reviewed)} if counts.origins else {}),
        **({"rejected px": counts.origins["rejected"]} if "rejected" in counts.origins else {}),
        **({"predicted": _percent(counts.predicted)} if "predicted" in counts.origins else {}),
        **{f"{c.name} mm2": counts.area_mm2[c.value] if counts.area_mm2 else None for c in labels.classes},
    }


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.0%}"


def _ratio(others: float | None) -> str:
    return "-" if others is None else f"1 : {others:.3g}"
