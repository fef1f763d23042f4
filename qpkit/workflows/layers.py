"""Tiles and predictions as layers for napari: arrays that read their pixels when they are looked at. Knows no napari.

`qpkit/napari.yaml` names `napari_reader` to napari, which calls it with whatever folder is dropped into its window.

Source: npe2's reader contribution, https://napari.org/stable/plugins/building_a_plugin/guides.html#readers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from qpkit.core.labels import LabelMap, label_colors
from qpkit.dataset.manifest import INFO_NAME as TILES_NAME
from qpkit.dataset.manifest import TABLE_NAME, TileSet, read_tile_set
from qpkit.errors import FormatError
from qpkit.predictions.store import INFO_NAME, PredictionSet, SlidePrediction, read_predictions
from qpkit.rasters import open_raster

Layer = tuple[Any, dict[str, Any], str]
"""Pixels, what napari shall know of them, and "image" or "labels"."""

Key = Any
"""What stands in the brackets of an array."""

_ALL: Final = slice(None)


class LazyArray:
    """An array of which only what is asked for is read: enough of numpy's protocol for napari.

    Args:
        shape, dtype: As numpy's.
        read: Gives what a key of integers and slices, one for each axis that `read` wants to see, asks for.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: DTypeLike, read: Callable[[tuple[Key, ...]], NDArray[Any]]
    ) -> None:
        self.shape, self.dtype, self._read = shape, np.dtype(dtype), read

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Key) -> NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        if any(item is Ellipsis for item in keys):
            at = next(number for number, item in enumerate(keys) if item is Ellipsis)
            keys = (*keys[:at], *[_ALL] * (self.ndim - len(keys) + 1), *keys[at + 1 :])
        return self._read((*keys, *[_ALL] * (self.ndim - len(keys))))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


def napari_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """Say whether a path holds tiles or predictions of qpkit, as napari asks a reader.

    Args:
        path: A folder, or the predictions.json or tiles.parquet in it; of a list of several, none is taken.

    Returns:
        What reads it, or None where it is something else.
    """
    return None if _folder(path) is None else read_layers


def read_layers(path: str | Sequence[str]) -> list[Layer]:
    """Open a folder of tiles, or of predictions.

    Args:
        path: As for `napari_reader`.

    Returns:
        Of tiles their images (n, h, w, 3) and masks (n, h, w); of predictions a label layer a slide, in levels, its
        scale in um (or slide px, where um per px are not known).

    Raises:
        FormatError: Neither of the two, or damaged.
    """
    folder = _folder(path)
    if folder is None:
        raise FormatError(f"{path}: neither tiles nor predictions of qpkit")
    if (folder / INFO_NAME).is_file():
        predictions = read_predictions(folder)
        return [_prediction(predictions, slide) for slide in predictions.slides]
    return _tiles(read_tile_set(folder))


def _folder(path: str | Sequence[str]) -> Path | None:
    paths = [path] if isinstance(path, str | Path) else list(path)
    if len(paths) != 1:
        return None
    found = Path(paths[0])
    folder = found if found.is_dir() else found.parent
    is_ours = found.is_dir() or found.name in (INFO_NAME, TABLE_NAME)
    there = (folder / INFO_NAME).is_file() or ((folder / TABLE_NAME).is_file() and (folder / TILES_NAME).is_file())
    return folder if is_ours and there else None


def _tiles(tiles: TileSet) -> list[Layer]:
    side = tiles.tile_size
    scale = (1.0, tiles.mpp, tiles.mpp) if np.isfinite(tiles.mpp) else (1.0, 1.0, 1.0)
    shape = (len(tiles.tiles), side, side)

    def stack(read: Callable[[Any], NDArray[Any]]) -> Callable[[tuple[Key, ...]], NDArray[Any]]:
        def chosen(key: tuple[Key, ...]) -> NDArray[Any]:
            which = np.arange(len(tiles.tiles))[key[0]]
            if np.ndim(which) == 0:
                return read(tiles.tiles[int(which)])[key[1:]]
            return np.stack([read(tiles.tiles[int(number)])[key[1:]] for number in which])

        return chosen

    images = LazyArray((*shape, 3), np.uint8, stack(tiles.read_image))
    masks = LazyArray(shape, np.uint8, stack(tiles.read_values))
    return [
        (images, {"name": f"{tiles.root.name} images", "rgb": True, "scale": scale}, "image"),
        (masks, {"name": f"{tiles.root.name} masks", "scale": scale, **_shown(tiles.labels)}, "labels"),
    ]


def _prediction(predictions: PredictionSet, slide: SlidePrediction) -> Layer:
    path = predictions.root / slide.labels
    step = slide.mpp or slide.downsample
    about: dict[str, Any] = {"name": slide.name, "scale": (step, step), **_shown(predictions.label_map)}
    levels = _levels(path)
    return (levels if len(levels) > 1 else levels[0]), {**about, "multiscale": len(levels) > 1}, "labels"


def _levels(path: Path) -> list[LazyArray]:
    """The raster and its overviews, each half of the one before."""
    with open_raster(path) as dataset:
        count = len(dataset.overviews(1))
    return [_Level(path, number).array() for number in (None, *range(count))]


@dataclass(frozen=True, slots=True)
class _Level:
    """One level of a label raster; None is the raster itself."""

    path: Path
    overview: int | None

    def array(self) -> LazyArray:
        with self._open() as dataset:
            return LazyArray((dataset.height, dataset.width), dataset.dtypes[0], self._window)

    def _open(self) -> Any:
        return open_raster(self.path) if self.overview is None else open_raster(self.path, overview_level=self.overview)

    def _window(self, key: tuple[Key, ...]) -> NDArray[Any]:
        """Read the rows and columns that a key spans, then take what it asks for of them."""
        try:
            with self._open() as dataset:
                rows, columns = np.arange(dataset.height)[key[0]], np.arange(dataset.width)[key[1]]
                if not (np.size(rows) and np.size(columns)):
                    return np.zeros((*np.shape(rows), *np.shape(columns)), dataset.dtypes[0])
                top, left = int(np.min(rows)), int(np.min(columns))
                high, wide = int(np.max(rows)) - top + 1, int(np.max(columns)) - left + 1
                found = dataset.read(1, window=Window(left, top, wide, high))
        except RasterioError as err:
            raise FormatError(f"{self.path}: raster cannot be read ({err})") from err
        taken: NDArray[Any] = found[rows - top][..., columns - left]
        return taken


def _shown(labels: LabelMap) -> dict[str, Any]:
    """Names and colours of the values, as napari's label layers take them."""
    colors: dict[int | None, Any] = {
        value: [channel / 255 for channel in rgb] + [1.0] for value, rgb in label_colors(labels).items()
    }
    clear = [0.0, 0.0, 0.0, 0.0]
    values = list(labels.values)
    return {
        "colormap": {None: clear, labels.background: clear, labels.ignore: clear} | colors,
        "features": {"index": values, "class": [labels.name_of(value) for value in values]},
    }
