"""tiles.parquet and export.json: what tiles there are and how they came to be. Pixels are the store's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from qpkit.core.labels import LabelMap, label_map_from_builtins
from qpkit.dataset.record import ORIGINS, Split, TileRecord
from qpkit.dataset.stores.choice import open_store
from qpkit.dataset.stores.store import TileStore
from qpkit.errors import FormatError, listed
from qpkit.files import pretty_json
from qpkit.ops.masks.rasterize import one_value_each

TABLE_NAME = "tiles.parquet"
INFO_NAME = "export.json"
FORMAT = "qpkit tiles 1"

_BASE_LAYERS: Final = ("image", "mask")

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
class TileSet:
    """An export folder, opened.

    Args:
        root: The folder.
        tiles: In the table's order.
        labels: What the masks' values mean.
        mpp: um per px of every tile; NaN as in TileRecord.
        tile_size: Width and height of every image and mask, px.
        info: export.json as it is (settings, versions, inputs, report).
        layers: Names of what every tile has, "image" and "mask" first.
        store: Where the tiles are read from.
    """

    root: Path
    tiles: tuple[TileRecord, ...]
    labels: LabelMap
    mpp: float
    tile_size: int
    info: Mapping[str, Any]
    layers: tuple[str, ...]
    store: TileStore

    def of_split(self, split: Split) -> tuple[TileRecord, ...]:
        """The tiles of one split, in the table's order."""
        return tuple(tile for tile in self.tiles if tile.split == split)

    def read(self, tile: TileRecord, layer: str) -> NDArray[Any]:
        """Read one layer of a tile, shaped as in `qpkit.dataset.stores.layers.Layers`.

        Raises:
            FormatError: It is gone, damaged, or of another size than the table says, or the export has no such layer.
        """
        if layer not in self.layers:
            raise FormatError(f"{self.root}: the tiles have no layer {layer!r}, only {listed(self.layers)}")
        pixels = self.store.read(tile, layer)
        if layer.startswith("mask") and self.labels.masks == "multi-label" and pixels.ndim == 2:
            pixels = pixels[np.newaxis]  # TIFF does not tell one channel from none
        rows, columns = pixels.shape[:2] if layer.startswith("image") else pixels.shape[-2:]
        if (rows, columns) != (self.tile_size, self.tile_size):
            raise FormatError(
                f"{self.where(tile, layer)}: {layer} of tile {tile.key} is "
                f"{columns} x {rows} px where {INFO_NAME} says {self.tile_size} x {self.tile_size}"
            )
        return pixels

    def where(self, tile: TileRecord, layer: str) -> str:
        """Name the file that a layer lies in, for messages; the table for tiles that lie in none."""
        return str(self.root / (tile.shard or tile.path_of(layer) or TABLE_NAME))

    def read_image(self, tile: TileRecord) -> NDArray[np.uint8]:
        """Pixels of one tile, (h, w, 3) uint8 RGB; errors as `read`."""
        return self.read(tile, "image")

    def read_mask(self, tile: TileRecord) -> NDArray[np.uint8]:
        """Label mask of one tile, (h, w) uint8, values as in `labels`; errors as `read`.

        Multi-label masks are (channels, h, w), a channel for each class of `labels`: 1 inside, 0 outside, `ignore`.
        """
        return self.read(tile, "mask")

    def read_values(self, tile: TileRecord) -> NDArray[np.uint8]:
        """Mask of one tile with one value a pixel, (h, w) uint8, to look at; of several classes the last; as `read`."""
        mask = self.read_mask(tile)
        return mask if mask.ndim == 2 else one_value_each(mask, self.labels)


def write_tile_set(root: Path, tiles: Sequence[TileRecord], info: Mapping[str, Any]) -> None:
    """Write tiles.parquet and export.json into `root` (a folder that new_folder gave; not atomic by itself).

    Args:
        root: Where the relative paths of `tiles` start.
        tiles: In the order the table shall have.
        info: Has at least "labels" (label_map_to_builtins), "mpp" and "tile_size_px"; "layers" and "store" where
            there is more than files of images and masks.
    """
    values = label_map_from_builtins(info["labels"]).values
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(tile, name) for tile in tiles], type=kind) for name, kind in _PLAIN_COLUMNS.items()
    }
    for value in values:
        columns[f"px_{value}"] = pa.array([tile.pixels.get(value, 0) for tile in tiles], type=pa.int64())
    for name in ORIGINS:
        if any(name in tile.origins for tile in tiles):
            columns[f"{name}_px"] = pa.array([tile.origins.get(name, 0) for tile in tiles], type=pa.int64())
    if "predicted_px" in columns:
        columns["predicted_by"] = pa.array([tile.predicted_by for tile in tiles], type=pa.string())
        columns["predicted_probability"] = pa.array([tile.predicted_probability for tile in tiles], type=pa.float64())
    layers = info.get("layers", _BASE_LAYERS)
    for layer in layers[2:]:
        columns[layer] = pa.array([tile.others.get(layer, "") for tile in tiles], type=pa.string())
    if info.get("store") == "shards":
        columns["shard"] = pa.array([tile.shard for tile in tiles], type=pa.string())
        for layer in layers:
            for i, part in enumerate(("at", "bytes")):
                columns[f"{layer}_{part}"] = pa.array([tile.places[layer][i] for tile in tiles], type=pa.int64())
    pq.write_table(pa.table(columns), root / TABLE_NAME)
    (root / INFO_NAME).write_bytes(pretty_json({"format": FORMAT, **info}) + b"\n")


def require_tile_set(root: Path) -> None:
    """Raise unless this looks like an export folder; cheap, for before anything heavy is imported.

    Raises:
        FormatError: A file is missing.
    """
    if not (root / INFO_NAME).is_file() or not (root / TABLE_NAME).is_file():
        raise FormatError(
            f"{root}: no {INFO_NAME} and {TABLE_NAME} there; make them with: qpkit export PROJECT -o {root} (of images "
            "and masks: qpkit import-tiles)"
        )


def read_tile_set(root: Path) -> TileSet:
    """Open an export folder.

    Raises:
        FormatError: A file is missing, damaged or of another version.
    """
    require_tile_set(root)
    info_path, table_path = root / INFO_NAME, root / TABLE_NAME
    try:
        info = msgspec.json.decode(info_path.read_bytes(), type=dict[str, Any])
        table = pq.read_table(table_path)
    except (msgspec.DecodeError, pa.ArrowException) as err:
        raise FormatError(f"{root}: {INFO_NAME} or {TABLE_NAME} is damaged ({err}); export the tiles again") from err
    if info.get("format") != FORMAT:
        raise FormatError(f"{info_path}: format is {info.get('format')!r}, this qpkit reads {FORMAT!r}")
    missing = set(_PLAIN_COLUMNS) - set(table.column_names)
    if missing:
        raise FormatError(f"{table_path}: columns missing: {listed(sorted(missing))}")
    labels = label_map_from_builtins(info["labels"])
    layers = tuple(info.get("layers", _BASE_LAYERS))
    return TileSet(
        root=root,
        tiles=tuple(_record(row, layers) for row in table.to_pylist()),
        labels=labels,
        mpp=float("nan") if info["mpp"] is None else float(info["mpp"]),
        tile_size=int(info["tile_size_px"]),
        info=info,
        layers=layers,
        store=open_store(root, info, labels),
    )


def _record(row: dict[str, Any], layers: Sequence[str]) -> TileRecord:
    shard = row.get("shard", "")
    return TileRecord(
        pixels={int(key[3:]): count for key, count in row.items() if key.startswith("px_") and count},
        others={layer: row[layer] for layer in layers[2:]},
        shard=shard,
        places={layer: (row[f"{layer}_at"], row[f"{layer}_bytes"]) for layer in layers} if shard else {},
        origins={name: row[f"{name}_px"] for name in ORIGINS if row.get(f"{name}_px") is not None},
        predicted_by=row.get("predicted_by") or "",
        predicted_probability=row.get("predicted_probability"),
        **{name: row[name] for name in _PLAIN_COLUMNS},
    )
