"""What test-time augmentation and ensembles gain, and what they cost: several seeds, alone and together.

python benchmarks/looks.py PROJECT LABELS OUT [--seeds 3] [--steps 500] [--json FILE]

PROJECT has slides with metadata "Split" (train, val, test), LABELS is its labels.toml, OUT a folder for tiles, runs and
predictions; what is there is gone on with. Each seed trains a U-Net/ResNet18 with random weights on the training
slides; its best epoch is the one with the highest Dice on the validation slides, so that only the test slides test.
Dice is that inside annotated regions, "alone" the mean over the seeds; seconds are those of predicting the regions of
the test slides.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

from measuring import Row, row, show

import qpkit
from qpkit.dataset.splits import SplitRule
from qpkit.workflows.evaluate.result import Evaluation

EPOCHS = 25
TESTED = qpkit.SlideSettings(where={"Split": "test"})


def trained(project: Path, labels: Path, out: Path, seed: int, steps: int) -> Path:
    """The run of a seed; a training that is there is gone on with."""
    tiles, run = out / "tiles", out / f"run-{seed}"
    if not (tiles / "export.json").exists():
        rule = qpkit.ExportSettings(
            labels=qpkit.read_label_map(labels), split=SplitRule.parse("metadata:Split"), mpp=0.5
        )
        qpkit.export([project], tiles, rule)
    values = {"seed": seed, "optim.epochs": EPOCHS, "optim.steps_per_epoch": steps // EPOCHS}
    overrides = [f"{name}={value}" for name, value in values.items()]
    qpkit.train(tiles, run, "unet-resnet18", overrides=overrides, resume=run.exists())
    return run


def predicted(runs: Sequence[Path], tta: str, project: Path, labels: Path, out: Path) -> tuple[Evaluation, float]:
    """Scores of some runs together, and the seconds of predicting."""
    settings = qpkit.PredictSettings(within="Region*", tta=tta, others=tuple(runs[1:]))
    before = time.perf_counter()
    qpkit.predict(runs[0], [project], out, settings, slides=TESTED, overwrite=True)
    seconds = time.perf_counter() - before
    return qpkit.evaluate(out, [project], labels=qpkit.read_label_map(labels), slides=TESTED), seconds


def measure(project: Path, labels: Path, out: Path, seeds: int, steps: int) -> Iterator[Row]:
    """All rows: each way, each slide, each class."""
    runs = [trained(project, labels, out, seed, steps) for seed in range(seeds)]
    plain: dict[tuple[str, str], float] = {}
    for tta in ("none", "flips", "d4"):
        for name, groups in (("alone", [[run] for run in runs]), (f"{seeds} together", [runs])):
            found = [predicted(group, tta, project, labels, out / "predictions") for group in groups]
            way = f"{name}, {tta}"
            for number, slide in enumerate(found[0][0].slides):
                for class_name in ("Tumor", "Stroma"):
                    each = [float(result.slides[number].scores[class_name].dice or 0) for result, _ in found]
                    key = (slide.name, class_name)
                    base = plain.setdefault(key, mean(each))
                    title = f"{way}: {slide.name}, {class_name} ({min(each):.3f} to {max(each):.3f})"
                    yield row(title, mean(each), "Dice", against="alone, none", ratio=mean(each) / base)
            seconds = mean(seconds for _, seconds in found)
            yield row(way, seconds, "s", against="alone, none", ratio=seconds / plain.setdefault(("", ""), seconds))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("project", "labels", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for each in measure(options.project, options.labels, options.out, options.seeds, options.steps):
        print(each["name"], each["value"], flush=True)
        rows.append(each)
    show(rows, options.json)


if __name__ == "__main__":
    main()
