"""Annotations as tiles and masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qpkit.files import AnyPath, paths_of
from qpkit.progress import OnProgress, no_progress
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.shard import ShardReport
from qpkit.workflows.export.shard import export_shard as export_part
from qpkit.workflows.export.tiles import ExportReport, export_tiles
from qpkit.workflows.inputs.settings import ALL_SLIDES, SlideSettings
from qpkit.workflows.inputs.slides import project_classes, slide_inputs


def export(
    paths: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    settings: ExportSettings | None = None,
    *,
    slides: SlideSettings = ALL_SLIDES,
    annotations: AnyPath | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> ExportReport:
    """Write annotations as tiles and masks at a stated resolution.

    A slide that breaks off while it is read is left out and named in the report. If the process is killed, the same
    call goes on where it was.

    Args:
        paths: QuPath projects or slide files.
        out: Folder to make: tiles, tiles.parquet, export.json.
        settings: What is written.
        slides: Which slides, and how they are read.
        annotations: GeoJSON with the annotations of the one slide.
        workers: Slides exported side by side, each in a process of its own.
        scheduler: Do the slides on a Dask cluster, such as tcp://node1:8786.
        overwrite: Replace an export that is there.
        on_progress: Called with (tiles done, tiles in all, slide).

    Raises:
        QpkitError: As `qpkit.workflows.export.tiles.export_tiles` and `slide_inputs` say.
    """
    broken: dict[str, str] = {}
    places = paths_of(paths)
    inputs = slide_inputs(places, slides, annotations=annotations, broken=broken)
    return export_tiles(
        inputs,
        Path(out),
        settings or ExportSettings(),
        classes=project_classes(places),
        overwrite=overwrite,
        workers=workers,
        scheduler=scheduler,
        broken=broken,
        on_progress=on_progress,
    )


def export_shard(
    paths: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    settings: ExportSettings | None = None,
    *,
    shard: tuple[int, int],
    slides: SlideSettings = ALL_SLIDES,
    annotations: AnyPath | None = None,
    workers: int = 1,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> ShardReport:
    """Do the `shard[0]`-th of `shard[1]` parts of an export, for array jobs; the last one that ends makes `out`.

    Args:
        paths, out, settings, slides, annotations, workers, overwrite, on_progress: As in `export`.
        shard: (number, count), the first is 1.

    Raises:
        QpkitError: As `export`.
    """
    broken: dict[str, str] = {}
    places = paths_of(paths)
    inputs = slide_inputs(places, slides, annotations=annotations, broken=broken)
    return export_part(
        inputs,
        Path(out),
        settings or ExportSettings(),
        shard,
        classes=project_classes(places),
        overwrite=overwrite,
        workers=workers,
        broken=broken,
        on_progress=on_progress,
    )
