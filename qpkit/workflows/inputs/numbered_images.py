"""Label images in which each number is one object, on their slides: objects that borders of images cut are joined."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.annotation import PathClass
from qpkit.core.labels import LabelMap, default_label_map, label_colors, with_colors
from qpkit.core.tiles import level_size
from qpkit.errors import FormatError, LabelError, ProjectError, listed
from qpkit.files import safe_names
from qpkit.ops.seams import JoinedNumbers, TileEdges, join_seams
from qpkit.predictions import PredictionSet, SlidePrediction, create_raster, write_predictions
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project
from qpkit.workflows.inputs.instance_images import NumberClasses, image_name, number_classes, number_strips
from qpkit.workflows.inputs.label_images import PlacedMask, on_grid, placed_masks

_ROWS: Final = 1024


@dataclass(frozen=True, slots=True)
class NumberedImage:
    """A label image, its place and the classes of its numbers."""

    mask: PlacedMask
    classes: NumberClasses


def numbered_images(folder: Path, stated: str, table: Path | None = None) -> list[NumberedImage]:
    """Find the label images of a folder, their places and their classes.

    Args:
        folder: PNG or TIFF, placed by their names or by the table (see `placed_masks`).
        stated: A class, a table of numbers and classes, or a folder of such tables.
        table: CSV with file,slide,x,y[,downsample].

    Raises:
        FormatError: An image cannot be placed.
        LabelError: A table is missing or cannot be read.
    """
    classes = number_classes(stated)
    return [NumberedImage(mask, classes(image_name(mask.path, folder))) for mask in placed_masks(folder, table)]


def by_entry(images: Iterable[NumberedImage], project: Project) -> dict[int, list[NumberedImage]]:
    """The images of each entry, by its id.

    Raises:
        ProjectError: The slide of an image is not in the project, or several are called so.
    """
    found: dict[int, list[NumberedImage]] = defaultdict(list)
    for image in images:
        entries = project.called(image.mask.slide)
        if len(entries) != 1:
            raise ProjectError(f"{image.mask.path.name}: {len(entries)} entries are called {image.mask.slide!r}")
        found[entries[0].id].append(image)
    return found


def map_of_classes(names: Iterable[str], project: Project) -> LabelMap:
    """A value for each class of the numbers, whatever kind its objects are; regions and ignored areas as in QuPath."""
    names = sorted(set(names))
    starred = [item for item in project.classes if str(item).endswith("*") and str(item) not in names]
    made = default_label_map([*(PathClass((name,)) for name in names), *starred])
    return with_colors(made, project.classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideNumbers:
    """The objects of one slide.

    Args:
        images: Its label images.
        edges: Where they lie, in raster px.
        joined: What their numbers are on the slide.
        values: (count + 1,) uint8, the label value of each number of the slide, that of its largest part.
        downsample: Slide px per raster px.
    """

    images: Sequence[NumberedImage]
    edges: Sequence[TileEdges]
    joined: JoinedNumbers
    values: NDArray[np.uint8]
    downsample: float

    @classmethod
    def of(cls, images: Sequence[NumberedImage], labels: LabelMap, digest: hashlib._Hash, slide: str) -> Self:
        """Look at all images of a slide; what they hold is added to `digest`.

        Raises:
            FormatError: One cannot be read, or two lie over each other.
            ConfigError: They do not lie on one pixel grid.
            LabelError: A number has no class.
        """
        downsample = images[0].mask.downsample
        value_of = {item.name: item.value for item in labels.classes}
        edges, values, px = [], [], []
        for image in images:
            x, y = (on_grid(image.mask, at, downsample) for at in (image.mask.x, image.mask.y))
            digest.update(f"{slide}/{x}/{y}/{downsample}".encode())
            edge, counts = _edges(image, x, y, digest)
            edges.append(edge)
            values.append(image.classes.values(edge.numbers, value_of))
            px.append(np.array([counts[number] for number in edge.numbers.tolist()], np.int64))
        _refuse_overlap(images, edges)
        joined = join_seams(edges)
        found = np.full(joined.count + 1, labels.background, np.uint8)
        numbers, parts = np.concatenate(joined.joined), np.concatenate(px)
        order = np.argsort(parts, kind="stable")
        found[numbers[order]] = np.concatenate(values)[order]  # of one number the last, so the largest, stays
        return cls(images=images, edges=edges, joined=joined, values=found, downsample=downsample)

    def strips(self, index: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """(row of the image, (h, w) int64 numbers of the slide) of one image from the top."""
        y = 0
        for numbers in number_strips(self.images[index].mask.path, rows=_ROWS):
            yield y, self.joined.renumbered(numbers, index)
            y += len(numbers)

    def notes(self, slide: str) -> list[str]:
        """What the user has to know."""
        parts = sum(map(len, self.joined.joined))
        if parts == self.joined.count:
            return []
        return [f"{slide}: {parts:,} predicted objects are {self.joined.count:,}, as borders of images had cut some"]


def _edges(image: NumberedImage, x: int, y: int, digest: hashlib._Hash) -> tuple[TileEdges, Counter[int]]:
    """The border lines and numbers of an image, strip by strip, and how many px each number has."""
    parts: list[TileEdges] = []
    counts: Counter[int] = Counter()
    for strip in number_strips(image.mask.path, rows=_ROWS):
        digest.update(strip.astype("<i8").tobytes())
        parts.append(TileEdges.of(strip, x=x, y=y + sum(part.height for part in parts)))
        numbers, px = np.unique(strip[strip > 0], return_counts=True)
        counts.update(dict(zip(numbers.tolist(), px.tolist(), strict=True)))
    whole = TileEdges(
        x=x,
        y=y,
        height=sum(part.height for part in parts),
        width=parts[0].width,
        numbers=np.unique(np.concatenate([part.numbers for part in parts])),
        top=parts[0].top,
        bottom=parts[-1].bottom,
        left=np.concatenate([part.left for part in parts]),
        right=np.concatenate([part.right for part in parts]),
    )
    return whole, counts


def _refuse_overlap(images: Sequence[NumberedImage], edges: Sequence[TileEdges]) -> None:
    boxes = [shapely.box(e.x, e.y, e.x + e.width, e.y + e.height) for e in edges]
    first, second = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    for one, other in zip(first[first < second].tolist(), second[first < second].tolist(), strict=True):
        if boxes[one].intersection(boxes[other]).area > 0:
            names = f"{images[one].mask.path.name} and {images[other].mask.path.name}"
            raise FormatError(f"{names} lie over each other; objects would count twice")


def run_of_images(digest: hashlib._Hash) -> str:
    """What predictions in label images are called: the same images are the same run."""
    return f"images-{digest.hexdigest()[:8]}"


def instances_as_predictions(
    folder: Path,
    project: Project,
    stated: str,
    out: Path,
    *,
    labels: LabelMap | None = None,
    table: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> PredictionSet:
    """Put label images of numbered objects together into two rasters per slide: numbers, and labels of their classes.

    Args:
        folder, stated, table: As `numbered_images` takes them.
        project: Gives the slides' sizes and um per px.
        out: Existing empty folder for the rasters and predictions.json.
        labels: Label map that names all classes of the numbers; None makes one.
        on_progress: Called with (images done, images in all, slide).

    Raises:
        FormatError: An image cannot be read or placed, or two lie over each other.
        ConfigError: Images of a slide do not lie on one pixel grid.
        ProjectError: A slide is not in the project, or has no size there.
        LabelError: A number has no class, or the label map does not know its class.
    """
    images = numbered_images(folder, stated, table)
    names = {name for image in images for name in image.classes.classes}
    rules = with_colors(labels, project.classes) if labels else map_of_classes(names, project)
    require_classes(names, rules)
    groups = by_entry(images, project)
    entries = [entry for entry in project.entries if entry.id in groups]
    digest, tick = hashlib.sha256(), Ticker(len(images), on_progress)
    slides: list[SlidePrediction] = []
    notes: list[str] = []
    for entry, stem in zip(entries, safe_names([entry.name for entry in entries]), strict=True):
        numbers = SlideNumbers.of(groups[entry.id], rules, digest, entry.name)
        slides.append(_written(entry, numbers, rules, out, stem, tick))
        notes += numbers.notes(entry.name)
    predictions = PredictionSet(
        root=out,
        run=run_of_images(digest),
        model="label images",
        label_map=rules,
        slides=tuple(slides),
        info={"images": len(images)},
        notes=tuple(notes),
    )
    write_predictions(predictions)
    return predictions


def require_classes(names: Iterable[str], labels: LabelMap) -> None:
    """Raise LabelError unless a label map has all classes of the numbers."""
    strange = sorted(set(names) - {item.name for item in labels.classes})
    if strange:
        raise LabelError(f"--labels names no class {listed(strange, most=3)}, which --instances does")


def _written(
    entry: Entry, numbers: SlideNumbers, labels: LabelMap, out: Path, stem: str, tick: Ticker
) -> SlidePrediction:
    width, height = entry.image_size or (0, 0)
    if not width or not height:
        raise ProjectError(f"entry {entry.name!r}: the project does not say how large its image is; open it in QuPath")
    mpp = entry.mpp()
    columns, rows = level_size((width, height), numbers.downsample)
    level_mpp = None if mpp is None else mpp * numbers.downsample
    size: dict[str, Any] = {"width": columns, "height": rows, "downsample": numbers.downsample, "mpp": level_mpp}
    names = f"{stem}.labels.tif", f"{stem}.instances.tif"
    with (
        create_raster(out / names[0], colors=label_colors(labels), **size) as classes,
        create_raster(out / names[1], dtype="int32", **size) as objects,
    ):
        for index, edge in enumerate(numbers.edges):
            if edge.x >= columns or edge.y >= rows or edge.x + edge.width <= 0 or edge.y + edge.height <= 0:
                path = numbers.images[index].mask.path
                raise FormatError(f"{path}: lies outside slide {entry.name!r} ({width} x {height} px)")
            for y, strip in numbers.strips(index):
                objects.write(strip.astype(np.int32), x=edge.x, y=edge.y + y)
                classes.write(numbers.values[strip], x=edge.x, y=edge.y + y)
            tick(entry.name)
    return SlidePrediction(
        name=entry.name,
        image=entry.image_name,
        entry=str(entry.id),
        width=width,
        height=height,
        downsample=numbers.downsample,
        mpp=level_mpp,
        labels=names[0],
        instances=names[1],
    )
