"""What unlabelled tissue is worth: a part of the regions labelled, with rounds of pseudo-labels or a mean teacher.

python benchmarks/semi.py PROJECT LABELS OUT [--seeds 3] [--steps 500] [--epochs 25] [--fraction 0.25]
                          [--mpp 0.5] [--tile-size 256] [--imagenet efficientnet-lite0-57934424.pth]
                          [--truth LABELS] [--json FILE]

PROJECT has slides with metadata "Split" (train, val, test), LABELS is its labels.toml, OUT a folder for tiles, runs and
predictions; what is there is gone on with. The labels of the training slides are kept in a part of their regions only
(one at least, that shows most classes; another one for each seed), the rest counts as unlabelled. Each seed trains a
U-Net four ways (ResNet18 with random weights; with --imagenet an EfficientNet-Lite0 with these): on what is kept
(supervised), with rounds of pseudo-labels (three after the base; of each class the surest half, two thirds, four
fifths), with a mean teacher, and on all labels. The best epoch and the best round are those with the highest Dice on
the validation slides, which keep all their labels. Dice is that inside the annotated regions of the test slides.
--truth counts how right the pseudo-labels are, by a label map of everything.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec
import numpy as np
from measuring import Row, row, show
from scipy import ndimage
from sparse import from_imagenet

import qpkit
from qpkit.dataset import TileSet, read_tile_set, write_tile_set
from qpkit.dataset.resplit import path_from, slides_from
from qpkit.dataset.splits import SplitRule
from qpkit.dataset.stores.layers import encode
from qpkit.files import new_folder
from qpkit.rounds.pseudo_labels.ledger import summed
from qpkit.rounds.pseudo_labels.play import RoundsReport, pseudo_label_rounds
from qpkit.rounds.pseudo_labels.settings import RoundsFile, resolved
from qpkit.workflows.evaluate.result import Evaluation

TESTED = qpkit.SlideSettings(where={"Split": "test"})
RECIPE = "unet-resnet18"
QUANTILES = (0.5, 1 / 3, 0.2)
STRONG = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.05, "blur_px": 1.5, "noise": 0.05}
LEARNING = {"augment": STRONG, "sampler": {"origins": {"predicted": 0.2}}}
"""How later rounds learn: tiles that only a network labelled are drawn a fifth as often."""

SEMI = ("semi.weight=1", "semi.ema=0.99")

Score = Mapping[str, float]


def exported(project: Path, labels: Path, tiles: Path, *, mpp: float, tile_size: int) -> TileSet:
    """The tiles, made once."""
    if not (tiles / "export.json").exists():
        rule = SplitRule.parse("metadata:Split")
        known = qpkit.read_label_map(labels)
        qpkit.export([project], tiles, qpkit.ExportSettings(labels=known, split=rule, mpp=mpp, tile_size=tile_size))
    return read_tile_set(tiles)


def regions_of(tiles: TileSet) -> list[set[str]]:
    """Keys of the labelled training tiles of each region that shows every class, then of the others.

    A region is what touches in the grid of a slide.
    """
    values = tiles.labels.trained_values
    classes = {value for value in values if value != tiles.labels.background}
    found = []
    train = tiles.of_split("train")
    for slide in sorted({tile.slide for tile in train}):
        own = [tile for tile in train if tile.slide == slide and any(tile.pixels.get(value) for value in values)]
        grid = np.zeros((max(tile.row for tile in own) + 1, max(tile.col for tile in own) + 1), bool)
        grid[[tile.row for tile in own], [tile.col for tile in own]] = True
        numbers, count = ndimage.label(grid, np.ones((3, 3)))
        found += [[tile for tile in own if numbers[tile.row, tile.col] == number + 1] for number in range(count)]
    # Without what shows a class nothing can be learned.
    found.sort(key=lambda region: len(classes - {value for tile in region for value in tile.pixels}))
    return [{tile.key for tile in region} for region in found]


def part_labelled(tiles: TileSet, out: Path, fraction: float, seed: int) -> tuple[int, int]:
    """Write the tiles with the labels of a part of the regions; gives how many of how many."""
    regions = regions_of(tiles)
    count = max(1, round(fraction * len(regions)))
    labels_only_of(tiles, out, set().union(*(regions[(seed + number) % len(regions)] for number in range(count))))
    return count, len(regions)


def labels_only_of(tiles: TileSet, out: Path, kept: Collection[str]) -> None:
    """Write the tiles with the labels of those training tiles that have these keys; nothing if `out` is there."""
    if (out / "export.json").exists():
        return
    root, place = tiles.root.resolve(), out.resolve()
    unknown = np.full((tiles.tile_size, tiles.tile_size), tiles.labels.ignore, np.uint8)
    with new_folder(out, marker="export.json") as folder:
        (folder / "unknown.png").write_bytes(encode(unknown, ".png"))
        records = []
        for tile in tiles.tiles:
            led = replace(tile, image=path_from(place, root / tile.image), mask=path_from(place, root / tile.mask))
            if tile.split == "train" and tile.key not in kept:
                led = replace(led, mask="unknown.png", pixels={tiles.labels.ignore: tiles.tile_size**2})
            records.append(led)
        info = {key: value for key, value in tiles.info.items() if key not in ("format", "job")}
        write_tile_set(folder, records, {**info, **slides_from(place, tiles)})


def trained(tiles: Path, run: Path, common: list[str], *more: str) -> Path:
    """A run; a training that is there is gone on with."""
    qpkit.train(tiles, run, RECIPE, overrides=[*common, *more], resume=run.exists())
    return run


def settings(seed: int, steps: int, epochs: int, network: Sequence[str]) -> list[str]:
    """What all ways have in common; every one of them does as many steps."""
    values = {
        "seed": seed,
        "optim.epochs": epochs,
        "optim.steps_per_epoch": max(1, steps // epochs),
        # Of all ways, so that none has an average alone.
        "optim.ema": 0.99,
        "early_stopping.patience": 0,
    }
    return [*(f"{name}={value}" for name, value in values.items()), *network]


def rounds(tiles: Path, truth: Path | None, out: Path, common: list[str]) -> RoundsReport:
    """Three rounds after the base, all of which are played."""
    plan: list[dict[str, Any]] = [{"recipe": RECIPE}]
    plan += [{"recipe": RECIPE, "quantile": q, "agreement": True, "set": LEARNING} for q in QUANTILES]
    tables: dict[str, Any] = {"tiles": str(tiles.resolve()), "out": str(out.resolve()), "round": plan, "patience": 0}
    tables |= {} if truth is None else {"truth": str(truth.resolve())}
    file = msgspec.convert(tables, RoundsFile)
    return pseudo_label_rounds(resolved(file, out.parent, common, source="semi.py"))


def scored(run: Path, project: Path, labels: Path) -> Score:
    """Dice of each class inside the regions of the test slides, and their mean."""
    names = [item.name for item in qpkit.read_label_map(labels).classes]
    found = evaluated(run, project, labels)
    dice = {name: mean(float(slide.scores[name].dice or 0) for slide in found.slides) for name in names}
    return {**dice, "mean": mean(dice.values())}


def evaluated(run: Path, project: Path, labels: Path) -> Evaluation:
    """What a run's predictions of the regions of the test slides are worth."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "predictions"
        qpkit.predict(run, [project], out, qpkit.PredictSettings(within="Region*"), slides=TESTED)
        return qpkit.evaluate(out, [project], labels=qpkit.read_label_map(labels), slides=TESTED)


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """All rows: each way, each class; the mean over the seeds."""
    project, labels, out = options.project, options.labels, options.out
    size = {"mpp": options.mpp, "tile_size": options.tile_size}
    tiles = exported(project, labels, out / "tiles", **size)
    truth = out / "tiles-truth" if options.truth else None
    if truth is not None:
        exported(project, options.truth, truth, **size)
    network = ["data.crop_px=0", *(() if options.imagenet is None else from_imagenet(options.imagenet, out))]
    ways: dict[str, list[Score]] = {}
    for seed in range(options.seeds):
        own, few = out / f"seed-{seed}", out / f"seed-{seed}" / "tiles"
        kept, there = part_labelled(tiles, few, options.fraction, seed)
        common = settings(seed, options.steps, options.epochs, network)
        report = rounds(few, truth, own / "rounds", common)
        for item in report.rounds[1:]:
            for name, added in summed(item.added).items():
                title = f"seed {seed}, round {item.number}: pseudo-labels, {name}"
                yield row(title, added.mm2 or 0, "mm2")
                if added.precision is not None:
                    yield row(title, added.precision, "precision")
            verdict = item.verdict
            if verdict is not None:
                title = (
                    f"seed {seed}, round {item.number}: validation Dice ({'helped' if verdict.accepted else 'no help'})"
                )
                yield row(title, verdict.difference or 0, "difference")
        runs = {
            f"{kept} of {there} regions, supervised": own / "rounds/round-0/run",
            f"{kept} of {there} regions, rounds (best)": report.run,
            f"{kept} of {there} regions, rounds (last)": own / f"rounds/round-{report.rounds[-1].number}/run",
            f"{kept} of {there} regions, mean teacher": trained(few, own / "teacher", common, *SEMI),
            f"all {there} regions, supervised": trained(tiles.root, own / "all", common),
        }
        for way, run in runs.items():
            ways.setdefault(way, []).append(scored(run, project, labels))
            print(f"seed {seed}: {way}: {ways[way][-1]}", flush=True)
    base = next(iter(ways.values()))
    for way, scores in ways.items():
        for name in scores[0]:
            each = [score[name] for score in scores]
            title = f"{way}: {name} ({min(each):.3f} to {max(each):.3f})"
            ratio = mean(each) / max(mean(score[name] for score in base), 1e-9)
            yield row(title, mean(each), "Dice", against="supervised, part", ratio=ratio)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("project", "labels", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--fraction", type=float, default=0.25)
    parser.add_argument("--mpp", type=float, default=0.5)
    parser.add_argument("--tile-size", type=int, default=256)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for each in measure(options):
        print(each["name"], each["value"], flush=True)
        rows.append(each)
    show(rows, options.json)


if __name__ == "__main__":
    main()
