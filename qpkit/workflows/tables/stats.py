"""qpkit stats: what the tiles of an export show, per split, group, slide and class, and what leaks between splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from qpkit.core.labels import LabelMap
from qpkit.dataset import TileRecord, TileSet
from qpkit.dataset.counts import TileCounts, count_tiles
from qpkit.dataset.leakage import Leakage, find_leakage
from qpkit.dataset.record import SPLITS
from qpkit.errors import listed
from qpkit.report.figures.class_fractions import Bar, draw_class_fractions
from qpkit.workflows.tables.tile_facts import (
    context_of,
    exported_rule,
    images_of,
    patients_of,
    read_filled_table,
    record_of,
)

_SPREAD = 1.01
"""Tiles whose um per px differ by more than this factor are of different resolutions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStats:
    """A split, a group or a slide.

    Args:
        name: Of it.
        splits: The splits that its tiles are in; one if all is well.
        groups, slides: How many it has.
        counts: What its tiles show.
    """

    name: str
    splits: tuple[str, ...]
    groups: int
    slides: int
    counts: TileCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassStats:
    """A value of the masks.

    Args:
        name, value: As in the label map; background and ignore are there, too.
        tiles: That show it.
        pixels: Mask px.
        area_mm2: None if the um per px of a tile is not known.
        fraction: Of all pixels that are not ignore, 0..1; None for ignore.
        others_per_tile: Labelled tiles that do not show it for one that does; None if none does, or for ignore.
        split_fractions: Fraction of its pixels that lie in each split, 0..1; empty if it has none.
    """

    name: str
    value: int
    tiles: int
    pixels: int
    area_mm2: float | None
    fraction: float | None
    others_per_tile: float | None
    split_fractions: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsReport:
    """The figures of a table of tiles.

    Args:
        labels: Of the masks.
        tile_size: px.
        total: All tiles.
        mpp: Smallest and largest um per px, or None if no tile has one.
        mpp_unknown: Tiles without um per px.
        splits, groups, slides: In the order of their names, splits as train, val, test.
        classes: In the order of their values.
        rule: What the table was split by, as far as export.json says.
        leakage: Between the splits.
        notes: What the user should know.
    """

    labels: LabelMap
    tile_size: int
    total: TileCounts
    mpp: tuple[float, float] | None
    mpp_unknown: int
    splits: tuple[PartStats, ...]
    groups: tuple[PartStats, ...]
    slides: tuple[PartStats, ...]
    classes: tuple[ClassStats, ...]
    rule: str
    leakage: Leakage
    notes: tuple[str, ...]


def tile_stats(root: Path) -> StatsReport:
    """Count what an export folder holds.

    Raises:
        FormatError: The table is missing, damaged or empty.
    """
    tiles = read_filled_table(root)
    rows, labels = tiles.tiles, tiles.labels
    splits = sorted(_parts(rows, labels, lambda t: t.split), key=lambda part: SPLITS.index(part.name))
    total = count_tiles(rows, labels)
    sizes = [t.mpp for t in rows if not math.isnan(t.mpp)]
    leakage = find_leakage(
        rows,
        [t.split for t in rows],
        groups=[t.group for t in rows],
        images=images_of(tiles),
        patients=patients_of(tiles),
        context=max(context_of(tiles)),
    )
    return StatsReport(
        labels=labels,
        tile_size=tiles.tile_size,
        total=total,
        mpp=(min(sizes), max(sizes)) if sizes else None,
        mpp_unknown=len(rows) - len(sizes),
        splits=tuple(splits),
        groups=tuple(_parts(rows, labels, lambda t: t.group)),
        slides=tuple(_parts(rows, labels, lambda t: t.slide)),
        classes=tuple(_class_stats(rows, labels, value, total, splits) for value in labels.values),
        rule=_rule(tiles),
        leakage=leakage,
        notes=tuple(_notes(tiles, splits, sizes)),
    )


def _parts(rows: Sequence[TileRecord], labels: LabelMap, key: Callable[[TileRecord], str]) -> list[PartStats]:
    found: dict[str, list[TileRecord]] = {}
    for tile in rows:
        found.setdefault(key(tile), []).append(tile)
    return [
        PartStats(
            name=name,
            splits=tuple(split for split in SPLITS if any(t.split == split for t in own)),
            groups=len({t.group for t in own}),
            slides=len({t.slide for t in own}),
            counts=count_tiles(own, labels),
        )
        for name, own in sorted(found.items())
    ]


def _class_stats(
    rows: Sequence[TileRecord], labels: LabelMap, value: int, total: TileCounts, splits: Sequence[PartStats]
) -> ClassStats:
    tiles = sum(1 for t in rows if t.pixels.get(value))
    pixels = total.pixels[value]
    labelled = sum(total.pixels[v] for v in labels.trained_values)
    trained = value != labels.ignore
    return ClassStats(
        name=labels.name_of(value),
        value=value,
        tiles=tiles,
        pixels=pixels,
        area_mm2=None if total.area_mm2 is None else total.area_mm2[value],
        fraction=pixels / labelled if trained and labelled else None,
        others_per_tile=(total.tiles - total.unknown - tiles) / tiles if trained and tiles else None,
        split_fractions={part.name: part.counts.pixels[value] / pixels for part in splits} if pixels else {},
    )


def _rule(tiles: TileSet) -> str:
    """ "patient:Case, 5 folds (fold 2)" as export.json has it; "" if it says nothing."""
    record = record_of(tiles)
    if record:
        folds = f", {record['folds']} folds (fold {record['fold']})" if record.get("folds") else ""
        return f"{record.get('by', '')}{folds}"
    return exported_rule(tiles)


def _notes(tiles: TileSet, splits: Sequence[PartStats], sizes: Sequence[float]) -> list[str]:
    notes = [f"no tile is in {name}" for name in SPLITS if name not in [part.name for part in splits]]
    for part in splits:
        missing = [c.name for c in tiles.labels.classes if not part.counts.pixels[c.value]]
        if missing:
            notes.append(f"{part.name} shows no pixel of {listed(missing)}")
    if sizes and max(sizes) > min(sizes) * _SPREAD:
        notes.append(f"the tiles are of different resolutions, {min(sizes):.4g} to {max(sizes):.4g} um/px")
    settings = tiles.info.get("settings")
    if isinstance(settings, dict) and settings.get("overlap_px"):
        notes.append("tiles overlap: pixels and areas that they share count in each of them")
    for part in splits:
        if part.name != "train" and part.counts.predicted:
            runs = sorted({tile.predicted_by for tile in tiles.tiles if tile.split == part.name and tile.predicted_by})
            notes.append(
                f"{part.counts.predicted:.1%} of the labels in {part.name} are predictions of {listed(runs)} that "
                "nobody has looked at: scores there compare models with each other"
            )
    return notes


def draw_stats(report: StatsReport) -> bytes:
    """Draw how the classes lie in splits and groups; gives the content of a PNG file."""
    return draw_class_fractions(
        [_bar(part) for part in report.splits],
        [_bar(part) for part in sorted(report.groups, key=lambda part: (SPLITS.index(part.splits[0]), part.name))],
        report.labels,
    )


def _bar(part: PartStats) -> Bar:
    return Bar(name=part.name, split="/".join(part.splits), tiles=part.counts.tiles, pixels=part.counts.pixels)


def stats_to_builtins(report: StatsReport) -> dict[str, Any]:
    """The report as plain values, mask values by their names."""
    labels = report.labels
    return {
        "tile_size_px": report.tile_size,
        "total": _counts(report.total, labels),
        "mpp": report.mpp,
        "mpp_unknown": report.mpp_unknown,
        "split_by": report.rule,
        **{
            kind: [
                {"name": p.name, "splits": p.splits, "groups": p.groups, "slides": p.slides} | _counts(p.counts, labels)
                for p in parts
            ]
            for kind, parts in (("splits", report.splits), ("groups", report.groups), ("slides", report.slides))
        },
        "classes": msgspec.to_builtins(report.classes),
        "leakage": {**msgspec.to_builtins(report.leakage), "kinds": report.leakage.kinds},
        "notes": report.notes,
    }


def _counts(counts: TileCounts, labels: LabelMap) -> dict[str, Any]:
    area = counts.area_mm2
    return {
        "tiles": counts.tiles,
        "positive": counts.positive,
        "negative": counts.negative,
        "unknown": counts.unknown,
        "negatives_per_positive": counts.negatives_per_positive,
        "tissue": counts.tissue,
        **({"labels_from_px": dict(counts.origins)} if counts.origins else {}),
        "with_class": {labels.name_of(value): count for value, count in counts.with_class.items()},
        "pixels": {labels.name_of(value): count for value, count in counts.pixels.items()},
        "area_mm2": None if area is None else {labels.name_of(value): size for value, size in area.items()},
    }
