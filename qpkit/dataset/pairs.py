"""Image and mask PNG pairs: names and writing, with the encoding on other threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_WAITING = 16
"""Tiles that may wait for their encoder; bounds the memory."""


def pair_names(stem: str, x: int, y: int) -> tuple[str, str]:
    """Relative paths of a tile's image and mask: images/STEM/STEM_x123_y456.png and masks/... (level px)."""
    name = f"{stem}_x{x}_y{y}.png"
    return f"images/{stem}/{name}", f"masks/{stem}/{name}"


class PairWriter:
    """Writes pairs below a folder; use as a context manager, which waits for the last one.

    Args:
        root: The folder.
        threads: Encoders side by side (zlib releases the GIL).
    """

    def __init__(self, root: Path, *, threads: int = 2) -> None:
        self._root = root
        self._pool = ThreadPoolExecutor(threads)
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> PairWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._pending and kind is None:
                self._pending.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def write(self, image: NDArray[np.uint8], mask: NDArray[np.uint8], names: tuple[str, str]) -> None:
        """Hand over an (h, w, 3) image and an (h, w) mask, both uint8, with their relative paths.

        Raises:
            OSError: An earlier pair could not be written.
        """
        while len(self._pending) >= _WAITING:
            self._pending.popleft().result()
        for pixels, name in zip((image, mask), names, strict=True):
            self._pending.append(self._pool.submit(_save, self._root / name, pixels))


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)
