"""A label raster as a label image of OME-Zarr 0.5: a folder of levels, with names and colours of classes."""

from __future__ import annotations

from pathlib import Path

from qpkit.core.labels import LabelMap
from qpkit.core.tiles import level_size
from qpkit.errors import OutputError
from qpkit.formats.shared.ome_labels import CHUNK, require_zarr, write_label_image
from qpkit.predictions.store import SlidePrediction, read_strips

__all__ = ["CHUNK", "require_zarr", "write_ome_zarr"]


def write_ome_zarr(raster: Path, out: Path, labels: LabelMap, slide: SlidePrediction) -> None:
    """Write a label raster once more, as a folder that OME-Zarr viewers open.

    Each level picks every second row and column of the one above it, until one fits into a chunk.

    Args:
        raster: The raster of labels.
        out: Folder to make.
        labels: What its values mean.
        slide: Name and um per px.

    Raises:
        MissingExtraError: zarr is not installed.
        OutputError: The disk is full.
    """
    zarr = require_zarr()
    try:
        write_label_image(
            zarr.create_group(out, zarr_format=3),
            ((y, bands[0]) for y, bands in read_strips(raster, rows=CHUNK)),
            shape=level_size((slide.width, slide.height), slide.downsample)[::-1],
            fill=labels.background if slide.within is None else labels.ignore,
            labels=labels,
            name=slide.name,
            step_um=slide.mpp,
        )
    except OSError as err:
        raise OutputError(f"{out}: cannot be written ({err.strerror or err}); is the disk full?") from err
