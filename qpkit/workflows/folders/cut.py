"""The tiles of one image and its mask: pixels as they are, masks by what they mean, ignore beside the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile, TileGrid
from qpkit.dataset.instances import write_instances
from qpkit.dataset.record import Split, TileRecord
from qpkit.dataset.stores.choice import open_writer
from qpkit.dataset.stores.layers import INSTANCES, ImageFormat, Layers
from qpkit.dataset.stores.store import placed
from qpkit.ops.masks.rasterize import count_values
from qpkit.ops.tissue import rgb_std
from qpkit.progress import Ticker
from qpkit.slides import open_source
from qpkit.workflows.folders.mask_facts import read_mask
from qpkit.workflows.folders.meaning import MaskMeaning
from qpkit.workflows.folders.membership import Membership
from qpkit.workflows.folders.pictures import Picture
from qpkit.workflows.folders.plan import AnyMeaning, FolderPlan


def cut_picture(
    picture: Picture, member: Membership, grid: TileGrid, plan: FolderPlan, root: Path, stem: str, tick: Ticker
) -> list[TileRecord]:
    """Write the tiles of one image below `root`, in files that begin with `stem`; gives their rows of the table."""
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
            records.append(record_of(picture, member, tile, std=std, pixels=pixels))
            tick(picture.name)
    if numbers is not None:
        objects = [] if picture.mask is None or isinstance(plan.meaning, MaskMeaning) else plan.meaning.instances(
            picture.mask.found, picture.pair.key)  # fmt: skip
        write_instances(root / f"{INSTANCES}/{stem}.csv", objects)
    return [placed(record, stored) for record, stored in zip(records, writer.stored, strict=True)]


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


def record_of(picture: Picture, member: Membership, tile: Tile, *, std: float, pixels: Mapping[int, int]) -> TileRecord:
    """The row of a tile, without its paths."""
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
