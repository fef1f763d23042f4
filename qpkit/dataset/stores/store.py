"""How the pixels of tiles are written and read, wherever they are: in files, in shards, or only in the slides."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Generic, Literal, Protocol, Self, TypeVar, get_args

from numpy.typing import NDArray

from qpkit.dataset.record import TileRecord
from qpkit.dataset.stores.layers import Layers

StoreKind = Literal["files", "shards", "none", "nnunet"]

STORES: Final[tuple[StoreKind, ...]] = get_args(StoreKind)

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


class TileStore(Protocol):
    """Reads tiles; several threads may do so at once."""

    def read(self, tile: TileRecord, layer: str) -> NDArray[Any]:
        """Give one layer of a tile, shaped as in `Layers`.

        Raises:
            FormatError: It is gone or damaged.
            KeyError: The tile has no such layer.
        """
        ...


class TileWriter(Protocol):
    """Writes the tiles of one slide below a folder; a context manager that ends when the last one is written.

    Attributes:
        stored: Where the tiles are, in the order they were added; complete after the block.
    """

    stored: list[Stored]

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, name: str, layers: Layers) -> None:
        """Hand over a tile, which must not be changed any more; `name` is unique, without folder or suffix.

        Raises:
            OSError: An earlier tile could not be written.
        """
        ...


class InTheBackground(Generic[T]):
    """Does work in threads and collects the results in the order in which the work came.

    Args:
        work: Done in a thread (encoders release the GIL).
        collect: Called in the thread of the owner.
        threads: Side by side.
    """

    def __init__(self, work: Callable[[str, Layers], T], collect: Callable[[T], None], *, threads: int = 2) -> None:
        self._work, self._collect = work, collect
        self._pool = ThreadPoolExecutor(threads)
        self._pending: deque[Future[T]] = deque()

    def add(self, name: str, layers: Layers) -> None:
        """Hand over work; errors of earlier work are raised here."""
        while len(self._pending) >= _WAITING:
            self._collect(self._pending.popleft().result())
        self._pending.append(self._pool.submit(self._work, name, layers))

    def finish(self, *, is_wanted: bool) -> None:
        """Wait for what is left, or drop it."""
        try:
            while self._pending and is_wanted:
                self._collect(self._pending.popleft().result())
        finally:
            self._pool.shutdown(cancel_futures=True)


class NoWriter:
    """Writes nothing: the tiles stay in the slides.

    Attributes:
        stored: As for TileWriter; no paths.
    """

    def __init__(self) -> None:
        self.stored: list[Stored] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to wait for."""

    def add(self, name: str, layers: Layers) -> None:
        """Note that there is such a tile."""
        self.stored.append(Stored())
