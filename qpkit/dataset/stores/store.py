"""How the pixels of tiles are written and read, wherever they are: in files, in shards, or only in the slides."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, Literal, Protocol, Self, TypeVar, get_args

from numpy.typing import NDArray

from qpkit.dataset.record import TileRecord
from qpkit.dataset.stores.layers import Layers

StoreKind = Literal["files", "shards", "none", "nnunet"]

STORES: Final[tuple[StoreKind, ...]] = get_args(StoreKind)

_THREADS: Final = 2
"""Encoders side by side."""

_WAITING: Final = 16
"""Tiles that may wait for their encoder; bounds the memory."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where a writer has put a tile; fields as in TileRecord.

    Args:
        paths: By layer.
        shard: Path of the tar file, or "".
        places: (offset, length) by layer in the shard.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    shard: str = ""
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def placed(record: TileRecord, stored: Stored) -> TileRecord:
    """Give a row of the table the places where a writer has put its tile."""
    paths = dict(stored.paths)
    image, mask = paths.pop("image", ""), paths.pop("mask", "")
    return replace(record, image=image, mask=mask, others=paths, shard=stored.shard, places=stored.places)


class TileStore(Protocol):
    """Reads tiles; several threads may do so at once."""

    def read(self, tile: TileRecord, layer: str) -> NDArray[Any]:
        """Give one layer of a tile, shaped as in `Layers`.

        Raises:
            FormatError: It is gone or damaged.
            KeyError: The tile has no such layer.
        """
        ...


class TileWriter:
    """Writes the tiles of one slide below a folder; a context manager that ends when the last one is written.

    This one writes nothing: the tiles stay in the slides.

    Attributes:
        stored: Where the tiles are, in the order they were added; complete after the block.
    """

    def __init__(self) -> None:
        self.stored: list[Stored] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Nothing to wait for."""

    def add(self, name: str, layers: Layers) -> None:
        """Hand over a tile, which must not be changed any more; `name` is unique, without folder or suffix.

        Raises:
            OSError: An earlier tile could not be written.
        """
        self.stored.append(Stored())


class BackgroundWriter(TileWriter, Generic[T]):
    """Encodes tiles in threads and collects the results in the order in which the tiles came."""

    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(_THREADS)
        self._pending: deque[Future[T]] = deque()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while self._pending and kind is None:
                self._collect(self._pending.popleft().result())
        finally:
            self._pool.shutdown(cancel_futures=True)

    def add(self, name: str, layers: Layers) -> None:
        """Hand over a tile; see TileWriter."""
        while len(self._pending) >= _WAITING:
            self._collect(self._pending.popleft().result())
        self._pending.append(self._pool.submit(self._encode, name, layers))

    def _encode(self, name: str, layers: Layers) -> T:
        """Done in a thread (encoders release the GIL)."""
        raise NotImplementedError

    def _collect(self, tile: T) -> None:
        """Called in the thread of the owner."""
        raise NotImplementedError
