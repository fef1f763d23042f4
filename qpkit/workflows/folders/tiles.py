"""qpkit import-tiles: a folder of images and masks to tiles, masks and a table."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap, label_map_to_builtins
from qpkit.core.tiles import Tile, TileGrid
from qpkit.dataset.counts import common_mpp, count_tiles, single_value, split_counts
from qpkit.dataset.instances import write_instances
from qpkit.dataset.leakage import find_leakage
from qpkit.dataset.manifest import INFO_NAME, write_tile_set
from qpkit.dataset.record import Split, TileRecord
from qpkit.dataset.stores.choice import open_writer
from qpkit.dataset.stores.layers import INSTANCES, ImageFormat, Layers
from qpkit.dataset.stores.slides import StreamedSlide
from qpkit.dataset.stores.store import Stored
from qpkit.errors import ConfigError, listed
from qpkit.files import new_folder, quick_hash, require_free, safe_names, sha256
from qpkit.ops.masks.rasterize import count_values
from qpkit.ops.tissue import rgb_std
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.slides import open_source
from qpkit.workflows.folders.mask_facts import read_mask
from qpkit.workflows.folders.meaning import MaskMeaning
from qpkit.workflows.folders.membership import Membership
from qpkit.workflows.folders.pictures import Picture
from qpkit.workflows.folders.plan import AnyMeaning, FolderPlan, plan_import
from qpkit.workflows.folders.settings import FolderSettings
from qpkit.workflows.inputs.versions import versions

MASKS_KEY = "masks"
"""Where export.json says what mask pixels meant, so that masks of the same kind are read in the same way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureReport:
    """What became of an image.

    Args:
        name: Of the image.
        split: It is in.
        width, height: px.
        tiles: It was cut into.
        objects: Numbers in its mask, where each is an object.
        pixels: Tile px by mask value; ignore beside the image, too.
    """

    name: str
    split: str
    width: int
    height: int
    tiles: int
    objects: int
    pixels: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReport:
    """What an import of a folder did; `notes` says what was assumed and left out."""

    mpp: float | None
    labels: LabelMap
    tile_size: int
    paired: str
    pictures: tuple[PictureReport, ...]
    splits: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    seconds: float

    @property
    def tiles_written(self) -> int:
        """Tiles, all images together."""
        return sum(picture.tiles for picture in self.pictures)


def import_folder(
    folder: Path,
    out: Path,
    settings: FolderSettings,
    *,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> FolderReport:
    """Write tiles, masks, tiles.parquet and export.json of a folder of images and masks.

    Images are cut as they are, masks have the stated values exactly; what lies beside an image is white and ignore.

    Args:
        folder: Of images and masks.
        out: Folder to make; on any error nothing is left there.
        settings: How the folder is read; its dataset.toml is in them already.
        overwrite: Replace tiles that are there.
        on_progress: Called with (work done, work in all, name).

    Raises:
        ProjectError, FormatError, LabelError: As `plan_import` says.
        ConfigError: As `plan_import`, or one image is in two splits.
        OutputError: `out` holds something, or the disk is full.
    """
    start = time.perf_counter()
    require_free(out, marker=INFO_NAME, overwrite=overwrite)
    return write_plan(plan_import(folder, settings, on_progress=on_progress), out, overwrite=overwrite, start=start,
                      on_progress=on_progress)  # fmt: skip


def write_plan(
    plan: FolderPlan,
    out: Path,
    *,
    overwrite: bool = False,
    start: float,
    on_progress: OnProgress = no_progress,
) -> FolderReport:
    """Do what a plan says; as `import_folder`, which began at `start` (perf_counter)."""
    _refuse_leakage(plan)
    grids = [
        TileGrid(slide_width=p.width, slide_height=p.height, tile_size=plan.tile_size, overlap=plan.settings.overlap)
        for p in plan.pictures
    ]
    tick = Ticker(sum(map(len, grids)), on_progress)
    stems = safe_names([picture.name for picture in plan.pictures])
    records: list[TileRecord] = []
    reports: list[PictureReport] = []
    with new_folder(out, marker=INFO_NAME, overwrite=overwrite) as root:
        for picture, member, grid, stem in zip(plan.pictures, plan.members, grids, stems, strict=True):
            own = _cut(picture, member, grid, plan, root, stem, tick)
            records += own
            reports.append(_report_on(picture, member, own))
        report = FolderReport(
            mpp=common_mpp(records),
            labels=plan.labels,
            tile_size=plan.tile_size,
            paired=plan.paired,
            pictures=tuple(reports),
            splits=split_counts(records, plan.labels),
            notes=(*plan.notes, *_notes_on_tiles(records, plan)),
            seconds=time.perf_counter() - start,
        )
        write_tile_set(root, records, _info(plan, report, out.resolve()))
    return report


def _refuse_leakage(plan: FolderPlan) -> None:
    """Refuse groups and identical images in several splits, unless that is allowed.

    Raises:
        ConfigError: Names both, and how to allow it.
    """
    whole = [
        _record(p, m, Tile(col=0, row=0, x=0, y=0, width=p.width, height=p.height), std=math.nan, pixels={})
        for p, m in zip(plan.pictures, plan.members, strict=True)
    ]
    leakage = find_leakage(
        whole,
        [record.split for record in whole],
        groups=[record.group for record in whole],
        images={picture.name: picture.pixels_sha256 for picture in plan.pictures},
        patients={},
    )
    refused = [kind for kind in leakage.kinds if kind not in plan.settings.allow]
    if "image" in refused:
        twins = listed((" = ".join(names) for names in leakage.images), most=1)
        raise ConfigError(
            f"{len(leakage.images)} identical image(s) in several splits ({twins}); remove one, "
            "or if that is wanted, add --allow-leakage image"
        )
    if refused:
        raise ConfigError(
            f"{len(leakage.groups)} group(s) in several splits ({listed(leakage.groups, most=2)}); --split group draws "
            "the split anew, or if that is wanted, add --allow-leakage group"
        )


def _cut(
    picture: Picture, member: Membership, grid: TileGrid, plan: FolderPlan, root: Path, stem: str, tick: Ticker
) -> list[TileRecord]:
    """Write the tiles of one image."""
    values, numbers = _decoded(picture, plan.meaning)
    records = []
    with (
        open_source(picture.source) as slide,
        open_writer(plan.settings.store, root, stem, ImageFormat()) as writer,
    ):
        for tile in grid:
            image = slide.read(tile)
            mask = cut_out(values, tile, outside=plan.labels.ignore)
            layers: Layers = {"image": image, "mask": mask}
            if numbers is not None:
                layers = {**layers, INSTANCES: cut_out(numbers, tile, outside=0)}
            writer.add(f"{stem}_x{tile.x}_y{tile.y}", layers)
            std = rgb_std(image[: picture.height - tile.y, : picture.width - tile.x])
            pixels = count_values(mask, plan.labels.values)
            records.append(_record(picture, member, tile, std=std, pixels=pixels))
            tick(picture.name)
    if numbers is not None:
        objects = [] if picture.mask is None or isinstance(plan.meaning, MaskMeaning) else plan.meaning.instances(
            picture.mask.found, picture.pair.key)  # fmt: skip
        write_instances(root / f"{INSTANCES}/{stem}.csv", objects)
    return [_stored(record, stored) for record, stored in zip(records, writer.stored, strict=True)]


def _decoded(picture: Picture, meaning: AnyMeaning) -> tuple[NDArray[np.uint8], NDArray[np.uint32] | None]:
    """Label values of an image, (h, w), all ignore without a mask; and numbers of objects, where masks have them."""
    if picture.pair.mask is None:
        values = np.full((picture.height, picture.width), meaning.labels.ignore, np.uint8)
        return values, None if isinstance(meaning, MaskMeaning) else np.zeros(values.shape, np.uint32)
    read = read_mask(picture.pair.mask)
    if isinstance(meaning, MaskMeaning):
        return meaning.decode(read, picture.pair.mask), None
    return meaning.decode(read, picture.pair.mask, picture.pair.key)


def cut_out(pixels: NDArray[Any], tile: Tile, *, outside: int) -> NDArray[Any]:
    """The part of a picture (h, w) that a tile shows; `outside` where the tile reaches past it."""
    part = pixels[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width]
    if part.shape == (tile.height, tile.width):
        return np.ascontiguousarray(part)
    whole = np.full((tile.height, tile.width), outside, pixels.dtype)
    whole[: part.shape[0], : part.shape[1]] = part
    return whole


def _record(picture: Picture, member: Membership, tile: Tile, *, std: float, pixels: Mapping[int, int]) -> TileRecord:
    split: Split = member.split or "train"
    return TileRecord(
        slide=picture.name,
        entry="",
        group=member.group,
        split=split,
        col=tile.col,
        row=tile.row,
        x=float(tile.x),
        y=float(tile.y),
        width=float(tile.width),
        height=float(tile.height),
        downsample=1.0,
        mpp=math.nan if picture.mpp is None else picture.mpp,
        tissue=1.0,
        std=round(std, 3),
        pixels=pixels,
        image="",
        mask="",
    )


def _stored(record: TileRecord, stored: Stored) -> TileRecord:
    paths = dict(stored.paths)
    image, mask = paths.pop("image", ""), paths.pop("mask", "")
    return replace(record, image=image, mask=mask, others=paths, shard=stored.shard, places=stored.places)


def _report_on(picture: Picture, member: Membership, records: Sequence[TileRecord]) -> PictureReport:
    has_objects = bool(records) and INSTANCES in {**records[0].others, **records[0].places}
    return PictureReport(
        name=picture.name,
        split=member.split or "train",
        width=picture.width,
        height=picture.height,
        tiles=len(records),
        objects=len(set(picture.mask.found) - {0}) if picture.mask is not None and has_objects else 0,
        pixels=sum((Counter(record.pixels) for record in records), Counter[int]()),
    )


def _notes_on_tiles(records: Sequence[TileRecord], plan: FolderPlan) -> list[str]:
    counts = count_tiles(records, plan.labels)
    one = single_value(counts.pixels, plan.labels)
    notes = [one] if one else []
    unseen = [item.name for item in plan.labels.classes if not counts.pixels[item.value]]
    if unseen:
        notes.append(f"no mask shows {listed(map(repr, unseen))}")
    if counts.unknown:
        notes.append(f"{counts.unknown:,} of {counts.tiles:,} tiles are ignore only; no training shows them")
    return notes


def _info(plan: FolderPlan, report: FolderReport, out: Path) -> dict[str, Any]:
    """The content of export.json; without times, so that the same folder makes the same bytes."""
    is_numbered = not isinstance(plan.meaning, MaskMeaning)
    told = {
        "notes": report.notes,
        "paired": report.paired,
        "splits": report.splits,
        "pictures": report.pictures,
    }
    return {
        "job": plan.job,
        "mpp": report.mpp,
        "tile_size_px": plan.tile_size,
        "store": plan.settings.store,
        "layers": ["image", "mask", *([INSTANCES] if is_numbered else [])],
        "labels": label_map_to_builtins(plan.labels),
        MASKS_KEY: plan.meaning.to_builtins(),
        "settings": {**plan.settings.to_builtins(), "split": plan.split_by, "tile_size_px": plan.tile_size},
        "versions": versions(),
        "inputs": [_input_row(picture) for picture in plan.pictures],
        "slides": [msgspec.to_builtins(_slide_row(picture, out)) for picture in plan.pictures],
        "report": msgspec.to_builtins(told, str_keys=True),
    }


def _input_row(picture: Picture) -> dict[str, str]:
    mask = picture.pair.mask
    return {
        "name": picture.name,
        "slide": picture.pair.image.name,
        "slide_quick_hash": quick_hash(picture.pair.image),
        "pixels_sha256": picture.pixels_sha256,
        "reader": picture.reader,
        **({} if mask is None else {"mask": mask.name, "mask_sha256": sha256(mask)}),
    }


def _slide_row(picture: Picture, out: Path) -> StreamedSlide:
    path = picture.pair.image.resolve()
    try:
        beside = Path(os.path.relpath(path, out)).as_posix()
    except ValueError:  # another drive
        beside = str(path)
    return StreamedSlide(
        name=picture.name,
        path=str(path),
        beside=beside,
        quick_hash=quick_hash(path),
        mpp=picture.mpp,
        width=picture.width,
        height=picture.height,
    )


def holds_job(out: Path, job: str) -> bool:
    """Say whether a folder holds the tiles of this very plan (see `FolderPlan.job`)."""
    try:
        info = msgspec.json.decode((out / INFO_NAME).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return False
    return info.get("job") == job
