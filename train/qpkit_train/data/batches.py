"""From files of tiles to batches in memory: read, encode labels, crop. uint8 all the way; no device."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit.compiled import compiled
from qpkit.core.labels import LabelMap
from qpkit.dataset import TileRecord, TileSet
from qpkit.dataset.stores.slides import SlideStore
from qpkit.errors import LabelError, listed
from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.data.ahead import read_ahead
from qpkit_train.data.sampler import Epoch, Group
from qpkit_train.data.surroundings import joined_images, read_sample, surrounding_corner

_UNKNOWN = 254
"""Class index that stands for a value the label map does not have, until the reader refuses the mask."""


@dataclass(frozen=True, slots=True)
class MiniBatch:
    """Some tiles or crops.

    Args:
        images: (n, 3 k, h, w) uint8 RGB of k concentric images, the tile's own first, margins included.
        targets: (n, h, w) uint8 class indices (i means labels.trained_values[i]) or IGNORE_INDEX.
        tiles: (n,) int64 indices of the tiles that they are from; -1 for one that only stands for an empty part.
        first: Place of the first one in the batch that all processes read together.
        total: Size of that batch.
        margin: px on each side that are there to be moved into the crops by augmentation.
    """

    images: Tensor
    targets: Tensor
    tiles: Tensor
    first: int
    total: int
    margin: int = 0

    def pinned(self) -> MiniBatch:
        """The same in memory that a GPU copies from while it computes; the channels stay last in it."""
        images = self.images.movedim(1, -1).pin_memory().movedim(-1, 1)
        return replace(self, images=images, targets=self.targets.pin_memory())


class TileReader:
    """Reads tiles as pixels and class indices, and keeps them in memory up to a bound.

    What is in the cache stays there: dropping the oldest for the newest would miss every time when epochs read all
    tiles in turn.

    Args:
        tile_set: Where the files are.
        cache_mb: Bound of the cache, MB.
        table: Class index by mask value, as class_index_table gives it; of the tiles' own label map if left out.
        factors: How many times their surroundings the images of a sample show, 1 first.

    Attributes:
        tile_size: Width and height of every tile, px.
        is_asking: Whether each sample has a target of its own (`asked`), which tiles alone do not have.
    """

    is_asking = False

    def __init__(
        self,
        tile_set: TileSet,
        *,
        cache_mb: int = 0,
        table: NDArray[np.uint8] | None = None,
        factors: Sequence[int] = (1,),
    ) -> None:
        self._tile_set, self._factors, self._step = tile_set, tuple(factors), math.lcm(*factors)
        self.tile_size = tile_set.tile_size
        self._table = class_index_table(tile_set.labels) if table is None else table
        self._room = cache_mb * 1_000_000
        self._cache: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}

    def read(self, tile: TileRecord) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read (h, w, 3 k) uint8 pixels and (h, w) uint8 class indices of one tile; do not write into them.

        Raises:
            FormatError: A file is gone, damaged or of a wrong size.
            LabelError: The mask has a value that the label map does not.
        """
        kept = self._cache.get(tile.key)
        if kept is not None:
            return kept
        image = read_sample(self._tile_set, tile, self._factors)
        target = self._encoded(tile, self._tile_set.read_mask(tile))
        size = image.nbytes + target.nbytes
        if size <= self._room:
            self._room -= size
            self._cache[tile.key] = image, target
        return image, target

    def crop(
        self,
        tile: TileRecord,
        wanted: Sequence[int],
        *,
        side: int,
        rng: np.random.Generator,
        free: bool = False,
        margin: int = 0,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read a random crop that holds a pixel of the wanted classes; see `crop_corner`.

        What of the margin is beyond the tile is mirrored in the image and unknown in the mask; free crops have the
        slide there. Surroundings are those of the crop, each with the same margin in px of its own; their mirror is at
        the edge of the tile's.

        Args:
            tile: Where from.
            wanted: Class indices.
            side: Of the crop, px, at most the tile's.
            rng: Drawn from twice or three times.
            free: The crop may reach beyond the tile; only where tiles are read from slides.
            margin: px more on each side.

        Returns:
            As `read`, (side + 2 margin, side + 2 margin) px; errors as there.
        """
        store = self._tile_set.store
        if not isinstance(store, SlideStore) or (margin and not free) or self.is_asking:
            image, target = self.read(tile)
            target, wanted = self.asked(tile, target, wanted, rng)
            row, col = crop_corner(target, wanted, side=side, rng=rng, step=self._step)
            corners = [surrounding_corner(row, col, side, self.tile_size, factor) for factor in self._factors]
            parts = [_cut(image[..., 3 * i : 3 * i + 3], *at, side, margin) for i, at in enumerate(corners)]
            return joined_images(parts), _cut(target, row, col, side, margin, beyond=IGNORE_INDEX)
        # The corner is chosen by what the tile itself shows, whatever lies beside it.
        target = self._encoded(tile, self._tile_set.read_mask(tile))
        row, col = crop_corner(target, wanted, side=side, rng=rng, free=free, step=self._step)
        place = {"x": col, "y": row, "side": side, "margin": margin}
        pixels = joined_images([store.window(tile, "image", factor=factor, **place) for factor in self._factors])
        return pixels, self._encoded(tile, store.window(tile, "mask", **place))

    def whole(
        self, tile: TileRecord, wanted: Sequence[int], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read a tile with what it is asked about; as `read`, and as `asked`."""
        image, target = self.read(tile)
        return image, self.asked(tile, target, wanted, rng)[0]

    def asked(
        self, tile: TileRecord, target: NDArray[np.uint8], wanted: Sequence[int], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Sequence[int]]:
        """The target of a tile as this sample learns it, and which values of it a crop should hold; all of it here."""
        return target, wanted

    def _encoded(self, tile: TileRecord, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        target = self._table[mask]
        if (target == _UNKNOWN).any():
            values = np.unique(mask[target == _UNKNOWN]).tolist()
            raise LabelError(
                f"{self._tile_set.where(tile, 'mask')}: mask of tile {tile.key} has value "
                f"{listed(map(str, values))}, "
                f"the label map only {listed(map(str, self._tile_set.labels.values))}; export the tiles again"
            )
        return target


def class_index_table(labels: LabelMap, indices: Mapping[int, int] | None = None) -> NDArray[np.uint8]:
    """(256,) uint8: class index by mask value, its place in `labels.trained_values` or what `indices` says.

    Raises:
        LabelError: More than 253 classes, which no mask with ignore can tell apart here.
    """
    if len(labels.trained_values) >= _UNKNOWN:
        raise LabelError(f"{len(labels.trained_values)} classes are more than the 253 that can be trained")
    table = np.full(256, _UNKNOWN, np.uint8)
    table[labels.ignore] = IGNORE_INDEX
    places = {value: index for index, value in enumerate(labels.trained_values)}
    for value, index in (places if indices is None else indices).items():
        table[value] = index
    return table


def mask_values(target: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.uint8]:
    """Turn class indices into values of the label map; the inverse of class_index_table. Same shape."""
    table = np.full(256, labels.ignore, np.uint8)
    table[: len(labels.trained_values)] = labels.trained_values
    return np.asarray(table[target])


@dataclass(frozen=True, slots=True)
class EpochBatches:
    """The batches of one training epoch, crops included.

    The crop at position p of epoch e depends on (seed, e, p) alone. A crop shows at least one pixel of what its tile
    was drawn for: a lesion for a positive tile, known background for a negative one.

    Args:
        reader: Of the tiles.
        tiles: The list that the epoch's indices point into.
        epoch: What to show.
        groups: The sampler's.
        crop_px: Side of the crops; 0 or more than the tile for whole tiles.
        key: (seed, epoch number), and whatever else tells rows of crops apart.
        free: Crops may reach beyond their tiles.
        margin: px more around each crop, which its sampler and its size do not know of; whole tiles have none.
        rank, ranks: Which of how many processes reads; each takes its part of every batch. Where a last batch has
            fewer tiles than there are processes, an empty part is one tile without labels, which batch norms
            see and no loss does.
    """

    reader: TileReader
    tiles: Sequence[TileRecord]
    epoch: Epoch
    _: KW_ONLY
    groups: Sequence[Group]
    crop_px: int
    key: tuple[int, ...]
    free: bool = False
    margin: int = 0
    rank: int = 0
    ranks: int = 1

    def __len__(self) -> int:
        return len(self.epoch)

    def __getitem__(self, index: int) -> MiniBatch:
        """Read batch `index`; errors as TileReader.read."""
        start, stop = self.epoch.starts[index : index + 2].tolist()
        places = self.epoch.places(index, rank=self.rank, ranks=self.ranks)
        pairs, tiles = [self._crop_at(at) for at in places.tolist()], self.epoch.tiles[places]
        if not pairs:
            image, target = self._crop_at(start)
            pairs, tiles = [(image, np.full_like(target, IGNORE_INDEX))], np.array([-1])
        first = int(places[0]) - start if len(places) else 0
        margin = 0 if self._shows_whole_tiles() else self.margin
        return _stack(pairs, tiles, first=first, total=stop - start, margin=margin)

    def _shows_whole_tiles(self) -> bool:
        return not 0 < self.crop_px < self.reader.tile_size

    def _crop_at(self, at: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        tile = self.tiles[self.epoch.tiles[at]]
        wanted = self.groups[self.epoch.groups[at]].wanted
        rng = np.random.default_rng((*self.key, at))
        if self._shows_whole_tiles():
            return self.reader.whole(tile, wanted, rng)
        return self.reader.crop(tile, wanted, side=self.crop_px, rng=rng, free=self.free, margin=self.margin)


class WholeTiles:
    """Batches of whole tiles in their order, for validation; of several processes, each takes every n-th."""

    def __init__(
        self, reader: TileReader, tiles: Sequence[TileRecord], *, batch_size: int, rank: int = 0, ranks: int = 1
    ) -> None:
        self._reader, self._tiles, self._batch_size = reader, tiles, batch_size
        self._starts = range(0, len(tiles), batch_size)[rank::ranks]

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> MiniBatch:
        """Read batch `index`; errors as TileReader.read."""
        start = self._starts[index]
        chosen = self._tiles[start : start + self._batch_size]
        places = np.arange(start, start + len(chosen))
        rngs = map(np.random.default_rng, places)
        pairs = [self._reader.whole(tile, (), rng) for tile, rng in zip(chosen, rngs, strict=True)]
        return _stack(pairs, places, first=0, total=len(chosen))


def crop_corner(
    target: NDArray[np.uint8],
    wanted: Sequence[int],
    *,
    side: int,
    rng: np.random.Generator,
    free: bool = False,
    step: int = 1,
) -> tuple[int, int]:
    """Choose the top-left (row, col) of a crop that holds a random pixel of the wanted classes.

    Args:
        target: (h, w) class indices, h and w at least `side`.
        wanted: Class indices; where the tile has none of them, any known pixel will do, then any pixel.
        side: Of the crop, px.
        rng: Drawn from twice or three times.
        free: The corner may lie outside, so that the pixel is anywhere in the crop with the same probability.
        step: Row and col are multiples of it, so that px of surroundings line up; `side`, h and w are, too.
    """
    chosen = np.zeros(256, np.bool_)
    chosen[list(wanted)] = True
    flat = target.reshape(-1)
    count = compiled(_count)(flat, chosen)
    if not count:
        chosen[:] = True
        chosen[IGNORE_INDEX] = False
        count = compiled(_count)(flat, chosen)
    height, width = target.shape
    at = compiled(_find)(flat, chosen, rng.integers(count)) if count else int(rng.integers(target.size))
    row, col = divmod(at, width)
    if free:
        return _free_corner(row, side, step, rng), _free_corner(col, side, step, rng)
    return _corner(row, side, height, step, rng), _corner(col, side, width, step, rng)


def _count(values: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> int:
    """Count the values that are chosen; compiled, as numpy would keep the lock that the training needs."""
    count = 0
    for value in values:
        count += chosen[value]
    return count


def _find(values: NDArray[np.uint8], chosen: NDArray[np.bool_], place: int) -> int:
    """Find where the chosen value number `place` is."""
    for at in range(len(values)):
        place -= chosen[values[at]]
        if place < 0:
            return at
    return -1


def _free_corner(at: int, side: int, step: int, rng: np.random.Generator) -> int:
    """Draw a multiple of `step` so that [start, start + side) holds `at`; all are as likely."""
    return (at // step - int(rng.integers(side // step))) * step


def _corner(at: int, side: int, length: int, step: int, rng: np.random.Generator) -> int:
    """Draw a multiple of `step` so that [start, start + side) holds `at` and lies in [0, length)."""
    first, last = max(0, -(-(at - side + 1) // step)), min(at, length - side) // step
    return int(rng.integers(first, last + 1)) * step


def _cut(
    pixels: NDArray[np.uint8], row: int, col: int, side: int, margin: int, *, beyond: int | None = None
) -> NDArray[np.uint8]:
    """Cut a square with a margin out of (h, w, ...); beyond the edges it is mirrored, or has the value `beyond`."""
    starts, stops = (row - margin, col - margin), (row + side + margin, col + side + margin)
    there = tuple(slice(max(start, 0), stop) for start, stop in zip(starts, stops, strict=True))
    missing = [
        (max(-start, 0), max(stop - length, 0))
        for start, stop, length in zip(starts, stops, pixels.shape, strict=False)
    ]
    if not any(any(pair) for pair in missing):
        return pixels[there]
    widths = missing + [(0, 0)] * (pixels.ndim - 2)
    if beyond is None:
        return np.pad(pixels[there], widths, mode="symmetric")
    return np.pad(pixels[there], widths, constant_values=beyond)


def _stack(
    pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    tiles: NDArray[np.int64],
    *,
    first: int,
    total: int,
    margin: int = 0,
) -> MiniBatch:
    images = torch.from_numpy(np.stack([image for image, _ in pairs])).movedim(-1, 1)
    targets = torch.from_numpy(np.stack([target for _, target in pairs]))
    return MiniBatch(images, targets, torch.from_numpy(tiles.astype(np.int64)), first, total, margin)


class Prefetcher:
    """Iterates over batches, reading some ahead in threads (Pillow decodes without Python's lock).

    Args:
        batches: Read by index, in order.
        workers: Threads; 0 reads each batch when it is asked for.
        pin: Pin them, in the threads, for a GPU.

    Attributes:
        waited: Seconds that the consumer spent waiting for batches so far.
    """

    def __init__(self, batches: EpochBatches | WholeTiles, *, workers: int, pin: bool = False) -> None:
        self._batches, self._workers, self._pin = batches, workers, pin
        self.waited = 0.0

    def __iter__(self) -> Iterator[MiniBatch]:
        order = range(len(self._batches))
        threads = self._workers
        source = read_ahead(self._read, order, workers=threads, waiting=threads) if threads else map(self._read, order)
        while True:
            started = time.perf_counter()
            batch = next(source, None)
            self.waited += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    def _read(self, index: int) -> MiniBatch:
        batch = self._batches[index]
        return batch.pinned() if self._pin else batch
