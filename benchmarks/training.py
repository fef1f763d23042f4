"""How fast training is fed: images/s from files, shards and slides against the same loop fed by a batch on the device.

python benchmarks/training.py PROJECT --json FILE [--recipe unet-resnet34] [--steps 60] [--set KEY=VALUE ...]

PROJECT is a QuPath project. It is exported once into each store; each training takes --steps steps after a warm-up, in
turns with as many steps on a batch that is there already, in float32 and in what the device is fast at. A ratio of 1
means that the device never waits. Pretrained weights are not asked for.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import rasterio.errors
import torch
from measuring import Row, row, show

from qpkit.dataset import read_tile_set
from qpkit.dataset.splits import SplitRule
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import project_classes, slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule
from qpkit_train.data.batches import MiniBatch
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.loop import Training
from qpkit_train.machine.devices import choose_precision, make_fabric
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder.start import run_file

NAMES = {"files": "files", "shards": "shards", "none": "slides"}
STORES = tuple(NAMES)
WARM_UP = 4
TURNS = 5


def export(project: Path, out: Path, store: str, *, tile_size: int) -> None:
    """Export all of a project's tissue as training tiles."""
    settings = ExportSettings(
        mpp=0.5,
        tile_size=tile_size,
        tissue=TissueRule.parse("std:12.5"),
        split=SplitRule.parse("slide"),
        fractions=(1.0, 0.0, 0.0),
        store=store,  # type: ignore[arg-type]
    )
    export_tiles(slide_inputs([project]), out, settings, classes=project_classes([project]))


def training_on(tiles: Path, recipe: Recipe) -> Training:
    """A training before its first step; nothing is written."""
    tile_set = read_tile_set(tiles)
    data, fabric = training_tiles_of(tile_set, recipe), make_fabric(recipe)
    return Training(Path(), recipe, data, fabric, run_file(tile_set, recipe, data, fabric.device))


@dataclass(frozen=True, slots=True)
class Speed:
    """Images/s of two ways to feed the same training, and the fraction of time that the first one's steps waited."""

    fed: float
    on_device: float
    waiting: float


def compared(training: Training, steps: int) -> Speed:
    """Time a training and the same one fed by a batch on the device, in turns: what else the machine does hits both."""
    source, ready = Feeder(training), on_device(training)
    training.begin_learning()
    run(training, source, WARM_UP)
    run(training, ready, 1)
    fed, there = [], []
    waited, begun = 0.0, 0.0
    for _ in range(TURNS):
        before = source.waited
        fed.append(run(training, source, steps // TURNS))
        waited, begun = waited + source.waited - before, begun + fed[-1].seconds
        there.append(run(training, ready, steps // TURNS))
    return Speed(
        fed=statistics.median(part.images / part.seconds for part in fed),
        on_device=statistics.median(part.images / part.seconds for part in there),
        waiting=waited / begun,
    )


@dataclass(frozen=True, slots=True)
class Part:
    """Some steps of a training."""

    images: int
    seconds: float


def run(training: Training, batches: Iterator[MiniBatch], steps: int) -> Part:
    """Do some steps and wait for the device."""
    started, images = time.perf_counter(), 0
    for step, batch in enumerate(itertools.islice(batches, steps)):
        training.step(batch, step % training.steps_per_epoch)
        images += len(batch.images)
    _wait(training.fabric.device)
    return Part(images, time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Feeder:
    """What the sampler shows, epoch after epoch, read as in a training.

    Attributes:
        waited: Seconds that were spent waiting for batches so far.
    """

    def __init__(self, training: Training) -> None:
        self._training, self.waited = training, 0.0
        self._batches = self._endless()

    def __iter__(self) -> Iterator[MiniBatch]:
        return self

    def __next__(self) -> MiniBatch:
        started = time.perf_counter()
        batch = next(self._batches)
        self.waited += time.perf_counter() - started
        return batch

    def _endless(self) -> Iterator[MiniBatch]:
        for epoch in itertools.count():
            yield from self._training.read_ahead(self._training.batches_of(epoch))


def on_device(training: Training) -> Iterator[MiniBatch]:
    """The first batch again and again, already there."""
    batch = training.batches_of(0)[0]
    device = training.fabric.device
    there = replace(batch, images=batch.images.to(device), targets=batch.targets.to(device))
    return itertools.repeat(there)


def memory_mb(device: torch.device) -> float:
    """Peak so far: of the GPU where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(project: Path, recipe: Recipe, steps: int, tile_size: int) -> Iterator[Row]:
    """All rows."""
    fast = choose_precision("auto", "cuda" if torch.cuda.is_available() else "cpu")
    precisions = ("32-true",) if fast == "32-true" else ("32-true", fast)
    with tempfile.TemporaryDirectory() as work:
        for store in STORES:
            export(project, Path(work) / store, store, tile_size=tile_size)
        plain = 0.0
        for precision in precisions:
            chosen = msgspec.structs.replace(recipe, precision=precision)
            for store in STORES:
                training = training_on(Path(work) / store, chosen)
                found = compared(training, steps)
                if store == STORES[0]:
                    plain = plain or found.on_device
                    ratio = found.on_device / plain if precision != precisions[0] else None
                    yield row(
                        f"{precision}, on the device", found.on_device, "images/s", against="32-true", ratio=ratio
                    )
                    yield row(f"{precision}, memory at most", memory_mb(training.fabric.device), "MB")
                name, ratio = f"{precision}, from {NAMES[store]}", found.fed / found.on_device
                yield row(name, found.fed, "images/s", against="on the device", ratio=ratio, goal="0.95")
                yield row(f"{name}, waiting", 100 * found.waiting, "% of time", goal="under 10")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print the table, write the rows."""
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--recipe", default="unet-resnet34")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tile-size", type=int, default=512)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    recipe = load_recipe(options.recipe, ['model.encoder_weights="none"', *options.settings])
    show(list(measure(options.project, recipe, options.steps, options.tile_size)), options.json)


if __name__ == "__main__":
    main()
