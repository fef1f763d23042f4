"""Label images of other programs as a predictions folder, so that they take the same way into QuPath."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap, label_colors, with_colors
from qpkit.core.pictures import open_large_image
from qpkit.errors import ConfigError, FormatError, ProjectError, listed
from qpkit.files import safe_names
from qpkit.ops.masks.rasterize import count_values
from qpkit.predictions import PredictionSet, SlidePrediction, create_raster, write_predictions
from qpkit.predictions.store import BLOCK
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.qupath import Entry, Project

_NAME_PX: Final = 0.5 + 1e-6
"""Slide px by which a place may miss the pixel grid: QuPath rounds the numbers in names to whole slide px."""

_SUFFIXES: Final = (".png", ".tif", ".tiff")

_TILE_NAME: Final = re.compile(
    r"^(?P<slide>.*?) *\[(?:d=(?P<d>[\d.]+),)?x=(?P<x>-?\d+),y=(?P<y>-?\d+),w=(?P<w>\d+),h=(?P<h>\d+)"
    r"(?:,z=(?P<z>\d+))?(?:,t=(?P<t>\d+))?\]"
)
"""What QuPath's TileExporter calls a tile: "NAME [d=2,x=0,y=1024,w=1024,h=1024].png", d left out at 1, all in
slide px; label tiles may have more behind the bracket. Source: TileExporter, same in 0.2-0.7."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedMask:
    """One label image: which slide, its corner in slide px, slide px per px."""

    path: Path
    slide: str
    x: float
    y: float
    downsample: float


def masks_as_predictions(
    folder: Path,
    project: Project,
    labels: LabelMap,
    out: Path,
    *,
    table: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> PredictionSet:
    """Put label images together into one raster per slide.

    Args:
        folder: PNG or TIFF label images.
        project: Gives the slides' sizes and um per px.
        labels: What the values mean. Where images overlap, the one that comes later (by name, by row) wins.
        out: Existing empty folder for the rasters and predictions.json.
        table: CSV with columns file, slide, x, y and optionally downsample, in slide px; None reads file names as
            QuPath's tile exporter writes them.

    Returns:
        The predictions; the run's id comes from the images' content, so importing the same images twice changes
        nothing.

    Raises:
        FormatError: A name or a row does not say where an image lies, an image holds unknown values, or all images
            together nothing but ignore and background.
        ConfigError: Images of one slide do not lie on one pixel grid.
        ProjectError: A slide is not in the project.
    """
    masks = placed_masks(folder, table)
    by_entry: dict[int, list[PlacedMask]] = defaultdict(list)
    entries = {entry.id: entry for entry in project.entries}
    for mask in masks:
        by_entry[_entry_named(project, mask.slide).id].append(mask)
    colored = with_colors(labels, project.classes)
    digest = hashlib.sha256()
    found: Counter[int] = Counter()
    tick = Ticker(len(by_entry), on_progress)
    stems = safe_names([entries[entry_id].name for entry_id in sorted(by_entry)])
    slides = []
    overlaps = 0
    for entry_id, stem in zip(sorted(by_entry), stems, strict=True):
        entry = entries[entry_id]
        overlaps += _overlaps(by_entry[entry_id])
        slides.append(_write_raster(entry, by_entry[entry_id], colored, out / f"{stem}.labels.tif", digest, found))
        tick(entry.name)
    notes = _notes_on_ignored(folder, found, colored)
    if overlaps:
        notes += (
            f"{overlaps:,} pair(s) of label images lie over each other: there the later one (by name, by row) counts",
        )
    predictions = PredictionSet(
        root=out,
        run=f"masks-{digest.hexdigest()[:8]}",
        model="masks",
        label_map=colored,
        slides=tuple(slides),
        info={"masks": len(masks)},
        notes=notes,
    )
    write_predictions(predictions)
    return predictions


def _overlaps(masks: Sequence[PlacedMask]) -> int:
    """How many pairs of a slide's images lie over each other.

    Raises:
        FormatError: Two lie in the very same place.
    """
    sizes = [_size(mask.path) for mask in masks]
    boxes = [
        shapely.box(m.x, m.y, m.x + width * m.downsample, m.y + height * m.downsample)
        for m, (width, height) in zip(masks, sizes, strict=True)
    ]
    pairs = shapely.STRtree(boxes).query(boxes, predicate="intersects").T
    areas = [(i, j, boxes[i].intersection(boxes[j]).area) for i, j in pairs.tolist() if i < j]
    for i, j, area in areas:
        if area == boxes[i].area == boxes[j].area:
            names = f"{masks[i].path.name} and {masks[j].path.name}"
            raise FormatError(f"{names} both lie at x={masks[i].x:g}, y={masks[i].y:g} of {masks[i].slide!r}; keep one")
    # A place between pixels may reach over the next image by less than one.
    return sum(area > min(boxes[i].area, boxes[j].area) / 100 for i, j, area in areas)


def _notes_on_ignored(folder: Path, found: Mapping[int, int], labels: LabelMap) -> tuple[str, ...]:
    """Say how many pixels mean ignore, of which nothing can be made; raise FormatError if that is all there is."""
    ignored = found.get(labels.ignore, 0)
    if not ignored:
        return ()
    said = f"{ignored:,} px have the value {labels.ignore}, which the label map calls ignore"
    if not any(found.get(item.value) for item in labels.classes):
        raise FormatError(
            f"{folder}: {said}, and no px has a class: nothing can be made of them; if {labels.ignore} is a class, say "
            f"ignore = {labels.ignore - 1 or 254} in the label map"
        )
    return (f"{said}: they count as background",)


def placed_masks(folder: Path, table: Path | None = None) -> list[PlacedMask]:
    """Find the label images of a folder and their places, by a table or by their names; as `masks_as_predictions`.

    Raises:
        FormatError: A name or a row does not say where an image lies.
    """
    return _from_table(folder, table) if table else _from_names(folder)


def _from_names(folder: Path) -> list[PlacedMask]:
    masks = []
    for path in _images(folder):
        match = _TILE_NAME.match(path.name)
        if match is None:
            raise FormatError(
                f"{path}: the name does not say where it lies, as 'NAME [x=0,y=1024,w=512,h=512].png' does; "
                "give a --table with file,slide,x,y,downsample"
            )
        masks.append(_named_mask(path, match))
    return masks


def _named_mask(path: Path, match: re.Match[str]) -> PlacedMask:
    """Place an image by its name, whose parts have to agree with its size."""
    width, height = _size(path)
    try:
        downsample = float(match["d"]) if match["d"] else int(match["w"]) / width
    except ValueError:
        downsample = math.nan
    mask = PlacedMask(path=path, slide=match["slide"], x=int(match["x"]), y=int(match["y"]), downsample=downsample)
    _check(mask, str(path))
    if abs(int(match["w"]) / downsample - width) > 1 or abs(int(match["h"]) / downsample - height) > 1:
        raise FormatError(
            f"{path}: is {width} x {height} px where its name makes it {int(match['w']) / downsample:g} x "
            f"{int(match['h']) / downsample:g} (w and h are slide px)"
        )
    if match["z"] not in (None, "0") or match["t"] not in (None, "0"):
        raise FormatError(f"{path}: lies on z={match['z']}, t={match['t']}; only z=0, t=0 can be imported")
    return mask


def _check(mask: PlacedMask, where: str) -> None:
    """Raise FormatError unless a mask's place is made of usable numbers."""
    if not all(map(math.isfinite, (mask.x, mask.y, mask.downsample))) or mask.downsample <= 0:
        raise FormatError(
            f"{where}: x, y and a downsample above 0 are needed, not {mask.x}, {mask.y}, {mask.downsample}"
        )


def _from_table(folder: Path, table: Path) -> list[PlacedMask]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as err:
        raise FormatError(f"{table}: table cannot be read ({err})") from err
    if not rows:
        raise FormatError(f"{table}: the table has no rows")
    return [_from_row(folder, table, number, row) for number, row in enumerate(rows, start=2)]


def _from_row(folder: Path, table: Path, number: int, row: dict[str, str]) -> PlacedMask:
    try:
        mask = PlacedMask(
            path=folder / row["file"],
            slide=row["slide"],
            x=float(row["x"]),
            y=float(row["y"]),
            downsample=float(row.get("downsample") or 1),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise FormatError(f"{table}: line {number} needs file, slide, x, y as numbers of slide px ({err})") from err
    _check(mask, f"{table}: line {number}")
    if not mask.path.is_file():
        raise FormatError(f"{table}: line {number}: no file {mask.path}")
    return mask


def _images(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES) if folder.is_dir() else []
    if not found:
        raise FormatError(f"{folder}: no label images (PNG or TIFF) there")
    return found


def _size(path: Path) -> tuple[int, int]:
    try:
        with open_large_image(path) as image:
            return image.size
    except OSError as err:
        raise FormatError(f"{path}: label image cannot be read ({err})") from err


def _entry_named(project: Project, slide: str) -> Entry:
    """The entry with this name, with or without the file's extension (QuPath's exporter strips it)."""
    found = project.called(slide)
    if len(found) != 1:
        there = listed(repr(e.name) for e in project.entries)
        raise ProjectError(f"{project.path}: {len(found)} entries for masks of slide {slide!r} (entries: {there})")
    return found[0]


def _write_raster(
    entry: Entry, masks: Sequence[PlacedMask], labels: LabelMap, path: Path, digest: hashlib._Hash, found: Counter[int]
) -> SlidePrediction:
    """Write a slide's raster; the images' values are added to `digest`, and counted in `found`."""
    downsample = masks[0].downsample
    width, height = entry.image_size or (0, 0)
    if not width or not height:
        raise ProjectError(f"entry {entry.name!r}: the project does not say how large its image is; open it in QuPath")
    mpp = entry.mpp()
    with create_raster(
        path,
        width=math.ceil(width / downsample - 1e-6),
        height=math.ceil(height / downsample - 1e-6),
        downsample=downsample,
        mpp=None if mpp is None else mpp * downsample,
        colors=label_colors(labels),
    ) as raster:
        # What is not written is 0; where no image lies there is background.
        if labels.background:
            for y in range(0, raster.height, BLOCK):
                raster.write(np.full((BLOCK, raster.width), labels.background, dtype=np.uint8), x=0, y=y)
        for mask in masks:
            pixels = _read(mask.path, labels, found)
            digest.update(f"{entry.name}/{mask.x}/{mask.y}/{mask.downsample}".encode() + pixels.tobytes())
            x, y = on_grid(mask, mask.x, downsample), on_grid(mask, mask.y, downsample)
            if x >= raster.width or y >= raster.height or x + pixels.shape[1] <= 0 or y + pixels.shape[0] <= 0:
                raise FormatError(f"{mask.path}: lies outside slide {entry.name!r} ({width} x {height} px)")
            raster.write(pixels, x=x, y=y)
    return SlidePrediction(
        name=entry.name,
        image=entry.image_name,
        entry=str(entry.id),
        width=width,
        height=height,
        downsample=downsample,
        mpp=None if mpp is None else mpp * downsample,
        labels=path.name,
    )


def _read(path: Path, labels: LabelMap, found: Counter[int]) -> NDArray[np.uint8]:
    """Label values as background where the map says ignore; 8-bit grey or palette images."""
    try:
        with open_large_image(path) as image:
            if image.mode not in ("L", "P", "1"):
                raise FormatError(
                    f"{path}: mode {image.mode} is not a label image (8-bit grey or palette); if each number is an "
                    "object, give --instances CLASS"
                )
            pixels = np.array(image, dtype=np.uint8)
    except OSError as err:
        raise FormatError(f"{path}: label image cannot be read ({err})") from err
    try:
        found.update(count_values(pixels, labels.values))
    except ValueError as err:
        raise FormatError(f"{path}: {err}") from err
    pixels[pixels == labels.ignore] = labels.background
    return pixels


def on_grid(mask: PlacedMask, position: float, downsample: float) -> int:
    """Raster px of a mask's edge.

    Raises:
        ConfigError: It lies between pixels, or the mask has another downsample than its slide's others.
    """
    place = position / downsample
    if mask.downsample != downsample or abs(place - round(place)) * downsample > _NAME_PX:
        raise ConfigError(
            f"{mask.path}: {position:g} slide px at downsample {mask.downsample:g} is not on the pixel grid of "
            f"downsample {downsample:g} that its slide's other masks have; import them in runs of one grid each"
        )
    return round(place)
