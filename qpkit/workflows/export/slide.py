"""One slide of an export: which of its tiles stay, and what is written and counted of each."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.labels import LabelMap
from qpkit.core.provenance import drawn_by_people, is_looked_at, is_prediction, is_recognised_by_name, is_undecided
from qpkit.core.review import is_mark, is_unsure
from qpkit.core.tiles import Tile, TileGrid
from qpkit.dataset.instances import write_instances
from qpkit.dataset.record import TileRecord
from qpkit.dataset.snapshot import write_snapshot
from qpkit.dataset.stores.choice import open_writer
from qpkit.dataset.stores.layers import INSTANCES, Layers, context_layer
from qpkit.dataset.stores.store import TileWriter, placed
from qpkit.errors import GeometryError, LabelError
from qpkit.ops.masks.paint_order import PaintAudit
from qpkit.ops.masks.pixel_counts import PixelCounts
from qpkit.ops.masks.rasterize import Painting, count_channels, one_value_each
from qpkit.ops.tissue import rgb_std
from qpkit.report.figures.tissue import save_tissue_picture
from qpkit.slides import Slide, open_source
from qpkit.workflows.export.predicted import PredictedOrigins
from qpkit.workflows.export.removed import Removed, changes, with_removed
from qpkit.workflows.export.reviewed import Origins, ReviewedObjects, reviewed_objects
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.inputs.tissue_rule import Glass


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideReport:
    """The report on one slide of an export.

    Args:
        name: Slide name.
        reader: What read it.
        downsample: Slide px per tile px.
        tiles_in_grid, tiles_kept: Tiles.
        dropped: Tiles by reason.
        unread: Of those dropped as glass, the ones that the thumbnail alone shows to be so.
        pixels, dropped_pixels: Tile px by mask value, in the kept tiles and in those dropped as glass. In multi-label
            masks a pixel counts for every class that it shows.
        tally: Pixels of the kept tiles by the rule that decided them.
        audit: What became of its annotations.
        predictions_left_out: Imported predictions that nobody has changed: they are not drawn, and outside regions
            their area is unknown where nothing else is drawn.
        reviewed_predictions: Imported predictions that a person has changed or locked, which are drawn.
        recognised_by_name: Of both, those that have lost their metadata and were recognised by id and name.
        detections: Detections, cells, tiles and TMA cores that the label map does not look at.
        annotations_left_out: Annotations of classes that the label map makes of other kinds of objects.
        tissue_fraction, pen_fraction, dark_fraction: Of the slide, as the thumbnail shows it, 0..1.
        tissue_picture: Path of the picture that shows it, relative to the table.
        seconds: Wall time.
        removed_background: With --reviewed predictions of which something was removed outside all regions and is
            background there.
        rejected_unlearned: With --reviewed deleted predictions outside all regions, from which nothing is learned.
        runs_gone: Runs of these of which nothing is left on the slide.
        labels_from: With --reviewed pixels of the kept tiles by where their labels come from, as TileRecord.origins.
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
    tally: PixelCounts
    audit: PaintAudit
    predictions_left_out: int
    reviewed_predictions: int
    recognised_by_name: int
    detections: int
    annotations_left_out: int
    tissue_fraction: float
    pen_fraction: float
    dark_fraction: float
    tissue_picture: str
    seconds: float
    labels_from: Mapping[str, int] = field(default_factory=dict)
    removed_background: int = 0
    rejected_unlearned: int = 0
    runs_gone: tuple[str, ...] = ()


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
        found = objects_of(item, settings)
        self._removed: Removed | None = None
        if settings.reviewed:
            changed, is_background = changes(item, grid.plane), settings.removed == "background"
            found, self._removed = with_removed(found, changed, labels, grid.plane, is_background=is_background)
        self._annotations, self._unreviewed = found.draw, found.unknown
        truth = [o for o in self._annotations if is_prediction(o) and not (settings.reviewed and is_unsure(o))]
        self._reviewed = 0 if settings.with_predictions else len(truth)
        left = [o for o in self._objects if not is_looked_at(o, settings.labels) and not is_mark(o)]
        unseen = Counter(o.kind == "annotation" for o in left)
        self._detections, self._annotations_left_out = unseen[False], unseen[True]
        self._painting = [self._paint(labels, grid.downsample * factor) for factor in settings.context]
        self._origins: Origins | PredictedOrigins | None = None
        self._labels_from: Counter[str] = Counter()
        if self._removed is not None:
            self._origins = Origins(
                found, item, self._removed.rejected, labels,
                downsample=grid.downsample, plane=grid.plane, pixel_rule=settings.pixel_rule,
            )  # fmt: skip
        elif settings.with_predictions:
            self._origins = PredictedOrigins(
                self._annotations, lambda some: self._paint(labels, grid.downsample, some), labels.ignore
            )
        self._tally = PixelCounts()
        self._unread = 0
        self._dropped: Counter[str] = Counter()
        self._pixels: Counter[int] = Counter()
        self._dropped_pixels: Counter[int] = Counter()
        self.records: list[TileRecord] = []

    def _paint(self, labels: LabelMap, downsample: float, some: Sequence[Annotation] | None = None) -> Painting:
        info = self._item.info
        try:
            return Painting(
                self._annotations if some is None else some,
                labels,
                downsample=downsample,
                plane=self._grid.plane,
                slide_size=(info.width, info.height),
                pixel_rule=self._settings.pixel_rule,
                mpp=info.mpp,
                unknown=self._unreviewed if labels.unannotated == "background" else (),
            )
        except (LabelError, GeometryError) as err:
            raise type(err)(f"{self._item.source.name}: {err}") from err

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
        self.records = [placed(r, s) for r, s in zip(self.records, writer.stored, strict=True)]
        if settings.store == "none":
            write_snapshot(root / snapshot_path(stem), self._annotations)
        if INSTANCES in settings.layers:
            write_instances(root / f"{INSTANCES}/{stem}.csv", self._painting[0].instances)
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
            tally=self._tally,
            audit=self._painting[0].audit,
            predictions_left_out=len(self._unreviewed),
            recognised_by_name=sum(map(is_recognised_by_name, (*self._unreviewed, *self._annotations))),
            reviewed_predictions=self._reviewed,
            detections=self._detections,
            annotations_left_out=self._annotations_left_out,
            tissue_fraction=round(float(glass.tissue.mean()), 4),
            pen_fraction=round(float(glass.found.pen.mean()), 4),
            dark_fraction=round(float(glass.found.dark.mean()), 4),
            tissue_picture=picture,
            labels_from=self._labels_from,
            removed_background=self._removed.background if self._removed else 0,
            rejected_unlearned=self._removed.unlearned if self._removed else 0,
            runs_gone=self._removed.gone if self._removed else (),
            seconds=time.perf_counter() - start,
        )

    def _export(self, tile: Tile, slide: Slide, glass: Glass, writer: TileWriter, name: str) -> None:
        """Draw, read and write a tile, or drop it as early as can be: the slide is decoded last."""
        mask, tally, pixels = self._mask(tile)
        if self._settings.only_annotated and not self._says_anything(tile):
            self._dropped["without annotation"] += 1
            return
        fraction = glass.fraction(tile)
        if glass.is_glass_unread(tile, fraction):
            self._unread += 1
            self._drop_glass(pixels)
            return
        is_written = self._settings.store != "none"
        image = slide.read(tile) if is_written or self._settings.tissue.reads_pixels else None
        std = math.nan
        if image is not None:
            # Without what lies beside the slide: white that would change the spread of tissue and of glass.
            std = rgb_std(image[: self._grid.level_height - tile.y, : self._grid.level_width - tile.x])
            if glass.is_glass(std):
                self._drop_glass(pixels)
                return
        layers: Layers = {}
        if is_written and image is not None:
            layers = {"image": image, "mask": mask, **self._surroundings(tile, slide)}
        if INSTANCES in self._settings.layers:
            numbers, overlap = self._painting[0].draw_instances(tile)
            tally = replace(tally, instance_overlap=overlap)
            layers = {**layers, INSTANCES: numbers} if layers else {}  # nothing is handed to store "none"
        writer.add(name, layers)
        self._tally = self._tally + tally
        self._pixels.update(pixels)
        origins = self._origins.count(tile, self._one_value(mask)) if self._origins else {}
        self._labels_from.update(origins)
        self.records.append(self._record(tile, std=std, tissue=fraction, pixels=pixels, origins=origins))

    def _one_value(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return mask if mask.ndim == 2 else one_value_each(mask, self._painting[0].labels)

    def _mask(self, tile: Tile) -> tuple[NDArray[np.uint8], PixelCounts, dict[int, int]]:
        """The mask of a tile, which rules decided it, and its pixels by value."""
        painting = self._painting[0]
        mask, tally = painting.paint(tile)
        if painting.labels.masks == "single":
            return mask, tally, dict(tally.values)
        channels = painting.draw_channels(tile)
        return channels, tally, count_channels(channels, painting.labels)

    def _surroundings(self, tile: Tile, slide: Slide) -> dict[str, NDArray[np.uint8]]:
        """Pixels and masks of the wider context, by layer; masks are drawn at their own resolution."""
        layers = {}
        for factor, painting in zip(self._settings.context[1:], self._painting[1:], strict=True):
            wider = tile.surroundings(factor)
            layers[context_layer("image", factor)] = slide.read(wider)
            layers[context_layer("mask", factor)] = painting.draw_mask(wider)
        return layers

    def _drop_glass(self, pixels: Mapping[int, int]) -> None:
        self._dropped["glass"] += 1
        self._dropped_pixels.update(pixels)

    def _says_anything(self, tile: Tile) -> bool:
        """Whether some pixel lies in a class or a region, whatever the rest of the slide counts as."""
        painting = self._painting[0]
        return bool((painting.draw(tile, unannotated="ignore") != painting.labels.ignore).any())

    def _record(
        self, tile: Tile, *, std: float, tissue: float, pixels: Mapping[int, int], origins: Mapping[str, int]
    ) -> TileRecord:
        source, mpp, region = self._item.source, self._item.info.mpp, tile.slide_region
        by, probability = "", None
        if isinstance(self._origins, PredictedOrigins) and origins["predicted"]:
            by, probability = self._origins.predicted_by(tile)
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
            origins=origins,
            predicted_by=by,
            predicted_probability=probability if probability is None else round(probability, 4),
        )


def snapshot_path(stem: str) -> str:
    """Where the objects of a slide lie that are drawn when tiles are read, relative to the table."""
    return f"annotations/{stem}.parquet"


def drawable(objects: Sequence[Annotation], settings: ExportSettings) -> tuple[list[Annotation], list[Annotation]]:
    """Objects to draw, and qpkit's own imports that nobody has looked at.

    Kinds that the label map does not look at are not drawn (without one only annotations are), nor is the class that
    only says where tissue is (--tissue class:NAME).
    """
    looked_at = _looked_at(objects, settings)
    if settings.with_predictions:
        return looked_at, []
    return drawn_by_people(looked_at, settings.labels), [o for o in looked_at if is_undecided(o)]


def objects_of(item: SlideInput, settings: ExportSettings) -> ReviewedObjects:
    """What `drawable` gives of a slide's objects; with --reviewed, what the review makes of them."""
    objects = item.objects()
    if settings.reviewed:
        return reviewed_objects(_looked_at(objects, settings), item, settings.plane)
    draw, unknown = drawable(objects, settings)
    return ReviewedObjects(draw=draw, unknown=unknown, human=draw, proposed=[])


def _looked_at(objects: Sequence[Annotation], settings: ExportSettings) -> list[Annotation]:
    labels = settings.labels
    looked_at = [o for o in objects if is_looked_at(o, labels)]
    if settings.tissue.by == "class" and not (labels and labels.knows(settings.tissue.source)):
        looked_at = [o for o in looked_at if o.class_name != settings.tissue.source]
    return looked_at
