"""Reads the tiles of a slide in which some may be broken: such a tile is named, and the slide goes on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qpkit.core.tiles import Tile
from qpkit.errors import FormatError, QpkitError
from qpkit.slides import Slide, SlideSource, open_source
from qpkit_train.appearance import look_in_parts
from qpkit_train.data.surroundings import sample_of
from qpkit_train.inference.pixels.reading_processes import ReadingProcesses

_CANNOT_BE_READ = (FormatError, OSError)


class TileReader:
    """Reads tiles, by several threads at once.

    A tile that cannot be read is tried once more with the file opened anew, as OpenSlide answers nothing more after an
    error. Close it when no thread reads any more.

    Args:
        source: Where the slide is.
        slide: The slide, opened; it stays open.
        broken: Tiles that an earlier process found broken.
        factors: How many times their surroundings the images of a sample show, 1 first.
        looks_by: Side of the parts by which the looks of tiles are measured, px (see `look_in_parts`); None where
            they are not wanted.
        processes: Read tiles for this one, where there are some.

    Attributes:
        broken: Why tiles could not be read, by (col, row).
        looks: What tiles with tissue look like (see `qpkit_train.appearance`), by (col, row).
    """

    def __init__(
        self,
        source: SlideSource,
        slide: Slide,
        broken: Mapping[tuple[int, int], str],
        *,
        factors: Sequence[int] = (1,),
        looks_by: int | None = None,
        processes: ReadingProcesses | None = None,
    ) -> None:
        self._source, self._given, self._slide, self._looks_by = source, slide, slide, looks_by
        self._factors, self._processes = tuple(factors), processes
        self._users: Counter[Slide] = Counter()
        self._lock = threading.Lock()
        self.broken = dict(broken)
        self.looks: dict[tuple[int, int], NDArray[np.float64]] = {}

    def read(self, tile: Tile) -> NDArray[np.uint8]:
        """Read a tile with its halo, and their surroundings: (h, w, 3 k) uint8; all white where one is broken.

        Raises:
            FormatError: The slide itself can no longer be opened.
        """
        pixels = self._read(tile)
        if self._looks_by is not None:
            own = pixels[tile.halo : tile.halo + tile.height, tile.halo : tile.halo + tile.width, :3]
            look = look_in_parts(own, self._looks_by)
            if look is not None:  # white is no tissue: neither are broken tiles
                self.looks[tile.col, tile.row] = look
        return pixels

    def _read(self, tile: Tile) -> NDArray[np.uint8]:
        if self._processes is not None:
            found = self._processes.read(self._source, tile, self._factors)
            if found is not None:
                return found
        with self._lock:
            slide = self._slide
            self._users[slide] += 1
        try:
            return sample_of(slide, tile, self._factors)
        except _CANNOT_BE_READ:
            return self._read_anew(tile)
        finally:
            with self._lock:
                self._users[slide] -= 1
                self._close_unless_used(slide)

    def close(self) -> None:
        """Release what was opened anew."""
        last, self._slide = self._slide, self._given
        self._close_unless_used(last)

    def _read_anew(self, tile: Tile) -> NDArray[np.uint8]:
        try:
            slide = open_source(self._source)
        except (QpkitError, OSError) as err:
            raise FormatError(f"{self._source.path}: can no longer be opened; is its drive still there?") from err
        try:
            pixels = sample_of(slide, tile, self._factors)
        except _CANNOT_BE_READ as err:
            slide.close()
            self.broken[tile.col, tile.row] = str(err)
            return np.full((*tile.array_shape, 3 * len(self._factors)), 255, np.uint8)
        with self._lock:
            before, self._slide = self._slide, slide
            self._close_unless_used(before)
        return pixels

    def _close_unless_used(self, slide: Slide) -> None:
        if slide is not self._given and slide is not self._slide and not self._users[slide]:
            slide.close()
