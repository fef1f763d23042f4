"""What an import of a folder did: the report, and export.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from qpkit.core.labels import LabelMap, label_map_to_builtins
from qpkit.dataset.counts import count_tiles, single_value
from qpkit.dataset.record import TileRecord
from qpkit.dataset.stores.layers import INSTANCES
from qpkit.dataset.stores.slides import StreamedSlide, path_beside
from qpkit.errors import listed
from qpkit.files import quick_hash, sha256
from qpkit.workflows.folders.meaning import MaskMeaning
from qpkit.workflows.folders.membership import Membership
from qpkit.workflows.folders.pictures import Picture
from qpkit.workflows.folders.plan import FolderPlan
from qpkit.workflows.inputs.versions import versions

MASKS_KEY: Final = "masks"
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


def report_on(picture: Picture, member: Membership, records: Sequence[TileRecord]) -> PictureReport:
    """Count what became of an image."""
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


def notes_on_tiles(records: Sequence[TileRecord], plan: FolderPlan) -> list[str]:
    """Say what the tiles lack: a second value, pixels of a class, tiles of which something is known."""
    counts = count_tiles(records, plan.labels)
    one = single_value(counts.pixels, plan.labels)
    notes = [one] if one else []
    unseen = [item.name for item in plan.labels.classes if not counts.pixels[item.value]]
    if unseen:
        notes.append(f"no mask shows {listed(map(repr, unseen))}")
    if counts.unknown:
        notes.append(f"{counts.unknown:,} of {counts.tiles:,} tiles are ignore only; no training shows them")
    return notes


def folder_info(plan: FolderPlan, report: FolderReport, out: Path) -> dict[str, Any]:
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
        "slides": [msgspec.to_builtins(_slide_row(picture, plan, out)) for picture in plan.pictures],
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


def _slide_row(picture: Picture, plan: FolderPlan, out: Path) -> StreamedSlide:
    path = picture.pair.image.resolve()
    return StreamedSlide(
        name=picture.name,
        path=str(path),
        beside=path_beside(path, out),
        quick_hash=quick_hash(path),
        mpp=picture.mpp,
        width=picture.width,
        height=picture.height,
        origin=str(plan.folder.resolve()),
    )
