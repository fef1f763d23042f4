"""Processes that read tiles for this one: the same pixels, and no fault of theirs is one of the prediction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from test_train_predict_faults import break_tiles
from test_train_predict_resumed import COLUMNS, ROWS, folder, rasters, run
from test_train_slide_predictor import PixelModel

from qpkit.core.tiles import Tile, TileGrid
from qpkit.slides import SlideSource, open_source
from qpkit_train.data.surroundings import sample_of
from qpkit_train.inference.pixels import reading_processes
from qpkit_train.inference.pixels.reading import TileReader
from qpkit_train.inference.pixels.reading_processes import ReadingProcesses
from qpkit_train.inference.sharing import work

__all__ = ["folder"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.skipif("sys.platform == 'win32'", reason="there are none on Windows"),
]

WIDTH, HEIGHT = COLUMNS * 32, ROWS * 32
GRID = TileGrid(slide_width=WIDTH, slide_height=HEIGHT, tile_size=32, halo=16, downsample=1.0)


@pytest.fixture
def sources(tmp_path: Path) -> list[SlideSource]:
    made = np.random.default_rng(3).integers(0, 250, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for number, pixels in enumerate(made):
        tifffile.imwrite(tmp_path / f"{number}.tif", pixels, tile=(32, 32), photometric="rgb", compression="zlib")
    return [SlideSource(name=str(number), path=tmp_path / f"{number}.tif", mpp=0.5) for number in range(2)]


@pytest.fixture(autouse=True)
def _two_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_processes, "_ENOUGH_THREADS", 1)


@pytest.fixture
def processes() -> Iterator[ReadingProcesses]:
    found = ReadingProcesses(2)
    yield found
    found.close()
    assert all(process._process.poll() is not None for process in found._all)


def come_up(processes: ReadingProcesses) -> None:
    until = time.monotonic() + 60
    while not all(process.is_ready() for process in processes._all):
        assert time.monotonic() < until
        time.sleep(0.05)


def read(processes: ReadingProcesses, source: SlideSource, tile: Tile, factors: Sequence[int]) -> NDArray[np.uint8]:
    until = time.monotonic() + 60
    while (found := processes.read(source, tile, factors)) is None:
        assert time.monotonic() < until
        time.sleep(0.001)  # both are reading
    return found


def test_they_read_what_this_process_reads(sources: list[SlideSource], processes: ReadingProcesses) -> None:
    come_up(processes)
    asked = [(source, tile, factors) for tile in GRID for source in sources for factors in ((1,), (1, 4))]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda each: read(processes, *each), asked))
    for (source, tile, factors), pixels in zip(asked, found, strict=True):
        with open_source(source) as slide:
            assert np.array_equal(pixels, sample_of(slide, tile, factors))


def test_few_threads_read_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [len(ReadingProcesses(threads)._all) for threads in (2, 4)] == [0, 0]


def test_they_end_with_who_asked(processes: ReadingProcesses) -> None:
    come_up(processes)
    for process in processes._all:
        process._line.close()  # as where this process is killed
        assert process._process.wait(30) == 0


def test_one_that_died_is_not_missed(sources: list[SlideSource], processes: ReadingProcesses) -> None:
    come_up(processes)
    for process in processes._all:
        process._process.kill()
        process._process.wait()
    with open_source(sources[0]) as slide:
        reader = TileReader(sources[0], slide, {}, processes=processes)
        for tile in GRID:
            assert np.array_equal(reader.read(tile), slide.read(tile))
    assert not reader.broken and not processes._free


def test_a_broken_tile_is_named_and_the_next_one_is_read_by_them(
    sources: list[SlideSource], processes: ReadingProcesses
) -> None:
    come_up(processes)
    break_tiles(sources[0].path, (1, 1))
    tiles = replace(GRID, halo=0)
    with open_source(sources[0]) as slide:
        reader = TileReader(sources[0], slide, {}, processes=processes)
        assert (reader.read(tiles.tile(1, 1)) == 255).all()
        assert np.array_equal(read(processes, sources[0], tiles.tile(2, 1), (1,)), slide.read(tiles.tile(2, 1)))
        reader.close()
    assert list(reader.broken) == [(1, 1)]


def test_a_prediction_beside_a_device_is_read_by_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(folder, PixelModel(), out="here")
    made: list[ReadingProcesses] = []
    given = []

    class Ready(ReadingProcesses):
        def __init__(self, threads: int) -> None:
            super().__init__(2)
            come_up(self)
            made.append(self)

        def read(self, source: SlideSource, tile: Tile, factors: Sequence[int]) -> NDArray[np.uint8] | None:
            found = super().read(source, tile, factors)
            given.append(found is not None)
            return found

    monkeypatch.setattr(work, "on_device", lambda model: model)
    monkeypatch.setattr(work, "ReadingProcesses", Ready)
    run(folder, PixelModel())
    assert rasters(folder / "out") == rasters(folder / "here")
    assert any(given)
    assert [process._process.poll() is None for process in made[0]._all] == [False] * len(made[0]._all)
