"""qpkit export: slides and their annotations to tiles, masks and a table."""

from __future__ import annotations

import math
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import qpkit
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import (
    LabelMap,
    default_label_map,
    label_map_to_builtins,
    with_colors,
)
from qpkit.core.provenance import drawn_by_people
from qpkit.core.tiles import SlideInfo, Tile, TileGrid, downsample_for
from qpkit.dataset.manifest import TileRecord, write_tile_set
from qpkit.dataset.pairs import PairWriter, pair_names
from qpkit.dataset.splits import draw_splits
from qpkit.errors import LabelError, ProjectError
from qpkit.files import new_folder
from qpkit.ops.rasterize import PaintAudit, Painting, count_values
from qpkit.ops.tissue import rgb_std, tissue_mask, tissue_share
from qpkit.slides import Slide, open_slide
from qpkit.workflows import OnProgress, no_progress
from qpkit.workflows.export_settings import ExportSettings
from qpkit.workflows.sources import SlideInput, require_mpp


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideReport:
    """What became of one slide. Pixels are tile px by mask value; `audit` counts its objects."""

    name: str
    downsample: float
    tiles_in_grid: int
    tiles_kept: int
    dropped: Mapping[str, int]
    pixels: Mapping[int, int]
    dropped_pixels: Mapping[int, int]
    audit: PaintAudit
    predictions_left_out: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export did; `skipped` gives slides without a single annotation."""

    mpp: float | None
    labels: LabelMap
    slides: tuple[SlideReport, ...]
    skipped: tuple[str, ...]
    splits: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    seconds: float

    @property
    def tiles_kept(self) -> int:
        """Tiles written, all slides together."""
        return sum(slide.tiles_kept for slide in self.slides)


@dataclass(slots=True)
class _Tally:
    """Counts of one slide while it is being exported."""

    dropped: Counter[str] = field(default_factory=Counter)
    pixels: Counter[int] = field(default_factory=Counter)
    dropped_pixels: Counter[int] = field(default_factory=Counter)
    records: list[TileRecord] = field(default_factory=list)


def export_tiles(
    inputs: Sequence[SlideInput],
    out: Path,
    settings: ExportSettings,
    *,
    classes: Sequence[PathClass] = (),
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> ExportReport:
    """Write tiles, masks, tiles.parquet and export.json into a new folder.

    Args:
        inputs: Slides with their objects.
        out: Folder to make; on any error nothing is left there.
        settings: What to export.
        classes: The project's class list: order and colours of the default label map.
        overwrite: Replace an export that is there.
        on_progress: Called with tiles done and in all.

    Raises:
        ProjectError: No slide has an annotation.
        FormatError: A slide has no um per px, or cannot be read.
        LabelError, GeometryError: The objects and the label map do not fit.
        OutputError: `out` holds something, or the disk is full.
    """
    start = time.perf_counter()
    if settings.downsample is None:
        require_mpp(inputs)
    used, skipped, in_use = _survey(inputs, settings)
    labels = _label_map(in_use, settings, classes)
    _require_drawn(labels, in_use)
    mpp = settings.mpp or (None if settings.downsample else max(i.info.mpp or 0 for i in used))
    grids = [_grid(item.info, mpp, settings) for item in used]
    total = sum(len(grid) for grid in grids)
    with new_folder(out, overwrite=overwrite) as root:
        records: list[TileRecord] = []
        reports = []
        done = 0
        for item, grid in zip(used, grids, strict=True):
            report, tally = _export_slide(item, grid, labels, settings, root, (done, total, on_progress))
            reports.append(report)
            records += tally.records
            done += len(grid)
        records, notes = _with_splits(records, used, settings)
        result = ExportReport(
            mpp=_common_mpp(records),
            labels=labels,
            slides=tuple(reports),
            skipped=tuple(skipped),
            splits=_split_counts(records, labels),
            notes=tuple(notes),
            seconds=time.perf_counter() - start,
        )
        write_tile_set(root, records, _info(result, used, settings))
    return result


def _survey(
    inputs: Sequence[SlideInput], settings: ExportSettings
) -> tuple[list[SlideInput], list[str], dict[str, PathClass]]:
    """Slides with objects, names of those without (an image nobody annotated is not a negative), classes in use."""
    used, skipped, in_use = [], [], dict[str, PathClass]()
    for item in inputs:
        objects = item.objects()
        if not objects:
            skipped.append(item.source.name)
            continue
        used.append(item)
        in_use |= {str(o.path_class): o.path_class for o in _drawable(objects, settings)[0] if o.path_class}
    if not used:
        raise ProjectError(
            f"none of {len(inputs)} slides has an annotation; annotate in QuPath and save, or pass --annotations"
        )
    return used, skipped, in_use


def _label_map(in_use: Mapping[str, PathClass], settings: ExportSettings, classes: Sequence[PathClass]) -> LabelMap:
    known = {str(c) for c in classes}
    every = [*classes, *(c for name, c in in_use.items() if name not in known)]
    labels = with_colors(settings.labels, every) if settings.labels else default_label_map(every)
    return replace(labels, unannotated=settings.unannotated) if settings.unannotated else labels


def _require_drawn(labels: LabelMap, in_use: Mapping[str, PathClass]) -> None:
    """Raise if not one annotation would be drawn: masks of nothing but background teach the wrong thing."""
    if not any(labels.knows(name) for name in in_use):
        there = ", ".join(map(repr, sorted(in_use))) or "none"
        wanted = ", ".join(repr(source) for item in labels.classes for source in item.sources) or "none"
        raise LabelError(
            f"no annotation has a class that the label map draws (classes of the annotations: {there}; "
            f"of the label map: {wanted}); classify them in QuPath or name their classes in --labels"
        )


def _drawable(objects: Sequence[Annotation], settings: ExportSettings) -> tuple[list[Annotation], int]:
    """Annotations to draw, and how many of qpkit's own imports were left out."""
    annotations = [o for o in objects if o.kind == "annotation"]
    chosen = annotations if settings.with_predictions else drawn_by_people(annotations)
    return chosen, len(annotations) - len(chosen)


def _grid(info: SlideInfo, mpp: float | None, settings: ExportSettings) -> TileGrid:
    if settings.downsample is not None:
        downsample = settings.downsample
    else:
        downsample = downsample_for(mpp or math.nan, info.mpp or math.nan)
    return TileGrid(
        slide_width=info.width,
        slide_height=info.height,
        tile_size=settings.tile_size,
        overlap=settings.overlap,
        downsample=downsample,
    )


def _export_slide(
    item: SlideInput,
    grid: TileGrid,
    labels: LabelMap,
    settings: ExportSettings,
    root: Path,
    progress: tuple[int, int, OnProgress],
) -> tuple[SlideReport, _Tally]:
    start = time.perf_counter()
    done, total, on_progress = progress
    annotations, left_out = _drawable(item.objects(), settings)
    size = (item.info.width, item.info.height)
    painting = Painting(annotations, labels, downsample=grid.downsample, slide_size=size)
    tally = _Tally()
    with open_slide(item.source.path, mpp=item.info.mpp) as slide, PairWriter(root) as writer:
        tissue = tissue_mask(slide.thumbnail())
        for number, tile in enumerate(grid, start=1):
            _export_tile(item, tile, slide, painting, tissue, settings, writer, tally)
            on_progress(done + number, total, item.source.name)
    report = SlideReport(
        name=item.source.name,
        downsample=grid.downsample,
        tiles_in_grid=len(grid),
        tiles_kept=len(tally.records),
        dropped=tally.dropped,
        pixels=tally.pixels,
        dropped_pixels=tally.dropped_pixels,
        audit=painting.audit,
        predictions_left_out=left_out,
        seconds=time.perf_counter() - start,
    )
    return report, tally


def _export_tile(
    item: SlideInput,
    tile: Tile,
    slide: Slide,
    painting: Painting,
    tissue: NDArray[np.bool_],
    settings: ExportSettings,
    writer: PairWriter,
    tally: _Tally,
) -> None:
    mask = painting.draw(tile)
    pixels = count_values(mask, painting.labels.values)
    if settings.only_annotated and not _says_anything(painting, tile, mask):
        tally.dropped["without annotation"] += 1
        return
    image = slide.read(tile)
    std = rgb_std(image)
    share = tissue_share(tissue, tile.slide_region, item.info.width, item.info.height)
    if not settings.tissue.keeps(std, share):
        tally.dropped["glass"] += 1
        tally.dropped_pixels.update(pixels)
        return
    names = pair_names(item.source.name, tile.x, tile.y)
    writer.write(image, mask, names)
    tally.pixels.update(pixels)
    tally.records.append(_record(item, tile, std=std, tissue=share, pixels=pixels, names=names, settings=settings))


def _says_anything(painting: Painting, tile: Tile, mask: NDArray[np.uint8]) -> bool:
    """Whether some pixel lies in a class or a region, whatever the rest of the slide counts as."""
    if painting.labels.unannotated == "background":
        mask = painting.draw(tile, unannotated="ignore")
    return bool((mask != painting.labels.ignore).any())


def _record(
    item: SlideInput,
    tile: Tile,
    *,
    std: float,
    tissue: float,
    pixels: Mapping[int, int],
    names: tuple[str, str],
    settings: ExportSettings,
) -> TileRecord:
    region = tile.slide_region
    return TileRecord(
        slide=item.source.name,
        entry=item.source.entry,
        group=settings.split.group_of(item.source.name, item.metadata),
        split="train",
        col=tile.col,
        row=tile.row,
        x=region.x,
        y=region.y,
        width=region.width,
        height=region.height,
        downsample=tile.downsample,
        mpp=math.nan if item.info.mpp is None else item.info.mpp * tile.downsample,
        tissue=round(tissue, 4),
        std=round(std, 3),
        pixels=pixels,
        image=names[0],
        mask=names[1],
    )


def _with_splits(
    records: Sequence[TileRecord], inputs: Sequence[SlideInput], settings: ExportSettings
) -> tuple[list[TileRecord], list[str]]:
    """Give every record its split, and say what the user should know about it."""
    rule = settings.split
    if rule.by == "metadata":
        named = {i.source.name: rule.named_split(i.source.name, i.metadata) or "train" for i in inputs}
        return [replace(r, split=named[r.slide]) for r in records], []
    if rule.by == "tile":
        drawn = draw_splits([r.image for r in records], seed=settings.seed, fractions=settings.fractions)
        leak = "split by tile: tiles of one slide, and neighbours, are in different splits (leakage)"
        return [replace(r, group=r.image, split=drawn[r.image]) for r in records], [leak]
    groups = [settings.split.group_of(i.source.name, i.metadata) for i in inputs]
    drawn = draw_splits(groups, seed=settings.seed, fractions=settings.fractions)
    wanted = {name for name, share in zip(("val", "test"), settings.fractions[1:], strict=True) if share}
    missing = wanted - set(drawn.values())
    notes = [f"only {len(set(groups))} {rule.by}(s): no {' and no '.join(sorted(missing))} split"] if missing else []
    return [replace(r, split=drawn[r.group]) for r in records], notes


def _split_counts(records: Sequence[TileRecord], labels: LabelMap) -> dict[str, dict[str, int]]:
    """Per split: groups, tiles, positive tiles (any class pixel)."""
    values = {c.value for c in labels.classes}
    counts: dict[str, dict[str, int]] = {}
    for split in ("train", "val", "test"):
        part = [r for r in records if r.split == split]
        positive = sum(1 for r in part if values & r.pixels.keys())
        counts[split] = {"groups": len({r.group for r in part}), "tiles": len(part), "positive": positive}
    return counts


def _common_mpp(records: Sequence[TileRecord]) -> float | None:
    """The tiles' um per px if all have the same to 1 in 1,000, else None."""
    sizes = [r.mpp for r in records]
    if not sizes or any(math.isnan(s) for s in sizes) or max(sizes) > min(sizes) * 1.001:
        return None
    return sizes[0]


def _info(report: ExportReport, inputs: Sequence[SlideInput], settings: ExportSettings) -> dict[str, Any]:
    """The content of export.json."""
    return {
        "mpp": report.mpp,
        "tile_size_px": settings.tile_size,
        "labels": label_map_to_builtins(report.labels),
        "settings": settings.to_builtins(),
        "versions": versions(),
        "inputs": [{"name": i.source.name, **i.hashes()} for i in inputs],
        "report": msgspec.to_builtins(replace(report, labels=None), str_keys=True),  # type: ignore[arg-type]
    }


def versions() -> dict[str, str]:
    """Versions of what decides pixels and shapes."""
    packages = ("numpy", "shapely", "rasterio", "openslide-python", "tifffile", "pillow")
    return {"qpkit": qpkit.__version__, "python": platform.python_version()} | {p: version(p) for p in packages}
