"""How much of the reading, and of the network, is left in `qpkit predict`; and what glass costs.

python benchmarks/inference.py SLIDE --json FILE [--side 4096] [--rival PYTHON]

SLIDE is a tiled JPEG TIFF or SVS of real tissue. A slide of --side px is made of it (generic TIFF), all tissue, and
copies of which 6 to 100 % are tissue. Contenders of one ratio take turns, the best of two counts. Reading alone is as
many threads as the pipeline has, reading the same tiles with their halo. The network alone is fed with tensors in
memory, and its answers are thrown away. The files are in the page cache. PYTHON is that of an environment with
TIAToolbox: its semantic engine predicts the same tiles with the same networks, with 0 and with 2 workers. A slide
four times as wide is predicted by a device that only takes its time, and where there is a GPU by networks in bfloat16.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import rasterio.errors
import tifffile
import torch
from measuring import Row, row, show
from numpy.typing import NDArray
from PIL import Image

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.cores import available_cores
from qpkit.progress import no_progress
from qpkit.slides import SlideSource, open_slide, open_source
from qpkit_train.data.normalization import named_normalization
from qpkit_train.inference.pipeline import first_readers
from qpkit_train.inference.pixels.reading_processes import ReadingProcesses
from qpkit_train.inference.predicted import PredictedSlide
from qpkit_train.inference.running.gpu_stream import GpuStream
from qpkit_train.inference.running.graphs import Graphs
from qpkit_train.inference.running.memory import InParts
from qpkit_train.inference.running.together import Together
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.slide import SlidePredictor
from qpkit_train.models.card import Answer, Model, ModelCard, on_device
from qpkit_train.models.registry import build_untrained
from qpkit_train.recipe.load import load_recipe

CARD = ModelCard(
    run="r", name="b", where="", labels=LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),)),
    mpp=0.5, downsample=None, trained={}, versions={},
)  # fmt: skip
TURNS = 2
TILE = 256
A_TILE = 0.017
"""Seconds of two cores for each tile of 1,024 px, where one H200 takes 470 tiles/s (U-Net/ResNet18) and has 16."""


class Nothing:
    """A model that does nothing at all: everything is background."""

    card, device_name, precision = CARD, "none", "none"
    notes: tuple[str, ...] = ()

    def room(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """As `Model` says."""
        return np.empty(shape, np.uint8)

    def answer(self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False) -> Answer:
        """As `Model` says."""
        n, height, width = pixels.shape[:3]
        return Answer(np.zeros((n, height - 2 * halo, width - 2 * halo), np.uint8))

    def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Not asked for here."""
        raise NotImplementedError


class Clock:
    """The queue of a device that takes so many seconds for a tile and needs nothing of the machine; see `Stream`.

    Args:
        cost: Seconds a tile.
    """

    def __init__(self, cost: float) -> None:
        self._cost, self._free = cost, 0.0

    def mark(self) -> None:
        """As `Stream` says."""

    def fetch(self, answers: Sequence[Answer], since: None) -> Ticket:
        """As `Stream` says."""
        seconds = self._cost * sum(len(answer.indices) for answer in answers)
        self._free = max(time.perf_counter(), self._free) + seconds
        return Ticket(answers, self._free, seconds)


class Ticket(NamedTuple):
    """What a Clock has been asked for; see `Waiting`."""

    answers: Sequence[Answer]
    ready: float
    seconds: float

    def wait(self) -> Sequence[Answer]:
        """As `Waiting` says."""
        time.sleep(max(0.0, self.ready - time.perf_counter()))
        return self.answers


class Clocked(Nothing):
    """A model on a Clock: classes are how bright a slide is, so their areas are those of tissue."""

    def __init__(self, cost: float) -> None:
        self.stream = Clock(cost)

    def answer_there(
        self, pixels: NDArray[np.uint8], *, halo: int, probabilities: bool, uncertainty: bool = False
    ) -> Answer:
        """As `DeviceModel` says."""
        height, width = pixels.shape[1:3]
        coarse = pixels[:, halo : height - halo : 8, halo : width - halo : 8, 1] < 160
        return Answer(coarse.astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2))

    def levels_there(self, pixels: NDArray[np.uint8], *, spread: bool = False) -> NDArray[np.int32]:
        """Not asked for here."""
        raise NotImplementedError

    def upload(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `DeviceModel` says."""
        return pixels


class Bare(Predictor):
    """A network with random weights, without a run."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.card, self.device = CARD, torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.device_name, self.precision = self.device.type, "32-true" if self.device.type == "cpu" else "bf16-mixed"
        self._dtype = None if self.device.type == "cpu" else torch.bfloat16
        self.stream = GpuStream(self.device) if self.device.type == "cuda" else None
        self._model = network.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's overloads leave it out
        self._in_parts, self._graphs = InParts(), None if self.stream is None else Graphs()
        self._normalization, self._sigmoid, self._calibrate = named_normalization("imagenet"), False, "none"


def make_slide(source: Path, path: Path, side: int, tissue: float) -> SlideSource:
    """Repeat tiles of a slide's tissue over the upper part of a square one; the rest is glass."""
    across = side // TILE
    return laid_out(source, path, side, round(side * tissue / TILE) * across, across)


def laid_out(source: Path, path: Path, side: int, count: int, columns: int) -> SlideSource:
    """Put that many tiles of a slide's tissue, repeated, into the upper left of a square one, in so many columns.

    It has further levels, each a quarter as wide as the one before, down to the width of a tile.
    """
    with open_slide(source, reader="tiff") as slide:
        read = partial(slide.reader.read_level, 0, width=TILE, height=TILE)
        width, height = slide.reader.level_size(0)
        corners = [(x, y) for y in range(0, height - TILE + 1, TILE) for x in range(0, width - TILE + 1, TILE)]
        found = (read(x=x, y=y) for x, y in corners)
        shown = [tile for tile in found if tile[..., 1].mean() < 200]
    rows = -(-count // columns)
    tissue = np.full((rows, TILE, columns, TILE, 3), 255, np.uint8)
    for number in range(count):
        tissue[number // columns, :, number % columns] = shown[number % len(shown)]
    level = Image.fromarray(tissue.reshape(rows * TILE, columns * TILE, 3))
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        while True:
            tiff.write(
                _tiles_of(np.asarray(level), side), shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE),
                compression="jpeg", photometric="ycbcr", subsampling=(2, 2), metadata=None,
                subfiletype=1 if level.width < columns * TILE else 0,
            )  # fmt: skip
            if side <= 4 * TILE:
                break
            side //= 4
            level = level.resize((max(1, level.width // 4), max(1, level.height // 4)), Image.Resampling.BOX)
    return SlideSource(name=path.stem, path=path, mpp=0.5)


def _tiles_of(tissue: NDArray[np.uint8], side: int) -> Iterator[bytes]:
    """Encoded tiles of a square with tissue in its upper left corner."""
    glass, across = np.full((TILE, TILE, 3), 255, np.uint8), -(-side // TILE)
    encoded = _encoded(glass)
    for place in range(across**2):
        y, x = (TILE * corner for corner in divmod(place, across))
        part = tissue[y : y + TILE, x : x + TILE]
        if part.size:
            tile = glass.copy()
            tile[: part.shape[0], : part.shape[1]] = part
        yield _encoded(tile) if part.size else encoded


def _encoded(tile: NDArray[np.uint8]) -> bytes:
    found: bytes = imagecodecs.jpeg_encode(tile, level=80, colorspace="RGB", outcolorspace="YCBCR", subsampling="420")
    return found


def predicted(source: SlideSource, settings: PredictSettings, model: Model) -> PredictedSlide:
    """Predict a slide into a folder that is removed."""
    processes = None if on_device(model) is None else reading_processes()
    with tempfile.TemporaryDirectory() as folder, open_source(source) as slide:
        return SlidePredictor(
            CARD, source, slide, Path(folder), "s", settings, np.zeros(2, np.uint8), processes=processes
        ).run_with(model, no_progress)  # fmt: skip


@cache
def reading_processes() -> ReadingProcesses:
    """Those that `qpkit predict` has beside a device."""
    return ReadingProcesses(first_readers(None))


def read_alone(source: SlideSource, settings: PredictSettings, readers: int) -> float:
    """Tiles/s of threads that read all tiles of a slide."""
    with open_source(source) as slide, ThreadPoolExecutor(readers) as pool:
        job = SlidePredictor(CARD, source, slide, Path(), "s", settings, np.zeros(2, np.uint8))
        before = time.perf_counter()
        count = sum(1 for _ in pool.map(lambda tile: slide.read(tile).shape, job.grid))
        return count / (time.perf_counter() - before)


def best(work: Sequence[Callable[[], float]]) -> list[float]:
    """The highest of several turns, each contender by itself."""
    return [max(speeds) for speeds in zip(*([each() for each in work] for _ in range(TURNS)), strict=True)]


def against_reading(source: SlideSource, name: str, model: Model, settings: PredictSettings) -> list[Row]:
    """Tiles/s of the whole pipeline against reading alone."""
    last: list[PredictedSlide] = []

    def pipeline() -> float:
        last.append(predicted(source, settings, model))
        assert last[-1].speed is not None
        return last[-1].speed.tiles_per_second

    pipeline()
    readers = max(found.speed.readers for found in last if found.speed)
    alone, fed = best([lambda: read_alone(source, settings, readers), pipeline])
    speed = last[-1].speed
    assert speed is not None
    against = f"reading alone ({readers} threads; {speed.slowest} held the others up)"
    return [
        row(f"{name}, reading alone", alone, "tiles/s"),
        row(f"{name}, pipeline", fed, "tiles/s", against=against, ratio=fed / alone, goal=">= 0.6"),
    ]


def against_network(source: SlideSource, settings: PredictSettings) -> list[Row]:
    """Tiles/s of the whole pipeline against the network alone, on tensors in memory."""
    model = Bare(build_untrained(load_recipe("unet-resnet18").model, classes=2))
    side, batches = settings.tile_px + 2 * settings.halo_px, 4
    size = settings.batch_size or (8 if model.stream else 2)
    images = torch.rand(size, 3, side, side, device=model.device)
    count = size * batches

    def alone() -> float:
        before = time.perf_counter()
        for _ in range(batches):
            model.probabilities_of(model.logits(images)).sum().item()
        return count / (time.perf_counter() - before)

    def pipeline() -> float:
        speed = predicted(source, settings, model).speed
        assert speed is not None
        return speed.tiles_per_second

    alone()
    network, fed = best([alone, pipeline])
    name = f"U-Net/ResNet18, {model.device.type}"
    return [
        row(f"{name}, alone", network, "tiles/s"),
        row(f"{name}, pipeline", fed, "tiles/s", against="the network", ratio=fed / network, goal=">= 0.95"),
    ]


def on_clock(source: SlideSource) -> list[Row]:
    """How much of its time a device is busy that takes as many tiles a core as one H200 for 16 cores."""
    cost = 2 * A_TILE / available_cores()
    found = [predicted(source, PredictSettings(only_tissue=False), Clocked(cost)) for _ in range(1 + TURNS)][1:]
    speed = max((each.speed for each in found if each.speed), key=lambda speed: speed.device_busy)
    name = f"a device of {1 / cost:.0f} tiles/s"
    return [
        row(f"{name}, pipeline", speed.tiles_per_second, "tiles/s"),
        row(f"{name}, busy in the loop", speed.device_busy_in_loop, "of 1", goal=">= 0.9"),
        row(f"{name}, busy from the first look at the slide to its raster", speed.device_busy, "of 1", goal=">= 0.75"),
    ]


def on_gpu(source: SlideSource) -> list[Row]:
    """Networks alone on tensors that are there, and the pipeline: tiles/s, and how much of the loop is busy."""
    rows, settings, size = [], PredictSettings(only_tissue=False), 8
    side = settings.tile_px + 2 * settings.halo_px
    for name in ("unet-resnet18", "unet-resnet34"):
        model = Bare(build_untrained(load_recipe(name, ['model.encoder_weights="none"']).model, classes=2))
        images = torch.rand(size, 3, side, side, device=model.device)

        def alone(model: Bare = model, images: torch.Tensor = images) -> float:
            before = time.perf_counter()
            for _ in range(10):
                found = model.probabilities_of(model.logits(images)).max(dim=1).indices
            found.cpu()
            return 10 * size / (time.perf_counter() - before)

        alone()
        network = max(alone() for _ in range(TURNS))
        rows.append(row(f"{name}, {model.device.type}, alone", network, "tiles/s"))
        ways: dict[str, tuple[PredictSettings, Model]] = {
            "pipeline": (settings, model),
            "linear": (replace(settings, blend="linear"), model),
            "probabilities": (replace(settings, probabilities=True), model),
            "gaussian, d4": (replace(settings, blend="gaussian", tta="d4"), Together([model], "d4")),
        }
        for way, (how, each) in ways.items():
            speeds = [
                found.speed for found in [predicted(source, how, each) for _ in range(1 + TURNS)][1:] if found.speed
            ]
            best_of = max(speeds, key=lambda speed: speed.tiles_per_second)
            rate = best_of.tiles_per_second
            rows.append(row(f"{name}, {way}", rate, "tiles/s", against="the network", ratio=rate / network))
            goal = ">= 0.9" if way == "pipeline" else ""
            rows.append(row(f"{name}, {way}, busy in the loop", best_of.device_busy_in_loop, "of 1", goal=goal))
            rows.append(row(f"{name}, {way}, busy over the call", best_of.device_busy, "of 1", goal=goal and ">= 0.75"))
    return rows


def measure(source: Path, folder: Path, side: int, rival: Path | None) -> list[Row]:
    """All rows."""
    rows = []
    full = make_slide(source, folder / "full.tif", side, 1.0)
    settings = PredictSettings(only_tissue=False)
    for reader in ("tiff", "openslide"):
        shown = SlideSource(name="full", path=full.path, mpp=0.5, reader=reader)
        rows += against_reading(shown, f"{reader}, no model", Nothing(), settings)
        rows += against_reading(shown, f"{reader}, 1 x 1 convolution", Bare(torch.nn.Conv2d(3, 2, 1)), settings)
    small = make_slide(source, folder / "small.tif", 1536, 1.0)
    narrow = PredictSettings(only_tissue=False, tile_px=384, halo_px=64)
    rows += against_network(small, narrow)
    if rival is not None:
        unet = Bare(build_untrained(load_recipe("unet-resnet18").model, classes=2))
        rows += against_rival(full, "no model", Nothing(), settings, rival)
        rows += against_rival(full, "1 x 1 convolution", Bare(torch.nn.Conv2d(3, 2, 1)), settings, rival)
        rows += against_rival(small, "U-Net/ResNet18", unet, narrow, rival)
    large = make_slide(source, folder / "large.tif", 4 * side, 1.0)
    rows += on_clock(large)
    if torch.cuda.is_available():
        rows += on_gpu(large)
    return rows + over_tissue(source, folder, side) + over_glass(source, folder)


class Whole(torch.nn.Module):
    """A network from RGB in 0..1 to probabilities."""

    def __init__(self, model: Bare) -> None:
        super().__init__()
        self.network, how = model._model, model._normalization
        self.register_buffer("mean", torch.tensor(how.mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(how.deviation).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) to (n, classes, h, w)."""
        found: torch.Tensor = self.network((images - self.mean) / self.deviation).softmax(dim=1)
        return found


def against_rival(source: SlideSource, name: str, model: Model, settings: PredictSettings, python: Path) -> list[Row]:
    """Seconds of whole calls."""
    with tempfile.TemporaryDirectory() as folder:
        network, side = "nothing", settings.tile_px + 2 * settings.halo_px
        if isinstance(model, Bare):
            network = str(Path(folder) / "model.pt")
            with torch.inference_mode():
                torch.jit.trace(Whole(model), torch.rand(1, 3, side, side)).save(network)  # type: ignore[no-untyped-call] # torch leaves it untyped
        script = Path(__file__).with_name("tiatoolbox_engine.py")
        how = settings.tile_px, settings.halo_px, settings.batch_size or 2

        def theirs(workers: int) -> float:
            command = [python, script, source.path, network, Path(folder) / "out", *how, workers]
            done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
            return float(done.stdout.split()[-1])

        slow = min(theirs(workers) for workers in (0, 2) for _ in range(TURNS))
        fast = min(predicted(source, settings, model).seconds for _ in range(TURNS))
    return [row(f"{name}, whole call", fast, "s", against="TIAToolbox", ratio=slow / fast)]


def over_tissue(source: Path, folder: Path, side: int) -> list[Row]:
    """Seconds for slides of which more and more is tissue."""
    rows, convolution = [], Bare(torch.nn.Conv2d(3, 2, 1))
    for percent in (6, 12, 25, 50, 100):
        part = make_slide(source, folder / f"{percent}.tif", side, percent / 100)
        found = [predicted(part, PredictSettings(probabilities=True), convolution) for _ in range(TURNS)]
        name = f"{percent} % tissue, {found[0].predicted} of {found[0].tiles} tiles"
        rows.append(row(name, min(each.seconds for each in found), "s"))
    return rows


def over_glass(source: Path, folder: Path) -> list[Row]:
    """Seconds for larger and larger slides with the same tissue."""
    rows, convolution = [], Bare(torch.nn.Conv2d(3, 2, 1))
    for side in (10_000, 20_000, 40_000, 80_000):
        part = laid_out(source, folder / f"{side}.tif", side, 256, 16)
        found = [predicted(part, PredictSettings(), convolution) for _ in range(TURNS)]
        part.path.unlink()
        name = f"{side:,} px, {found[0].predicted} of {found[0].tiles:,} tiles"
        rows.append(row(name, min(each.seconds for each in found), "s"))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--rival", type=Path, metavar="PYTHON")
    options = parser.parse_args()
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    with tempfile.TemporaryDirectory() as folder:
        show(measure(options.slide, Path(folder), options.side, options.rival), options.json)


if __name__ == "__main__":
    main()
