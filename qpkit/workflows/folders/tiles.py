"""qpkit import-tiles: a folder of images and masks to tiles, masks and a table."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import msgspec

from qpkit.core.tiles import Tile, TileGrid
from qpkit.dataset.counts import common_mpp, split_counts
from qpkit.dataset.leakage import find_leakage
from qpkit.dataset.manifest import INFO_NAME, write_tile_set
from qpkit.dataset.record import TileRecord
from qpkit.errors import ConfigError, listed
from qpkit.files import new_folder, require_free, safe_names
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.workflows.folders.cut import cut_picture, record_of
from qpkit.workflows.folders.plan import FolderPlan, plan_import
from qpkit.workflows.folders.report import FolderReport, PictureReport, folder_info, notes_on_tiles, report_on
from qpkit.workflows.folders.settings import FolderSettings


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
            own = cut_picture(picture, member, grid, plan, root, stem, tick)
            records += own
            reports.append(report_on(picture, member, own))
        report = FolderReport(
            mpp=common_mpp(records),
            labels=plan.labels,
            tile_size=plan.tile_size,
            paired=plan.paired,
            pictures=tuple(reports),
            splits=split_counts(records, plan.labels),
            notes=(*plan.notes, *notes_on_tiles(records, plan)),
            seconds=time.perf_counter() - start,
        )
        write_tile_set(root, records, folder_info(plan, report, out.resolve()))
    return report


def _refuse_leakage(plan: FolderPlan) -> None:
    """Refuse groups and identical images in several splits, unless that is allowed.

    Raises:
        ConfigError: Names both, and how to allow it.
    """
    whole = [
        record_of(p, m, Tile(col=0, row=0, x=0, y=0, width=p.width, height=p.height), std=math.nan, pixels={})
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


def holds_job(out: Path, job: str) -> bool:
    """Say whether a folder holds the tiles of this very plan (see `FolderPlan.job`)."""
    try:
        info = msgspec.json.decode((out / INFO_NAME).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return False
    return info.get("job") == job
