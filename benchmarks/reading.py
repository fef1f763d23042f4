"""How fast 512 px tiles are read, against the decoder alone, OpenSlide and fastslide in the same run.

python benchmarks/reading.py SLIDE... --json FILE

The slides are tiled JPEG TIFF or SVS of real tissue. From the first one a pyramid of 20,480 x 20,480 px is made
(generic TIFF, tiles of 256 px, JPEG 4:2:0, quality 80) by repeating its tissue. Tiles are aligned to the grid, on
level 0; the files are in the page cache. "decode" unpacks the same JPEG tiles from memory, each into a new array as
libjpeg's users do, and does nothing else. Contenders take turns every 16 tiles in a drawn order, so that whatever else
the machine does meets all of them. fastslide is measured where it is installed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from measuring import Row, row, show
from numpy.typing import NDArray

from qpkit.core.tiles import TileGrid
from qpkit.slides import open_slide

SIDE = 20_480
TILE = 256
READ = 512
TURNS = 120
BATCH = 16
CONTENDERS = ("decode", "tiff", "openslide", "fastslide")

Read = Callable[[int, int], NDArray[np.uint8]]


def make_pyramid(source: Path, path: Path) -> None:
    """Repeat a slide's tissue over a large tiled JPEG pyramid."""
    with open_slide(source, reader="tiff") as slide, tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in range(4):
            side = SIDE >> level
            tiff.write(
                _tiles(slide.reader, level, side),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                compression="jpeg",
                compressionargs={"level": 80},
                photometric="ycbcr",
                subsampling=(2, 2),
                subfiletype=min(level, 1),
                resolution=(20_000 / 2**level,) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def _tiles(reader: object, level: int, side: int) -> Iterator[NDArray[np.uint8]]:
    columns, rows = (size // TILE for size in reader.level_size(level))  # type: ignore[attr-defined]
    for y in range(-(-side // TILE)):
        for x in range(-(-side // TILE)):
            corner = {"x": x % columns * TILE, "y": y % rows * TILE}
            yield reader.read_level(level, **corner, width=TILE, height=TILE)  # type: ignore[attr-defined]


def _decoder(path: Path) -> Read:
    """Unpacks the tiles that a rectangle needs from memory, and leaves them at that."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        tables, across = page.jpegtables, -(-page.imagewidth // page.tilewidth)
        side_x, side_y = page.tilewidth, page.tilelength
        colors = "YCBCR" if int(page.photometric) == 6 else "RGB"
        content = []
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            tiff.filehandle.seek(offset)
            content.append(tiff.filehandle.read(size))

    def read(x: int, y: int) -> NDArray[np.uint8]:
        for r in range(y // side_y, (y + READ - 1) // side_y + 1):
            for c in range(x // side_x, (x + READ - 1) // side_x + 1):
                packed = content[r * across + c]
                pixels = imagecodecs.jpeg8_decode(packed, tables=tables, colorspace=colors, outcolorspace="RGB")
        return pixels

    return read


def _fastslide(path: Path) -> Read:
    import fastslide

    slide = fastslide.FastSlide.from_file_path(str(path))
    return lambda x, y: slide.read_region((x, y), 0, (READ, READ)).numpy()


def _reader(contender: str, path: Path) -> Read:
    if contender == "decode":
        return _decoder(path)
    if contender == "fastslide":
        return _fastslide(path)
    reader = open_slide(path, reader=contender).reader
    return lambda x, y: reader.read_level(0, x=x, y=y, width=READ, height=READ)


def _places(path: Path, seed: int) -> list[tuple[int, int]]:
    """Corners of whole tiles of the 512 px grid in rows, from somewhere on."""
    with open_slide(path) as slide:
        columns, rows = slide.info.width // READ, slide.info.height // READ
    places = [(x * READ, y * READ) for y in range(rows) for x in range(columns)]
    start = seed * len(places) // 2
    return places[start:] + places[:start]


def rates(path: Path, contenders: tuple[str, ...], seed: int = 0) -> dict[str, float]:
    """Tiles per second of each contender."""
    places = _places(path, seed)
    readers = {name: _reader(name, path) for name in contenders}
    taken = dict.fromkeys(contenders, 0.0)
    order = random.Random(seed)
    for turn in range(TURNS):
        batch = [places[(turn * BATCH + k) % len(places)] for k in range(BATCH)]
        for name in order.sample(contenders, len(contenders)):
            read = readers[name]
            start = time.perf_counter()
            for place in batch:
                read(*place)
            taken[name] += time.perf_counter() - start if turn else 0.0  # the first turn warms up
    return {name: (TURNS - 1) * BATCH / seconds for name, seconds in taken.items()}


def rates_of_two(path: Path, contenders: tuple[str, ...]) -> dict[str, float]:
    """The same in two processes at once, added up."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        both = [job.result() for job in [pool.submit(rates, path, contenders, seed) for seed in range(2)]]
    return {name: sum(found[name] for found in both) for name in contenders}


def compare(name: str, path: Path, contenders: tuple[str, ...]) -> list[Row]:
    """Measure a slide with one process and with two."""
    rows = []
    for label, found in (("1 thread", rates(path, contenders)), ("2 processes", rates_of_two(path, contenders))):
        ours = found["tiff"]
        title = f"{name}, {label}"
        rows.append(row(f"{title}: decode alone", found["decode"], "tiles/s"))
        rows.append(
            row(f"{title}: qpkit", ours, "tiles/s", against="decode", ratio=ours / found["decode"], goal=">= 0.9")
        )
        for other in contenders[2:]:
            goal = ">= 3.5 x" if other == "openslide" else ""
            rows.append(
                row(f"{title}: {other}", found[other], "tiles/s", against=other, ratio=ours / found[other], goal=goal)
            )
    return rows


def resampled(path: Path) -> list[Row]:
    """Read tiles between two levels, where every pixel is an average."""
    rows = []
    with open_slide(path) as slide:
        for downsample in (1.3, 2.6):
            grid = TileGrid(
                slide_width=slide.info.width, slide_height=slide.info.height, tile_size=READ, downsample=downsample
            )
            tiles = [grid.tile(col, line) for line in range(3) for col in range(5)]
            slide.read(tiles[0])  # compiles
            start = time.perf_counter()
            for tile in tiles:
                slide.read(tile)
            rate = len(tiles) / (time.perf_counter() - start)
            rows.append(row(f"{path.name}, averaged at downsample {downsample:g}", rate, "tiles/s"))
    return rows


def _installed() -> tuple[str, ...]:
    try:
        import fastslide  # noqa: F401
    except ImportError:
        return CONTENDERS[:-1]
    return CONTENDERS


def main() -> None:
    """Parse, measure, print the table, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slides", type=Path, nargs="+", help="tiled JPEG TIFF or SVS of real tissue")
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    contenders = _installed()
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.tif"
        make_pyramid(options.slides[0], large)
        rows = compare("pyramid of 20,480 px", large, contenders)
    for slide in options.slides:
        rows += compare(slide.name, slide, contenders) + resampled(slide)
    show(rows, options.json)


if __name__ == "__main__":
    main()
