"""Every recipe on the same tiles: scores on slides that none has seen, beside what trivial predictors get there.

python benchmarks/systems.py SOURCE OUT [--labels FILE] [--recipes A B ...] [--steps 500] [--seeds 1] [--small]
    [--mpp 0.5] [--tile-size 224] [--batch 8] [--encoder resnet18] [--weights none] [--within "Region*"]
    [--set KEY=VALUE ...] [--json FILE]

SOURCE is a project of slides with metadata "Split" (train, val, test) and --labels its labels.toml; or a folder of
images and masks with a dataset.toml that says what they mean and how they are split. OUT is a folder for tiles, runs
and predictions; what is there is gone on with. All recipes (but those of tile classifiers) train for as many steps of
as many tiles; everything else is their own, and the epoch of five that is kept is chosen on the validation images by
their own metric (the last one where there are none). --small is for CPUs: encoders become --encoder with --weights
(those of SegFormer stay, with random weights) and qpkit's own networks get few channels; parameters say how few.
Without --small and without --weights imagenet all start from random weights, also those whose point is ImageNet's.

Scores are those of all pixels of the test images inside annotated regions, the mean over the seeds (lowest to highest);
lesions are found at an overlap of 10 %. "best baseline" is the best of the predictors that look at nothing
(evaluation.md); Dice is set against its Dice. Parameters, seconds a step and the peak memory are those of the training,
which runs in a process of its own; memory is that of the GPU where there is one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

import torch
from measuring import Result, Row, alone, row, show, timed

import qpkit
from qpkit.dataset.splits import SplitRule
from qpkit.errors import QpkitError
from qpkit.workflows.evaluate.result import Evaluation
from qpkit_train.recipe.load import list_recipes, load_recipe

EPOCHS = 5
TESTED = qpkit.SlideSettings(where={"Split": "test"})
METRICS = ("dice", "iou", "precision", "recall")

SMALL = {
    "vanilla-unet": "{channels = [16, 32, 64, 128, 256]}",
    "dense-unet": "{channels = [24, 48, 72, 96, 120], layers = 3, growth = 12}",
    "nnunet": "{channels = [16, 32, 64, 128, 128, 128]}",
    "transunet": "{width = 192, layers = 4, heads = 3, mlp = 768, decoder_channels = [128, 64, 32, 16]}",
}
"""Options of qpkit's own networks that a CPU can train."""


def segmenting() -> list[str]:
    """The shipped recipes that answer for every pixel of an image that nobody clicked on."""
    loaded = {name: load_recipe(name) for name in list_recipes()}
    return [name for name, recipe in loaded.items() if not recipe.classifies_tiles and not recipe.model.click_px]


def overrides(name: str, options: argparse.Namespace, seed: int) -> list[str]:
    """What is the same for all, and what makes a recipe small."""
    plain = load_recipe(name).model
    values: dict[str, object] = {
        "seed": seed,
        "optim.epochs": EPOCHS,
        "optim.steps_per_epoch": -(-options.steps // EPOCHS),
        "data.batch_size": options.batch,
        "early_stopping.patience": 0,
    }
    exchanged = options.small and plain.encoder != "none" and not plain.encoder.startswith("mit_")
    if exchanged:
        values["model.encoder"] = options.encoder
    if plain.encoder != "none":
        values["model.encoder_weights"] = options.weights if exchanged or not options.small else "none"
    if options.small and plain.architecture in SMALL:
        values["model.options"] = SMALL[plain.architecture]
    return [*(f"{key}={value}" for key, value in values.items()), *options.settings]


def train(name: str, options: argparse.Namespace, seed: int) -> Path:
    """The run of a recipe and a seed; one that is there is gone on with."""
    run = run_of(name, options, seed)
    qpkit.train(options.out / "tiles", run, name, overrides=overrides(name, options, seed), resume=run.exists())
    return run


def run_of(name: str, options: argparse.Namespace, seed: int) -> Path:
    """Where a run lies."""
    return Path(options.out) / f"{name}-{options.steps}-{'small-' if options.small else ''}{seed}"


def prepare(options: argparse.Namespace) -> None:
    """The tiles, made once; those of slides are read from the slides, which have their surroundings."""
    tiles = options.out / "tiles"
    if (tiles / "export.json").exists():
        return
    if options.labels is None:
        qpkit.import_tiles(options.source, tiles, qpkit.FolderSettings(tile_size=options.tile_size))
        return
    rule = qpkit.ExportSettings(
        labels=qpkit.read_label_map(options.labels),
        split=SplitRule.parse("metadata:Split"),
        mpp=options.mpp,
        tile_size=options.tile_size,
        only_annotated=True,
        store="none",
    )
    qpkit.export([options.source], tiles, rule)


def evaluated(run: Path, options: argparse.Namespace) -> Evaluation:
    """Predict and score the test images."""
    if options.labels is None:
        scores = run.with_name(f"{run.name}-evaluation")
        return qpkit.evaluate(run, [options.source], out=scores, overwrite=True)
    out = run.with_name(f"{run.name}-predictions")
    settings = qpkit.PredictSettings(within=options.within)
    qpkit.predict(run, [options.source], out, settings, slides=TESTED, overwrite=True)
    return qpkit.evaluate(out, [options.source], labels=qpkit.read_label_map(options.labels), slides=TESTED)


def trained(name: str, seed: int, options: argparse.Namespace) -> Result:
    """Train in a process of its own, and say what that took; of a training that was cut off, the memory is too low."""
    kept = run_of(name, options, seed).with_suffix(".measured.json")
    if not kept.exists():
        kept.write_text(json.dumps(alone(__file__, name, str(seed), *sys.argv[1:])))
    found: Result = json.loads(kept.read_text())
    return found


def measure(name: str, options: argparse.Namespace) -> Iterator[Row]:
    """All rows of a recipe."""
    trainings: list[Result] = []
    results: list[Evaluation] = []
    for seed in range(options.seeds):
        trainings.append(trained(name, seed, options))
        results.append(evaluated(run_of(name, options, seed), options))
    scopes = [result.pooled for result in results]
    for class_name in results[0].names:
        best = max((score.dice or 0.0, way) for way, score in scopes[0].baselines[class_name].items())
        for metric in METRICS:
            each = [float(getattr(scope.scores[class_name], metric) or 0) for scope in scopes]
            title = f"{name}: {class_name} ({min(each):.3f} to {max(each):.3f})"
            if metric == "dice" and best[0]:
                yield row(title, mean(each), "Dice", against=f"best baseline ({best[1]})", ratio=mean(each) / best[0])
            else:
                yield row(title, mean(each), metric.replace("iou", "IoU").replace("dice", "Dice"))
        lesions = [scope.lesions[class_name].f1 for scope in scopes if class_name in scope.lesions]
        if lesions:
            each = [value or 0.0 for value in lesions]
            yield row(f"{name}: {class_name} ({min(each):.3f} to {max(each):.3f})", mean(each), "lesion F1")
    for unit in ("parameters", "s/step", "MB"):
        yield row(name, mean(result[unit] for result in trainings), unit)


def baselines(options: argparse.Namespace, run: Path) -> Iterator[Row]:
    """What predictors that look at nothing get on the same pixels; any run's predictions say which those are."""
    scope = evaluated(run, options).pooled
    for class_name, ways in scope.baselines.items():
        for way, score in ways.items():
            for metric in METRICS:
                value = getattr(score, metric)
                if value is not None:
                    yield row(
                        f"baseline, {way}: {class_name}", value, metric.replace("iou", "IoU").replace("dice", "Dice")
                    )


def one(name: str, seed: int, options: argparse.Namespace) -> None:
    """Train in this process, and print what it took."""
    found = timed(lambda: train(name, options, seed))
    said = json.loads((run_of(name, options, seed) / "run.json").read_text())
    extra = {"parameters": said["parameters"]["all"], "s/step": said["seconds_per_step"]}
    extra["MB"] = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else found["peak_mb"]
    print(json.dumps({**found, **extra}))


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("source", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--recipes", nargs="+", default=segmenting())
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--mpp", type=float, default=0.5)
    parser.add_argument("--tile-size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--within", default="Region*")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print; a recipe that fails is named, and the others go on."""
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], int(sys.argv[3]), parsed(sys.argv[4:]))
        return
    options = parsed(sys.argv[1:])
    options.out.mkdir(parents=True, exist_ok=True)
    prepare(options)
    rows: list[Row] = []
    done: list[str] = []
    for name in options.recipes:
        before = time.perf_counter()
        try:
            rows += measure(name, options)
        except subprocess.CalledProcessError as err:
            print(f"{name}: not trained: {err.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        except QpkitError as err:
            print(f"{name}: {err}", flush=True)
            continue
        done.append(name)
        print(f"{name}: {time.perf_counter() - before:.0f} s", flush=True)
    if done:
        rows += baselines(options, run_of(done[0], options, 0))
    show(rows, options.json)


if __name__ == "__main__":
    main()
