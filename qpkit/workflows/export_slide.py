"""One slide of an export: which of its tiles stay, and what is written and counted of each."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.labels import LabelMap
from qpkit.core.provenance import drawn_by_people, is_prediction
from qpkit.core.tiles import Tile, TileGrid
from qpkit.dataset.manifest import TileRecord
from qpkit.dataset.pairs import PairWriter, pair_names
from qpkit.ops.paint_order import PaintAudit
from qpkit.ops.rasterize import Painting, count_values
from qpkit.ops.tissue import rgb_std, tissue_mask, tissue_share
from qpkit.slides import Slide, open_slide
from qpkit.workflows.export_settings import ExportSettings
from qpkit.workflows.sources import SlideInput


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideReport:
    """What became of one slide.

    Args:
        name: Slide name.
        downsample: Slide px per tile px.
        tiles_in_grid, tiles_kept: Tiles.
        dropped: Tiles by reason.
        pixels, dropped_pixels: Tile px by mask value, in the kept tiles and in those dropped as glass.
        audit: What became of its annotations.
        predictions_left_out: Imported predictions that nobody has changed, which are not drawn.
        reviewed_predictions: Imported predictions that a person has changed or locked, which are drawn.
        detections: Detections, cells, tiles and TMA cores, which are not drawn.
        seconds: Wall time.
    """

    name: str
    downsample: float
    tiles_in_grid: int
    tiles_kept: int
    dropped: Mapping[str, int]
    pixels: Mapping[int, int]
    dropped_pixels: Mapping[int, int]
    audit: PaintAudit
    predictions_left_out: int
    reviewed_predictions: int
    detections: int
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
        objects = item.objects()
        annotations, self._left_out = drawable(objects, settings)
        self._reviewed = 0 if settings.with_predictions else sum(map(is_prediction, annotations))
        self._detections = len(objects) - len(annotations) - self._left_out
        size = (item.info.width, item.info.height)
        self._painting = Painting(
            annotations, labels, downsample=grid.downsample, slide_size=size, pixel_rule=settings.pixel_rule
        )
        self._dropped: Counter[str] = Counter()
        self._pixels: Counter[int] = Counter()
        self._dropped_pixels: Counter[int] = Counter()
        self.records: list[TileRecord] = []

    def run(self, root: Path, stem: str, tick: Callable[[str], None]) -> SlideReport:
        """Write the slide's pairs below `root`, in folders and with file names that begin with `stem`."""
        start = time.perf_counter()
        with open_slide(self._item.source.path, mpp=self._item.info.mpp) as slide, PairWriter(root) as writer:
            tissue = tissue_mask(slide.thumbnail())
            for tile in self._grid:
                self._export(tile, slide, tissue, writer, pair_names(stem, tile.x, tile.y))
                tick(self._item.source.name)
        return SlideReport(
            name=self._item.source.name,
            downsample=self._grid.downsample,
            tiles_in_grid=len(self._grid),
            tiles_kept=len(self.records),
            dropped=self._dropped,
            pixels=self._pixels,
            dropped_pixels=self._dropped_pixels,
            audit=self._painting.audit,
            predictions_left_out=self._left_out,
            reviewed_predictions=self._reviewed,
            detections=self._detections,
            seconds=time.perf_counter() - start,
        )

    def _export(
        self, tile: Tile, slide: Slide, tissue: NDArray[np.bool_], writer: PairWriter, names: tuple[str, str]
    ) -> None:
        mask = self._painting.draw(tile)
        pixels = count_values(mask, self._painting.labels.values)
        if self._settings.only_annotated and not self._says_anything(tile, mask):
            self._dropped["without annotation"] += 1
            return
        image = slide.read(tile)
        inside = image[: self._grid.level_height - tile.y, : self._grid.level_width - tile.x]
        std = rgb_std(inside)
        share = tissue_share(tissue, tile.slide_region, slide.info.width, slide.info.height)
        if not self._settings.tissue.keeps(std, share):
            self._dropped["glass"] += 1
            self._dropped_pixels.update(pixels)
            return
        writer.write(image, mask, names)
        self._pixels.update(pixels)
        self.records.append(self._record(tile, std=std, tissue=share, pixels=pixels, names=names))

    def _says_anything(self, tile: Tile, mask: NDArray[np.uint8]) -> bool:
        """Whether some pixel lies in a class or a region, whatever the rest of the slide counts as."""
        if self._painting.labels.unannotated == "background":
            mask = self._painting.draw(tile, unannotated="ignore")
        return bool((mask != self._painting.labels.ignore).any())

    def _record(
        self, tile: Tile, *, std: float, tissue: float, pixels: Mapping[int, int], names: tuple[str, str]
    ) -> TileRecord:
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
            image=names[0],
            mask=names[1],
        )


def drawable(objects: Sequence[Annotation], settings: ExportSettings) -> tuple[list[Annotation], int]:
    """Annotations to draw (no detections), and how many of qpkit's own imports were left out."""
    annotations = [o for o in objects if o.kind == "annotation"]
    chosen = annotations if settings.with_predictions else drawn_by_people(annotations)
    return chosen, len(annotations) - len(chosen)
