"""A file per tile and layer: images/SLIDE/SLIDE_x0_y512.png, masks/SLIDE/SLIDE_x0_y512.png and so on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qpkit.dataset.record import TileRecord
from qpkit.dataset.stores.layers import ImageFormat, Layers, decode, encode, folder_of, suffix_of
from qpkit.dataset.stores.store import BackgroundWriter, Stored
from qpkit.errors import FormatError

PathOf = Callable[[str, str, str], str]
"""(layer, tile name, suffix) to a path relative to the table."""


def paths_by_slide(stem: str) -> PathOf:
    """Lay files out as images/STEM/NAME.png, masks/STEM/NAME.png, instances/STEM/NAME.tif."""
    return lambda layer, name, suffix: f"{folder_of(layer)}/{stem}/{name}{suffix}"


class FilesWriter(BackgroundWriter[Stored]):
    """Writes tiles as files; use as a context manager.

    Args:
        root: The folder.
        path_of: Where each file goes.
        image_format: Of the pixels.

    Attributes:
        stored: Where the tiles are, in the order they were added.
    """

    def __init__(self, root: Path, path_of: PathOf, image_format: ImageFormat) -> None:
        super().__init__()
        self._root, self._path_of, self._format = root, path_of, image_format

    def _encode(self, name: str, layers: Layers) -> Stored:
        paths = {}
        for layer, pixels in layers.items():
            suffix = suffix_of(layer, pixels, self._format)
            paths[layer] = self._path_of(layer, name, suffix)
            _save(self._root / paths[layer], encode(pixels, suffix, quality=self._format.quality))
        return Stored(paths=paths)

    def _collect(self, tile: Stored) -> None:
        self.stored.append(tile)


def _save(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class FileStore:
    """Reads what FilesWriter wrote, or anyone else whose table leads to pictures.

    Args:
        root: Where the table's paths start.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, tile: TileRecord, layer: str) -> NDArray[Any]:
        """Give one layer of a tile; see TileStore."""
        path = self._root / tile.path_of(layer)
        try:
            content = path.read_bytes()
        except OSError as err:
            raise FormatError(f"{path}: tile cannot be read ({err.strerror}); export the tiles again") from err
        return decode(content, layer, str(path))
