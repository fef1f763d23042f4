"""One slide of an export: which of its tiles stay, and what is written and counted of each."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.labels import LabelMap
from qpkit.core.provenance import drawn_by_people, is_prediction
from qpkit.core.tiles import Tile, TileGrid
from qpkit.dataset.layers import Layers, context_layer
from qpkit.dataset.record import TileRecord
from qpkit.dataset.snapshot import write_snapshot
from qpkit.dataset.store_choice import open_writer
from qpkit.dataset.stores import Stored, TileWriter
from qpkit.ops.rasterize import PaintAudit, Painting, count_values
from qpkit.ops.tissue import rgb_std
from qpkit.report.tissue import save_tissue_picture
from qpkit.slides import Slide, open_source
from qpkit.workflows.export_settings import ExportSettings
from qpkit.workflows.sources import SlideInput
from qpkit.workflows.tissue_rule import Glass


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideReport:
    """What became of one slide.

    Args:
        name: Slide name.
        reader: What read it.
        downsample: Slide px per tile px.
        tiles_in_grid, tiles_kept: Tiles.
        dropped: Tiles by reason.
        unread: Of those dropped as glass, the ones that the thumbnail alone shows to be so.
        pixels, dropped_pixels: Tile px by mask value, in the kept tiles and in those dropped as glass.
        audit: What became of its annotations.
        predictions_left_out: Imported predictions that nobody has changed, which are not drawn.
        reviewed_predictions: Imported predictions that a person has changed or locked, which are drawn.
        detections: Detections, cells, tiles and TMA cores, which are not drawn.
        tissue_share, pen_share, dark_share: Of the slide, as the thumbnail shows it, 0..1.
        tissue_picture: Path of the picture that shows it, relative to the table.
        seconds: Wall time.
    """

    name: str
    reader: str
    downsample: float
    tiles_in_grid: int
    tiles_kept: int
    dropped: Mapping[str, int]
    unread: int
    pixels: Mapping[int, int]
    dropped_pixels: Mapping[int, int]
    audit: PaintAudit
    predictions_left_out: int
    reviewed_predictions: int
    detections: int
    tissue_share: float
    pen_share: float
    dark_share: float
    tissue_picture: str
    seconds: float


class SlideExport:
    """Exports one slide.

    Args:
        item: The slide and its objects.
        grid: Its tiles.
        labels: What is drawn with which value.
        settings: What stays.

    Raises:
        LabelError, GeometryError: As for Painting.

    Attributes:
        records: Rows of the table, filled by `run`; their split is not known yet and says "train".
    """

    def __init__(self, item: SlideInput, grid: TileGrid, labels: LabelMap, settings: ExportSettings) -> None:
        self._item, self._grid, self._settings = item, grid, settings
        self._objects = item.objects()
        self._annotations, self._left_out = drawable(self._objects, settings)
        self._reviewed = 0 if settings.with_predictions else sum(map(is_prediction, self._annotations))
        self._detections = sum(o.kind != "annotation" for o in self._objects)
        size = (item.info.width, item.info.height)
        self._painting = [
            Painting(
                self._annotations,
                labels,
                downsample=grid.downsample * factor,
                slide_size=size,
                plane=grid.plane,
                pixel_rule=settings.pixel_rule,
            )
            for factor in settings.context
        ]
        self._unread = 0
        self._dropped: Counter[str] = Counter()
        self._pixels: Counter[int] = Counter()
        self._dropped_pixels: Counter[int] = Counter()
        self.records: list[TileRecord] = []

    def run(self, root: Path, stem: str, tick: Callable[[str], None]) -> SlideReport:
        """Write the slide's tiles below `root`, in folders and with file names that begin with `stem`."""
        start = time.perf_counter()
        settings, info, name = self._settings, self._item.info, self._item.source.name
        with (
            open_source(self._item.source) as slide,
            open_writer(settings.store, root, stem, settings.image_format) as writer,
        ):
            thumbnail = slide.thumbnail(plane=self._grid.plane)
            reader = slide.reader.name
            glass = Glass(settings.tissue, name=name, info=info, thumbnail=thumbnail, objects=self._objects)
            for tile in self._grid:
                self._export(tile, slide, glass, writer, f"{stem}_x{tile.x}_y{tile.y}")
                tick(name)
        self.records = [_stored(r, s) for r, s in zip(self.records, writer.stored, strict=True)]
        if settings.store == "none":
            write_snapshot(root / snapshot_path(stem), self._annotations)
        picture = f"tissue/{stem}.png"
        save_tissue_picture(root / picture, thumbnail, glass.tissue, glass.found, info, self.records)
        return SlideReport(
            name=name,
            reader=reader,
            downsample=self._grid.downsample,
            tiles_in_grid=len(self._grid),
            tiles_kept=len(self.records),
            dropped=self._dropped,
            unread=self._unread,
            pixels=self._pixels,
            dropped_pixels=self._dropped_pixels,
            audit=self._painting[0].audit,
            predictions_left_out=self._left_out,
            reviewed_predictions=self._reviewed,
            detections=self._detections,
            tissue_share=round(float(glass.tissue.mean()), 4),
            pen_share=round(float(glass.found.pen.mean()), 4),
            dark_share=round(float(glass.found.dark.mean()), 4),
            tissue_picture=picture,
            seconds=time.perf_counter() - start,
        )

    def _export(self, tile: Tile, slide: Slide, glass: Glass, writer: TileWriter, name: str) -> None:
        """Draw, read and write a tile, or drop it as early as can be: the slide is decoded last."""
        mask = self._painting[0].draw(tile)
        pixels = count_values(mask, self._painting[0].labels.values)
        if self._settings.only_annotated and not self._says_anything(tile, mask):
            self._dropped["without annotation"] += 1
            return
        share = glass.share(tile)
        if glass.is_glass_unread(tile, share):
            self._unread += 1
            self._drop_glass(pixels)
            return
        is_written = self._settings.store != "none"
        image = slide.read(tile) if is_written or self._settings.tissue.reads_pixels else None
        std = math.nan
        if image is not None:
            std = rgb_std(image[: self._grid.level_height - tile.y, : self._grid.level_width - tile.x])
            if glass.is_glass(std):
                self._drop_glass(pixels)
                return
        layers: Layers = {}
        if is_written and image is not None:
            layers = {"image": image, "mask": mask, **self._surroundings(tile, slide)}
        writer.add(name, layers)
        self._pixels.update(pixels)
        self.records.append(self._record(tile, std=std, tissue=share, pixels=pixels))

    def _surroundings(self, tile: Tile, slide: Slide) -> dict[str, NDArray[np.uint8]]:
        """Pixels and masks of the wider context, by layer; masks are drawn at their own resolution."""
        layers = {}
        for factor, painting in zip(self._settings.context[1:], self._painting[1:], strict=True):
            wider = tile.surroundings(factor)
            layers[context_layer("image", factor)] = slide.read(wider)
            layers[context_layer("mask", factor)] = painting.draw(wider)
        return layers

    def _drop_glass(self, pixels: Mapping[int, int]) -> None:
        self._dropped["glass"] += 1
        self._dropped_pixels.update(pixels)

    def _says_anything(self, tile: Tile, mask: NDArray[np.uint8]) -> bool:
        """Whether some pixel lies in a class or a region, whatever the rest of the slide counts as."""
        painting = self._painting[0]
        if painting.labels.unannotated == "background":
            mask = painting.draw(tile, unannotated="ignore")
        return bool((mask != painting.labels.ignore).any())

    def _record(self, tile: Tile, *, std: float, tissue: float, pixels: Mapping[int, int]) -> TileRecord:
        source, mpp, region = self._item.source, self._item.info.mpp, tile.slide_region
        return TileRecord(
            slide=source.name,
            entry=source.entry,
            group=self._settings.split.group_of(source.name, self._item.metadata),
            split="train",
            col=tile.col,
            row=tile.row,
            x=region.x,
            y=region.y,
            width=region.width,
            height=region.height,
            downsample=tile.downsample,
            mpp=math.nan if mpp is None else mpp * tile.downsample,
            tissue=round(tissue, 4),
            std=round(std, 3),
            pixels=pixels,
            image="",
            mask="",
        )


def snapshot_path(stem: str) -> str:
    """Where the objects of a slide lie that are drawn when tiles are read, relative to the table."""
    return f"annotations/{stem}.parquet"


def _stored(record: TileRecord, stored: Stored) -> TileRecord:
    paths = dict(stored.paths)
    image, mask = paths.pop("image", ""), paths.pop("mask", "")
    return replace(record, image=image, mask=mask, others=paths, shard=stored.shard, places=stored.places)


def drawable(objects: Sequence[Annotation], settings: ExportSettings) -> tuple[list[Annotation], int]:
    """Annotations to draw, and how many of qpkit's own imports were left out.

    Detections are not drawn, nor is the class that only says where tissue is (--tissue class:NAME).
    """
    annotations = [o for o in objects if o.kind == "annotation"]
    if settings.tissue.by == "class" and not (settings.labels and settings.labels.knows(settings.tissue.source)):
        annotations = [o for o in annotations if o.class_name != settings.tissue.source]
    chosen = annotations if settings.with_predictions else drawn_by_people(annotations)
    return chosen, len(annotations) - len(chosen)
