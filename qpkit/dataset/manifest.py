"""tiles.parquet and export.json: what tiles there are and how they came to be. Knows no pixels but the files' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.labels import LabelMap, label_map_from_builtins
from qpkit.errors import FormatError

TABLE_NAME = "tiles.parquet"
INFO_NAME = "export.json"
FORMAT = "qpkit tiles 1"

Split = Literal["train", "val", "test"]

_PLAIN_COLUMNS = {
    "slide": pa.string(),
    "entry": pa.string(),
    "group": pa.string(),
    "split": pa.string(),
    "col": pa.int32(),
    "row": pa.int32(),
    "x": pa.float64(),
    "y": pa.float64(),
    "width": pa.float64(),
    "height": pa.float64(),
    "downsample": pa.float64(),
    "mpp": pa.float64(),
    "tissue": pa.float64(),
    "std": pa.float64(),
    "image": pa.string(),
    "mask": pa.string(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRecord:
    """One row of the table.

    Args:
        slide: Name of the slide, unique in the table.
        entry: Id of the QuPath entry, or "" for a slide without a project.
        group: What the split keeps together (slide, patient ...).
        split: "train", "val" or "test".
        col, row: Place in the slide's grid.
        x, y, width, height: The tile in slide px; whole tiles, so the last ones reach past the slide's edge.
        downsample: Slide px per tile px.
        mpp: um per tile px (NaN if the export was asked for a downsample and the slide has no mpp).
        tissue: Share of the tile that the slide's thumbnail shows as tissue, 0..1.
        std: Standard deviation over the tile's RGB values, grey levels.
        pixels: Mask pixels by value; values that the label map does not have are absent.
        image, mask: Paths relative to the table's folder, '/' between parts.
    """

    slide: str
    entry: str
    group: str
    split: Split
    col: int
    row: int
    x: float
    y: float
    width: float
    height: float
    downsample: float
    mpp: float
    tissue: float
    std: float
    pixels: Mapping[int, int]
    image: str
    mask: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSet:
    """An export folder, opened.

    Args:
        root: The folder.
        tiles: In the table's order.
        labels: What the masks' values mean.
        mpp: um per px of every tile; NaN as in TileRecord.
        tile_size: Width and height of every image and mask, px.
        info: export.json as it is (settings, versions, inputs, report).
    """

    root: Path
    tiles: tuple[TileRecord, ...]
    labels: LabelMap
    mpp: float
    tile_size: int
    info: Mapping[str, Any]

    def of_split(self, split: Split) -> tuple[TileRecord, ...]:
        """The tiles of one split, in the table's order."""
        return tuple(tile for tile in self.tiles if tile.split == split)

    def read_image(self, tile: TileRecord) -> NDArray[np.uint8]:
        """Pixels of one tile, (h, w, 3) uint8 RGB.

        Raises:
            FormatError: The file is gone, damaged, or of another size than the table says.
        """
        return _read_png(self.root / tile.image, mode="RGB", size=self.tile_size)

    def read_mask(self, tile: TileRecord) -> NDArray[np.uint8]:
        """Label mask of one tile, (h, w) uint8, values as in `labels`.

        Raises:
            FormatError: As for read_image.
        """
        return _read_png(self.root / tile.mask, mode="L", size=self.tile_size)


def _read_png(path: Path, *, mode: str, size: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert(mode) if image.mode != mode else image)
    except OSError as err:
        raise FormatError(f"{path}: tile cannot be read ({err}); export the tiles again") from err
    if pixels.shape[:2] != (size, size):
        raise FormatError(
            f"{path}: tile is {pixels.shape[1]} x {pixels.shape[0]} px where {INFO_NAME} says {size} x {size}"
        )
    return pixels


def write_tile_set(root: Path, tiles: Sequence[TileRecord], info: Mapping[str, Any]) -> None:
    """Write tiles.parquet and export.json into `root` (a folder that new_folder gave; not atomic by itself).

    Args:
        root: Where the relative paths of `tiles` start.
        tiles: In the order the table shall have.
        info: Has at least "labels" (label_map_to_builtins), "mpp" and "tile_size_px".
    """
    values = label_map_from_builtins(info["labels"]).values
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(tile, name) for tile in tiles], type=kind) for name, kind in _PLAIN_COLUMNS.items()
    }
    for value in values:
        columns[f"px_{value}"] = pa.array([tile.pixels.get(value, 0) for tile in tiles], type=pa.int64())
    pq.write_table(pa.table(columns), root / TABLE_NAME)
    text = msgspec.json.format(msgspec.json.encode({"format": FORMAT, **info}), indent=2)
    (root / INFO_NAME).write_bytes(text + b"\n")


def read_tile_set(root: Path) -> TileSet:
    """Open an export folder.

    Raises:
        FormatError: A file is missing, damaged or of another version.
    """
    info_path, table_path = root / INFO_NAME, root / TABLE_NAME
    if not info_path.is_file() or not table_path.is_file():
        raise FormatError(
            f"{root}: no {INFO_NAME} and {TABLE_NAME} there; make them with: qpkit export PROJECT -o {root}"
        )
    try:
        info = msgspec.json.decode(info_path.read_bytes(), type=dict[str, Any])
        table = pq.read_table(table_path)
    except (msgspec.DecodeError, pa.ArrowException) as err:
        raise FormatError(f"{root}: {INFO_NAME} or {TABLE_NAME} is damaged ({err}); export the tiles again") from err
    if info.get("format") != FORMAT:
        raise FormatError(f"{info_path}: format is {info.get('format')!r}, this qpkit reads {FORMAT!r}")
    missing = set(_PLAIN_COLUMNS) - set(table.column_names)
    if missing:
        raise FormatError(f"{table_path}: columns missing: {', '.join(sorted(missing))}")
    labels = label_map_from_builtins(info["labels"])
    return TileSet(
        root=root,
        tiles=tuple(_record(row) for row in table.to_pylist()),
        labels=labels,
        mpp=float("nan") if info["mpp"] is None else float(info["mpp"]),
        tile_size=int(info["tile_size_px"]),
        info=info,
    )


def _record(row: dict[str, Any]) -> TileRecord:
    pixels = {int(key[3:]): count for key, count in row.items() if key.startswith("px_") and count}
    return TileRecord(pixels=pixels, **{name: row[name] for name in _PLAIN_COLUMNS})
