"""What a model has answered for a slide so far, on disk: a process that is killed loses the batch it was at.

A file of records that is only ever added to. Each record has its length and checksum before it, so that one which a
killed process or a full disk has cut off is recognised: what stands before it counts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import imagecodecs
import msgspec
import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile, TileGrid
from qpkit.errors import OutputError
from qpkit_train.inference.pixels.rasters import SlideRasters
from qpkit_train.inference.pixels.reading import TileReader
from qpkit_train.models.card import Answer

_HEAD: Final = struct.Struct("<II")
_LEVEL: Final = 1
"""Of zstd: 0.1 ms for a tile of labels, 2.4 ms for one of three probabilities (768 px, to a fifth)."""


class _Array(msgspec.Struct, frozen=True, array_like=True):
    shape: tuple[int, ...]
    packed: bytes


class _Record(msgspec.Struct, frozen=True, array_like=True):
    places: list[tuple[int, int]]
    broken: list[tuple[int, int, str]]
    arrays: list[_Array | None]
    looks: list[tuple[int, int, list[float]]]


@dataclass(frozen=True, slots=True)
class Entry:
    """Some tiles as they were handed to the rasters.

    Args:
        tiles: In their order.
        answer: To them.
        broken: Why tiles could not be read, by (col, row).
        looks: What tiles look like, by (col, row), where it is wanted.
    """

    tiles: Sequence[Tile]
    answer: Answer
    broken: dict[tuple[int, int], str]
    looks: dict[tuple[int, int], NDArray[np.float64]] = field(default_factory=dict)


class AnsweredTiles:
    """Writes answers into rasters and into a journal.

    Args:
        rasters: Of the slide.
        journal: Of the slide, or None to keep none.

    Attributes:
        places: (col, row) of the tiles that were written.
        broken, looks: Of the tiles that were replayed, as `Entry` has them.
    """

    def __init__(self, rasters: SlideRasters, journal: Journal | None) -> None:
        self._rasters, self._journal = rasters, journal
        self.places: set[tuple[int, int]] = set()
        self.broken: dict[tuple[int, int], str] = {}
        self.looks: dict[tuple[int, int], NDArray[np.float64]] = {}

    def replay(self, grid: TileGrid) -> None:
        """Write what the journal has from an earlier process."""
        for entry in self._journal.replay(grid) if self._journal is not None else ():
            self.broken.update(entry.broken)
            self.looks.update(entry.looks)
            self._write(entry)

    def write(self, tiles: Sequence[Tile], answer: Answer, reader: TileReader) -> None:
        """Write an answer; `reader` knows which tiles could not be read, and what they look like."""
        places = [(tile.col, tile.row) for tile in tiles]
        broken = {place: reader.broken[place] for place in places if place in reader.broken}
        looks = {place: reader.looks[place] for place in places if place in reader.looks}
        entry = Entry(tiles, answer, broken, looks)
        if self._journal is not None:
            self._journal.add(entry)
        self._write(entry)

    def _write(self, entry: Entry) -> None:
        self._rasters.write(entry.tiles, entry.answer, entry.broken)
        self.places.update((tile.col, tile.row) for tile in entry.tiles)


class Journal:
    """Takes up the answers for one slide; use as a context manager.

    Args:
        path: File to make.
        earlier: Of a process that was killed; its records come first.
    """

    def __init__(self, path: Path, earlier: Path | None = None) -> None:
        self._path, self._earlier = path, earlier
        self._file = path.open("wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def replay(self, grid: TileGrid) -> Iterator[Entry]:
        """Give what an earlier process had been answered, and take it up here."""
        if self._earlier is None:
            return
        for body in _bodies(self._earlier):
            try:
                record = msgspec.msgpack.decode(body, type=_Record)
            except msgspec.DecodeError:  # of another qpkit
                return
            self._add(body)
            yield Entry(
                tiles=[grid.tile(*place) for place in record.places],
                answer=Answer(*map(_unpacked, record.arrays)),  # type: ignore[arg-type] # None but for the first
                broken={(col, row): why for col, row, why in record.broken},
                looks={(col, row): np.array(look) for col, row, look in record.looks},
            )

    def add(self, entry: Entry) -> None:
        """Take up an answer.

        Raises:
            OutputError: It cannot be written.
        """
        record = _Record(
            places=[(tile.col, tile.row) for tile in entry.tiles],
            broken=[(*place, why) for place, why in entry.broken.items()],
            arrays=[None if array is None else _packed(array) for array in entry.answer],
            looks=[(*place, look.tolist()) for place, look in entry.looks.items()],
        )
        self._add(msgspec.msgpack.encode(record))

    def _add(self, body: bytes) -> None:
        content = _HEAD.pack(len(body), zlib.crc32(body)) + body
        try:
            written = self._file.write(content)
        except OSError as err:
            raise OutputError(f"{self._path}: cannot be written ({err.strerror}); is the disk full?") from err
        if written != len(content):
            raise OutputError(f"{self._path}: cannot be written in full; is the disk full?")


def _bodies(path: Path) -> Iterator[bytes]:
    """Records of a file up to the first that is not whole."""
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            body = file.read(length)
            if len(body) != length or zlib.crc32(body) != checksum:
                return
            yield body


def _packed(array: NDArray[np.uint8]) -> _Array:
    return _Array(array.shape, bytes(imagecodecs.zstd_encode(array.tobytes(), level=_LEVEL)))


def _unpacked(array: _Array | None) -> NDArray[np.uint8] | None:
    if array is None:
        return None
    # A copy: rasters write into what they are given.
    return np.frombuffer(imagecodecs.zstd_decode(array.packed), np.uint8).reshape(array.shape).copy()
