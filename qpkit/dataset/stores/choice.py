"""Which store a set of tiles has, to write and to read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpkit.core.labels import LabelMap
from qpkit.dataset.stores.files import FileStore, FilesWriter, paths_by_slide
from qpkit.dataset.stores.layers import ImageFormat
from qpkit.dataset.stores.nnunet import nnunet_paths
from qpkit.dataset.stores.shards import ShardStore, ShardWriter
from qpkit.dataset.stores.slides import SlideStore
from qpkit.dataset.stores.store import StoreKind, TileStore, TileWriter


def open_writer(kind: StoreKind, root: Path, stem: str, image_format: ImageFormat) -> TileWriter:
    """Begin to write the tiles of one slide; see TileWriter.

    Args:
        kind: Of store.
        root: Folder that the table will be in.
        stem: How the slide's files begin.
        image_format: Of the pixels.
    """
    if kind == "shards":
        return ShardWriter(root, stem, image_format)
    if kind == "none":
        return TileWriter()
    return FilesWriter(root, nnunet_paths if kind == "nnunet" else paths_by_slide(stem), image_format)


def open_store(root: Path, info: Mapping[str, Any], labels: LabelMap) -> TileStore:
    """Open what an export has written; nothing is read yet.

    Args:
        root: Folder of the table.
        info: export.json.
        labels: Its label map.
    """
    kind = info.get("store", "files")
    if kind == "shards":
        return ShardStore(root)
    return SlideStore(root, info, labels) if kind == "none" else FileStore(root)
