"""The table of an export that says which rule of the label map decided how many pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpkit.core.labels import LabelMap
    from qpkit.ops.masks.pixel_counts import PixelCounts

Row = tuple[str, str, int, str]

COLUMNS = ("what was there", "decided by", "px", "fraction")


def rule_rows(tally: PixelCounts, labels: LabelMap) -> list[Row]:
    """One row per rule that decided a pixel; those that say what a pixel is come first and are all pixels together."""
    is_single = labels.masks == "single"
    decided = [*_drawn(tally, labels), *_undrawn(tally, labels)] if is_single else _undrawn(tally, labels)
    rows = [row for row in [*decided, *_conflicts(tally, labels)] if row[2]]
    return [(what, rule, count, _fraction(count, tally.pixels)) for what, rule, count in rows]


def _fraction(count: int, total: int) -> str:
    return f"{100 * count / total:.2f} %"


def _drawn(tally: PixelCounts, labels: LabelMap) -> list[tuple[str, str, int]]:
    rows = []
    for item in labels.classes:
        for source, count in sorted(tally.sources.get(item.name, {}).items()):
            is_merged = len(tally.sources[item.name]) > 1 or source != item.name
            rows.append((source, f"from: merged into {item.name}" if is_merged else "[[class]]", count))
        rows.append((item.name, "of: derived class", tally.derived.get(item.name, 0)))
    return [*rows, ("outline", "[boundary]", tally.boundary)]


def _undrawn(tally: PixelCounts, labels: LabelMap) -> list[tuple[str, str, int]]:
    return [
        ("eraser", "value: background or ignore", tally.erased),
        ("ignored object", f"ignored, unlisted: {labels.ignore}", tally.ignored),
        ("region, nothing drawn", f"regions: background {labels.background}", tally.region),
        ("unreviewed prediction", f"unknown: ignore {labels.ignore}", tally.unknown),
        ("nothing drawn", f"unannotated: {labels.unannotated}", tally.unannotated),
        ("beside the slide", f"ignore {labels.ignore}", tally.outside),
    ]


def _conflicts(tally: PixelCounts, labels: LabelMap) -> list[tuple[str, str, int]]:
    is_single = labels.masks == "single"
    return [
        ("objects of several classes", f"overlap: {labels.overlap}" if is_single else "all of them", tally.overlap),
        ("ignored over a class", "ignored is on top", tally.ignored_over_class),
        ("several instances", f"overlap: {labels.overlap}", tally.instance_overlap),
    ]
