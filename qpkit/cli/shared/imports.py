"""What is shown of predictions that were put into a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from qpkit.cli.shared.console import say, table, took
from qpkit.workflows.imports.result import SlideImport


def show_imports(reports: Sequence[SlideImport], target: Path, start: float, *, dry_run: bool = False) -> None:
    """Show the table and the notes of an import into `target` that began at `start` (time.perf_counter)."""
    rows = []
    for r in reports:
        objects = ", ".join(f"{name} {count:,}" for name, count in r.objects.items()) or "none"
        areas = (_areas(r.raster_mm2), _areas(r.area_mm2))
        rows.append((r.name, objects, *areas, r.too_small, r.mended, r.added, r.removed, r.unchanged, r.kept_edited))
    columns = (
        "slide", "objects", "mm2 in raster", "mm2", "too small", "mended", "added", "removed", "unchanged",
        "edited, kept",
    )  # fmt: skip
    table("What an import would do" if dry_run else "Imported", columns, rows)
    for r in reports:
        if r.recognised:
            say(
                f"note: {r.name}: {r.recognised:,} prediction(s) there without metadata (QuPath's GeoJSON import drops "
                "it) were recognised by their ids or names"
            )
        if r.deleted:
            say(
                f"note: {r.name}: {r.deleted:,} object(s) that a reviewer has deleted were left out; --restore puts "
                "them in again"
            )
        if r.cut:
            say(f"note: {r.name}: objects of more than --max-vertices were cut along a grid: {r.cut:,} more objects")
        if r.outside_parents:
            say(f"note: {r.name}: {r.outside_parents:,} object(s) lie in no such annotation and stay below the root")
    for note in dict.fromkeys(note for r in reports for note in r.notes):
        say(f"note: {note}")
    say(f"{target}{': a dry run, nothing was changed' if dry_run else ''} ({took(start)})")


def _areas(mm2: Mapping[str, float] | None) -> str:
    return "-" if mm2 is None else ", ".join(f"{name} {area:.4f}" for name, area in mm2.items())
