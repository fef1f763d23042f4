"""Label images of OME-Zarr 0.5: a group of levels, with the names and colours of the values.

zarr, which writes and reads it, is imported here only.

Source: https://ngff.openmicroscopy.org/0.5, "labels" and "image-label" metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap, label_colors
from qpkit.extras import extra

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


def write_label_image(
    group: Any,
    strips: Iterable[tuple[int, NDArray[np.uint8]]],
    *,
    shape: tuple[int, int],
    fill: int,
    labels: LabelMap,
    name: str,
    step_um: float | None,
    corner_um: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Write labels into a group of zarr: levels 0, 1, ..., each every second row and column of the one above it.

    Args:
        group: A new group of zarr.
        strips: (y, (h, w) uint8) from the top, of CHUNK rows each.
        shape: (h, w) of all of it.
        fill: The value that takes no room.
        labels: What the values mean.
        name: Of the image.
        step_um: um per px, or None if unknown; then one px is one unit.
        corner_um: (x, y) of the first pixel's corner on the slide, um or units.

    Raises:
        OSError: The disk is full.
    """
    arrays = [_level(group, "0", shape, fill)]
    for y, strip in strips:
        arrays[0][y : y + len(strip)] = strip
    while max(arrays[-1].shape) > CHUNK:
        arrays.append(_halved(group, arrays[-1], str(len(arrays))))
    group.attrs["ome"] = _described(labels, name, step_um, corner_um, levels=len(arrays))


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


def _described(
    labels: LabelMap, name: str, step_um: float | None, corner_um: tuple[float, float], *, levels: int
) -> dict[str, Any]:
    unit = {} if step_um is None else {"unit": "micrometer"}
    step = step_um or 1.0
    # Every value has a colour; what is no class is not seen.
    clear = {value: [0, 0, 0, 0] for value in labels.values}
    colors = clear | {value: [*rgb, 255] for value, rgb in label_colors(labels).items()}

    def place(level: int) -> list[dict[str, Any]]:
        scale = {"type": "scale", "scale": [step * 2**level] * 2}
        moved = {"type": "translation", "translation": [float(value) for value in corner_um[::-1]]}
        return [scale, moved] if any(corner_um) else [scale]

    return {
        "version": VERSION,
        "multiscales": [
            {
                "name": name,
                "axes": [{"name": axis, "type": "space", **unit} for axis in ("y", "x")],
                "datasets": [{"path": str(n), "coordinateTransformations": place(n)} for n in range(levels)],
                "type": "nearest",
            }
        ],
        "image-label": {
            "colors": [{"label-value": value, "rgba": color} for value, color in colors.items()],
            "properties": [{"label-value": value, "class": labels.name_of(value)} for value in labels.values],
        },
    }
