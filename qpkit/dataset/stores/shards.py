"""Tar files of tiles, as WebDataset streams them; the table knows each member's place, so any tile is one read away.

A shard holds tiles of one slide: for each a member per layer, KEY.image.png, KEY.mask.png ..., and KEY.json.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any, Final

import msgspec
from numpy.typing import NDArray

from qpkit.dataset.record import TileRecord
from qpkit.dataset.stores.layers import ImageFormat, Layers, decode, encode, suffix_of
from qpkit.dataset.stores.store import BackgroundWriter, Stored
from qpkit.errors import FormatError

SHARD_BYTES: Final = 256_000_000
"""A shard that has reached this size is full."""

Encoded = tuple[str, dict[str, tuple[str, bytes]]]
"""Key of a tile; by layer the member's name and content."""


class ShardWriter(BackgroundWriter[Encoded]):
    """Writes the tiles of one slide as shards/STEM-0000.tar and so on; use as a context manager.

    Args:
        root: The folder.
        stem: How file names begin.
        image_format: Of the pixels.

    Attributes:
        stored: Where the tiles are, in the order they were added.
    """

    def __init__(self, root: Path, stem: str, image_format: ImageFormat) -> None:
        super().__init__()
        self._root, self._stem, self._format = root, stem, image_format
        self._tar: tarfile.TarFile | None = None
        self._shard = ""
        self._number = 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            super().__exit__(kind)
        finally:
            if self._tar is not None:
                self._tar.close()

    def _encode(self, name: str, layers: Layers) -> Encoded:
        key = name.replace(".", "_")  # WebDataset takes everything behind the first dot for the suffix
        members = {}
        for layer, pixels in layers.items():
            suffix = suffix_of(layer, pixels, self._format)
            members[layer] = f"{key}.{layer}{suffix}", encode(pixels, suffix, quality=self._format.quality)
        return key, members

    def _collect(self, tile: Encoded) -> None:
        key, members = tile
        tar = self._open_tar()
        places = {}
        for layer, (member, content) in members.items():
            _add(tar, member, content)
            # From the end: how long the header is depends on the name.
            places[layer] = tar.offset - _padded(len(content)), len(content)
        paths = {layer: member for layer, (member, _) in members.items()}
        _add(tar, f"{key}.json", msgspec.json.encode({"slide": self._stem, "layers": paths}))
        self.stored.append(Stored(paths=paths, shard=self._shard, places=places))

    def _open_tar(self) -> tarfile.TarFile:
        if self._tar is not None and self._tar.offset >= SHARD_BYTES:
            self._tar.close()
            self._tar = None
        if self._tar is None:
            self._shard = f"shards/{self._stem}-{self._number:04}.tar"
            self._number += 1
            path = self._root / self._shard
            path.parent.mkdir(parents=True, exist_ok=True)
            self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        return self._tar


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Append a member without time and owner, so that the same tiles make the same bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _padded(length: int) -> int:
    return -(-length // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


class ShardStore:
    """Reads tiles from shards, each with one read at its place.

    Args:
        root: Where the table's paths start.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, tile: TileRecord, layer: str) -> NDArray[Any]:
        """Give one layer of a tile; see TileStore."""
        name, (offset, length) = tile.path_of(layer), tile.places[layer]
        path = self._root / tile.shard
        try:
            with path.open("rb") as file:
                file.seek(offset)
                content = file.read(length)
        except OSError as err:
            raise FormatError(f"{path}: shard cannot be read ({err.strerror}); export the tiles again") from err
        if len(content) != length:
            raise FormatError(f"{path}: shard ends before {name}; export the tiles again")
        return decode(content, layer, f"{path}: {name}")
