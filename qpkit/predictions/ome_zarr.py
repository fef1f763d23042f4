"""A label raster as a label image of OME-Zarr 0.5: a folder of chunks, in levels, with the classes' names and colours.

zarr, which writes it, is imported here only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap, label_colors
from qpkit.core.tiles import level_size
from qpkit.errors import OutputError
from qpkit.extras import extra
from qpkit.predictions.store import SlidePrediction, read_strips

VERSION: Final = "0.5"
CHUNK: Final = 1024
"""Side of a chunk, px; chunks that hold one value only take no room."""


def require_zarr() -> Any:
    """Import zarr, or say how to install it.

    Raises:
        MissingExtraError: It is not installed.
    """
    with extra("zarr"):
        import zarr
    return zarr


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
        group = zarr.create_group(out, zarr_format=3)
        fill = labels.background if slide.within is None else labels.ignore
        arrays = [_level(group, "0", level_size((slide.width, slide.height), slide.downsample)[::-1], fill)]
        for y, bands in read_strips(raster, rows=CHUNK):
            arrays[0][y : y + bands.shape[1]] = bands[0]
        while max(arrays[-1].shape) > CHUNK:
            arrays.append(_halved(group, arrays[-1], str(len(arrays))))
        group.attrs["ome"] = _described(labels, slide, levels=len(arrays))
    except OSError as err:
        raise OutputError(f"{out}: cannot be written ({err.strerror or err}); is the disk full?") from err


def _halved(group: Any, larger: Any, name: str) -> Any:
    rows, columns = larger.shape
    array = _level(group, name, (-(-rows // 2), -(-columns // 2)), larger.fill_value)
    for y, strip in _strips(larger):
        array[y // 2 : y // 2 + -(-len(strip) // 2)] = strip[::2, ::2]
    return array


def _strips(array: Any) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for y in range(0, array.shape[0], 2 * CHUNK):
        yield y, array[y : y + 2 * CHUNK]


def _level(group: Any, name: str, shape: tuple[int, int], fill: int) -> Any:
    return group.create_array(
        name, shape=shape, dtype="uint8", chunks=(CHUNK, CHUNK), fill_value=fill, dimension_names=("y", "x")
    )


def _described(labels: LabelMap, slide: SlidePrediction, *, levels: int) -> dict[str, Any]:
    """Metadata as https://ngff.openmicroscopy.org/0.5 has them."""
    unit = {} if slide.mpp is None else {"unit": "micrometer"}
    step = slide.mpp or 1.0
    # Every value has a colour; what is no class is not seen.
    clear = {value: [0, 0, 0, 0] for value in labels.values}
    colors = clear | {value: [*rgb, 255] for value, rgb in label_colors(labels).items()}
    return {
        "version": VERSION,
        "multiscales": [
            {
                "name": slide.name,
                "axes": [{"name": name, "type": "space", **unit} for name in ("y", "x")],
                "datasets": [
                    {
                        "path": str(level),
                        "coordinateTransformations": [{"type": "scale", "scale": [step * 2**level] * 2}],
                    }
                    for level in range(levels)
                ],
                "type": "nearest",
            }
        ],
        "image-label": {
            "colors": [{"label-value": value, "rgba": color} for value, color in colors.items()],
            "properties": [{"label-value": value, "class": labels.name_of(value)} for value in labels.values],
        },
    }
