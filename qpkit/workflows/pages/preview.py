"""qpkit preview: one page that shows what an export holds."""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.labels import LabelMap, label_colors
from qpkit.dataset import TileRecord, TileSet
from qpkit.dataset.counts import TileCounts
from qpkit.dataset.example_tiles import most_of_class, rarest, without_class
from qpkit.dataset.stores.slides import exported_plane, open_exported_slide
from qpkit.errors import FormatError, QpkitError, listed
from qpkit.files import replace_file
from qpkit.ops.masks.pixel_counts import PixelCounts
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.report.figures.tiles import outlined, tinted
from qpkit.report.pages.html import picture, png_picture, render
from qpkit.report.rule_table import COLUMNS, rule_rows
from qpkit.workflows.pages.tile_map import DEFAULT_MAP, MapSettings, tile_map
from qpkit.workflows.suggest.candidates import Look
from qpkit.workflows.tables.stats import PartStats, StatsReport, draw_stats, tile_stats
from qpkit.workflows.tables.tile_facts import context_of, patients_of, read_filled_table

SIDE_PX: Final = 256
"""Of a tile on the contact sheet."""

SLIDE_PX: Final = 900
PER_CLASS: Final = 12
_DRAWN_TILES: Final = 3000
"""Tiles of a slide whose masks are read for its picture; the picture says if there are more."""

_SPLIT_COLORS: Final = {"train": (47, 75, 102), "val": (108, 147, 184), "test": (181, 128, 58)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewReport:
    """What a page shows.

    Args:
        page: The file.
        slides: Slides on it.
        tiles: Tiles on the contact sheet.
        notes: What could not be shown.
    """

    page: Path
    slides: int
    tiles: int
    notes: tuple[str, ...]


def preview_tiles(
    root: Path,
    page: Path,
    settings: MapSettings = DEFAULT_MAP,
    look: Look | None = None,
    *,
    on_progress: OnProgress = no_progress,
) -> PreviewReport:
    """Write a page about an export: classes, split and leakage, audit, tiles of every class, slides.

    Args:
        root: Folder that `qpkit export` or `qpkit split` wrote.
        page: HTML file to write; it needs nothing beside it.
        settings, look: Of the map of tiles; see `tile_map`.
        on_progress: Called with pictures done and in all.

    Raises:
        ConfigError: No slide has the metadata that the map is to be coloured by.
        FormatError: The table is missing, damaged or empty, or a tile cannot be read.
        OutputError: The page cannot be written.
    """
    tiles = read_filled_table(root)
    stats = tile_stats(root)
    drawn_map = tile_map(tiles, settings, look, on_progress=on_progress)
    sheet = _sheet(tiles)
    tick = Ticker(sum(len(part) for _, _, part in sheet) + len(stats.slides), on_progress)
    notes: list[str] = []
    shown = [_sheet_part(tiles, name, note, part, tick) for name, note, part in sheet]
    slides = [_slide(tiles, part, tick, notes) for part in stats.slides]
    audit = _audit(tiles, stats)
    text = render(
        "preview",
        title=f"Tiles in {root.resolve().parent.name}/{root.resolve().name}",
        subtitle=_subtitle(tiles, stats),
        sections=[
            ("classes", "Classes"), ("split", "Split"), ("audit", "Audit"), ("map", "Map"), ("tiles", "Tiles"),
            ("slides", "Slides"),
        ],
        legend=[(tiles.labels.name_of(value), rgb) for value, rgb in label_colors(tiles.labels).items()],
        classes=_classes(stats),
        fractions=png_picture(draw_stats(stats)),
        split=_split(tiles, stats),
        audit=audit,
        map=None if drawn_map is None else png_picture(drawn_map.picture),
        map_caption="" if drawn_map is None else drawn_map.caption,
        tiles=shown,
        side=SIDE_PX,
        slides=slides,
    )  # fmt: skip
    replace_file(page, text.encode())
    count = sum(len(part["tiles"]) for part in shown)
    return PreviewReport(page=page, slides=len(slides), tiles=count, notes=tuple(notes))


def _subtitle(tiles: TileSet, stats: StatsReport) -> str:
    mpp = "um/px unknown" if stats.mpp is None else f"{stats.mpp[0]:.4g} um/px"
    if stats.mpp and stats.mpp[0] != stats.mpp[1]:
        mpp = f"{stats.mpp[0]:.4g} to {stats.mpp[1]:.4g} um/px"
    context = "".join(f", surroundings {factor} x" for factor in context_of(tiles)[1:])
    return (
        f"{len(tiles.tiles):,} tiles of {tiles.tile_size} px at {mpp}{context}, {len(stats.slides)} slide(s), "
        f"{len(stats.groups)} group(s), store {tiles.info.get('store', 'files')}"
    )


def _classes(stats: StatsReport) -> dict[str, Any]:
    """Table of every value of the masks."""
    rows = []
    for item in stats.classes:
        area = "" if item.area_mm2 is None else f"{item.area_mm2:.3f}"
        fraction = "" if item.fraction is None else f"{item.fraction:.2%}"
        others = "" if item.others_per_tile is None else f"{item.others_per_tile:.1f}"
        splits = [f"{item.split_fractions.get(name, 0):.0%}" if item.split_fractions else "-" for name in _SPLIT_COLORS]
        rows.append((item.name, item.value, f"{item.tiles:,}", f"{item.pixels:,}", area, fraction, others, *splits))
    columns = ("class", "value", "tiles", "px", "mm²", "of labelled px", "other tiles per tile", *_SPLIT_COLORS)
    return {"columns": columns, "rows": rows}


def _split(tiles: TileSet, stats: StatsReport) -> dict[str, Any]:
    names = [item.name for item in tiles.labels.classes]
    rows = []
    is_reviewed = any(part.counts.origins for part in stats.splits)
    for part in stats.splits:
        counts = part.counts
        with_class = [f"{counts.with_class[item.value]:,}" for item in tiles.labels.classes]
        figures = (part.groups, part.slides, f"{counts.tiles:,}", f"{counts.positive:,}", f"{counts.negative:,}")
        review = [_percent(counts.reviewed), _last_of_review(counts)] if is_reviewed else []
        rows.append((part.name, *figures, f"{counts.unknown:,}", *review, *with_class))
    columns = ["split", "groups", "slides", "tiles", "with a class", "background only", "all ignore"]
    is_predicted = any(part.counts.predicted is not None for part in stats.splits)
    last = "labels nobody looked at" if is_predicted else "rejected px"
    columns += ["labels from a review", last] if is_reviewed else []
    return {
        "rule": f"Split by {stats.rule}." if stats.rule else "",
        "columns": (*columns, *(f"tiles with {name}" for name in names)),
        "rows": rows,
        "leaks": stats.leakage.describe(),
        "patients_known": bool(patients_of(tiles)),
        "has_context": len(context_of(tiles)) > 1,
    }


def _last_of_review(counts: TileCounts) -> str:
    """Labels that are predictions nobody has looked at; else where predictions were rejected."""
    return f"{counts.origins.get('rejected', 0):,}" if counts.predicted is None else _percent(counts.predicted)


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.0%}"


def _audit(tiles: TileSet, stats: StatsReport) -> dict[str, Any]:
    """What the export's report says of its slides, and what the table itself shows."""
    lines = [{"tone": "warn", "text": note} for note in stats.notes]
    report = tiles.info.get("report")
    report = report if isinstance(report, dict) else {}
    for name, reason in (report.get("failed") or {}).items():
        lines.append({"tone": "bad", "text": f"{name} could not be read: {reason}"})
    if report.get("skipped"):
        lines.append({"tone": "warn", "text": f"without annotations: {listed(report['skipped'])}"})
    lines += [{"tone": "warn", "text": note} for note in report.get("notes") or []]
    rows, unlisted = [], Counter[str]()
    for slide in report.get("slides") or []:
        audit = slide.get("audit") or {}
        unlisted.update(audit.get("unlisted") or {})
        drawn = sum((audit.get("drawn") or {}).values())
        faults = [audit.get(key, 0) for key in ("mended", "slivers", "without_area", "outside", "other_plane")]
        faults.append(sum(small["objects"] for small in (audit.get("too_small") or {}).values()))
        dropped = slide.get("dropped") or {}
        lost = sum(n for v, n in (slide.get("dropped_pixels") or {}).items() if int(v) not in _empty_values(tiles))
        figures = (drawn, sum((audit.get("unlisted") or {}).values()), *faults, dropped.get("glass", 0), lost)
        rows.append((slide.get("name", ""), *(f"{figure:,}" for figure in figures)))
    if unlisted:
        said = ", ".join(f"{name} ({count:,})" for name, count in unlisted.most_common())
        lines.append({"tone": "warn", "text": f"classes that the label map does not list, {_unlisted(tiles)}: {said}"})
    columns = (
        "slide", "objects drawn", "of unlisted classes", "mended", "slivers", "without area", "outside the slide",
        "on other planes", "too small", "glass tiles", "class px on glass",
    )  # fmt: skip
    tables = [{"title": "Annotations", "columns": columns, "rows": rows}] if rows else []
    # Not strict: the mask values are text, as keys in JSON have to be.
    tallies = [
        msgspec.convert(s["tally"], PixelCounts, strict=False) for s in report.get("slides") or [] if "tally" in s
    ]
    if tallies:
        rules = rule_rows(functools.reduce(operator.add, tallies), tiles.labels)
        shown = [(what, rule, f"{count:,}", fraction) for what, rule, count, fraction in rules]
        tables.append({"title": "Mask pixels by the rule that decided them", "columns": COLUMNS, "rows": shown})
    return {"tables": tables, "lines": lines}


def _unlisted(tiles: TileSet) -> str:
    return {"skip": "not drawn", "ignore": "drawn as ignore", "error": "refused"}[tiles.labels.unlisted]


def _empty_values(tiles: TileSet) -> set[int]:
    return {tiles.labels.background, tiles.labels.ignore}


def _sheet(tiles: TileSet) -> list[tuple[str, str, list[TileRecord]]]:
    """Name, note and tiles of each part of the contact sheet; every class is there, also one without a tile."""
    parts = []
    for item in tiles.labels.classes:
        with_it = sum(1 for t in tiles.tiles if t.pixels.get(item.value))
        chosen = most_of_class(tiles.tiles, item.value, PER_CLASS)
        parts.append((item.name, f"{with_it:,} tile(s)" if with_it else "no tile shows it", chosen))
    if len(tiles.labels.classes) > 1:
        parts.append(("Rarest", "classes that the fewest tiles show", rarest(tiles.tiles, tiles.labels, PER_CLASS)))
    parts.append(("Background", "and no class", without_class(tiles.tiles, tiles.labels, PER_CLASS // 2)))
    return parts


def _sheet_part(tiles: TileSet, name: str, note: str, chosen: Sequence[TileRecord], tick: Ticker) -> dict[str, Any]:
    shown = []
    for tile in chosen:
        pixels = outlined(tiles.read_image(tile), tiles.read_values(tile), tiles.labels, side=SIDE_PX)
        shown.append({"picture": picture(pixels), "caption": _caption(tile, tiles.labels)})
        tick(tile.slide)
    return {"name": name, "note": note, "tiles": shown}


def _caption(tile: TileRecord, labels: LabelMap) -> str:
    """ "P4 (test), 1024 2048: Tumor 12 %, Stroma 40 %"."""
    total = sum(tile.pixels.values())
    classes = [(item.name, tile.pixels.get(item.value, 0) / total) for item in labels.classes]
    said = ", ".join(f"{name} {fraction:.0%}" for name, fraction in sorted(classes, key=lambda c: -c[1]) if fraction)
    return f"{tile.slide} ({tile.split}), {tile.x:.0f} {tile.y:.0f}: {said or 'background'}"


def _slide(tiles: TileSet, part: PartStats, tick: Ticker, notes: list[str]) -> dict[str, Any]:
    own = [tile for tile in tiles.tiles if tile.slide == part.name]
    labels, counts = tiles.labels, part.counts
    rows = []
    for value in labels.values:
        area = "" if counts.area_mm2 is None else f"{counts.area_mm2[value]:.3f}"
        with_it = counts.with_class.get(value)
        rows.append((labels.name_of(value), area, "" if with_it is None else f"{with_it:,}"))
    tick(part.name)
    caption = f"Tiles that stayed, outlined by split ({', '.join(part.splits)}); masks tinted."
    try:
        drawn, missed = _slide_picture(tiles, own)
    except QpkitError as err:
        notes.append(f"{part.name}: no picture: {err}")
        shown: dict[str, Any] = {"picture": None, "missing": f"No picture: {err}", "caption": ""}
    else:
        rest = f" Masks of {missed:,} of the tiles with a class are not drawn." if missed else ""
        shown = {"picture": picture(drawn), "missing": "", "caption": caption + rest}
    split = "/".join(part.splits)
    return {
        "name": part.name,
        "note": f"{split}, {counts.tiles:,} tiles, {counts.positive:,} with a class",
        "columns": ("class", "mm²", "tiles"),
        "rows": rows,
        **shown,
    }


def _slide_picture(tiles: TileSet, own: Sequence[TileRecord]) -> tuple[NDArray[np.uint8], int]:
    """Paint the tiles' masks and outlines over the slide; also how many masks were left out.

    The ground is the slide's thumbnail, or without the slide what the export's own tiles show of it.
    """
    width = max(t.x + t.width for t in own)
    height = max(t.y + t.height for t in own)
    ground, width, height = _ground(tiles, own[0].slide, width, height)
    rows, columns = ground.shape[:2]
    across, down = columns / width, rows / height
    mask = np.full((rows, columns), tiles.labels.background, np.uint8)
    classes = [item.value for item in tiles.labels.classes]
    with_class = [t for t in own if any(t.pixels.get(v) for v in classes)]
    for tile in with_class[:_DRAWN_TILES]:
        box = _box(tile, across, down)
        size = max(1, box[2] - box[0]), max(1, box[3] - box[1])
        small = np.asarray(Image.fromarray(tiles.read_values(tile)).resize(size, Image.Resampling.NEAREST))
        inside = mask[box[1] : box[1] + size[1], box[0] : box[0] + size[0]]
        inside[...] = small[: inside.shape[0], : inside.shape[1]]
    result = tinted(ground, mask, tiles.labels, show_ignore=False)
    for tile in own:
        x0, y0, x1, y1 = _box(tile, across, down)
        color = _SPLIT_COLORS[tile.split]
        result[y0 : y1 + 1, [min(x0, columns - 1), min(x1, columns - 1)]] = color
        result[[min(y0, rows - 1), min(y1, rows - 1)], x0 : x1 + 1] = color
    return result, max(0, len(with_class) - _DRAWN_TILES)


def _box(tile: TileRecord, across: float, down: float) -> tuple[int, int, int, int]:
    return (
        round(tile.x * across), round(tile.y * down),
        round((tile.x + tile.width) * across), round((tile.y + tile.height) * down),
    )  # fmt: skip


def _ground(tiles: TileSet, name: str, width: float, height: float) -> tuple[NDArray[np.uint8], float, float]:
    """A small picture of the whole slide, and the slide's width and height in px.

    Raises:
        FormatError: Neither the slide is there nor the picture that the export made of it.
    """
    try:
        with open_exported_slide(tiles.root, tiles.info, name) as slide:
            return slide.thumbnail(SLIDE_PX, plane=exported_plane(tiles.info)), slide.info.width, slide.info.height
    except QpkitError as err:
        rows = [row for row in tiles.info.get("slides") or [] if row.get("name") == name]
        report = [r for r in (tiles.info.get("report") or {}).get("slides") or [] if r.get("name") == name]
        file = tiles.root / report[0]["tissue_picture"] if report and report[0].get("tissue_picture") else None
        if file is None or not file.is_file() or not rows:
            raise FormatError(f"the slide is not there any more ({err})") from err
        with Image.open(file) as image:
            image.thumbnail((SLIDE_PX, SLIDE_PX))
            # A copy, as Pillow's array cannot be painted on.
            return np.asarray(image.convert("RGB")).copy(), rows[0]["width"], rows[0]["height"]
