"""How fast training is fed: images/s from files, shards and slides against the same loop fed by a batch on the device.

python benchmarks/training.py PROJECT --json FILE [--recipe unet-resnet34] [--steps 60] [--set KEY=VALUE ...]

PROJECT is a QuPath project. It is exported once into each store; each training takes --steps steps after a warm-up, in
every precision that the device is fast at. A ratio of 1 means that the device never waits. Pretrained weights are not
asked for.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import rasterio.errors
import torch
from measuring import Row, row, show

from qpkit.dataset import read_tile_set
from qpkit.dataset.splits import SplitRule
from qpkit.workflows.export import export_tiles
from qpkit.workflows.export_settings import ExportSettings
from qpkit.workflows.sources import project_classes, slide_inputs
from qpkit.workflows.tissue_rule import TissueRule
from qpkit_train.config import load_recipe
from qpkit_train.data import Batch, Prefetcher
from qpkit_train.devices import choose_precision, make_fabric
from qpkit_train.loop import Training
from qpkit_train.material import split_material
from qpkit_train.settings import Recipe
from qpkit_train.start import run_file

STORES = ("files", "shards", "none")
WARM_UP = 8


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
    data, fabric = split_material(tile_set, recipe), make_fabric(recipe)
    return Training(Path(), recipe, data, fabric, run_file(tile_set, recipe, data, fabric.device))


def speed(training: Training, batches: Iterable[Batch], steps: int) -> float:
    """Images/s over `steps` steps after a warm-up."""
    training.model.train()
    started, images = 0.0, 0
    for step, batch in enumerate(itertools.islice(batches, WARM_UP + steps)):
        if step == WARM_UP:
            _wait(training.fabric.device)
            started, images = time.perf_counter(), 0
        training.step(batch, step % training.steps_per_epoch)
        images += len(batch.images)
    _wait(training.fabric.device)
    return images / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def endless(training: Training) -> Iterator[Batch]:
    """What the sampler shows, epoch after epoch, read as in a training."""
    for epoch in itertools.count():
        yield from Prefetcher(training.batches_of(epoch), workers=training.recipe.data.workers)


def on_device(training: Training) -> Iterator[Batch]:
    """The first batch again and again, already there."""
    batch = training.batches_of(0)[0]
    device = training.fabric.device
    there = Batch(batch.images.to(device), batch.targets.to(device), batch.tiles, batch.first, batch.total)
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
        bounds: dict[str, float] = {}
        for precision in precisions:
            chosen = msgspec.structs.replace(recipe, precision=precision)
            training = training_on(Path(work) / STORES[0], chosen)
            bounds[precision] = bound = speed(training, on_device(training), steps)
            plain = bounds[precisions[0]]
            against = "" if precision == precisions[0] else precisions[0]
            yield row(f"{precision}, on the device", bound, "images/s", against=against, ratio=bound / plain)
            yield row(f"{precision}, memory at most", memory_mb(training.fabric.device), "MB")
            for store in STORES:
                training = training_on(Path(work) / store, chosen)
                found = speed(training, endless(training), steps)
                name = f"{precision}, from {'slides' if store == 'none' else store}"
                yield row(name, found, "images/s", against="on the device", ratio=found / bound, goal="0.95")


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
