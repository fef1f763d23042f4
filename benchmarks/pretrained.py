"""What an encoder that learned without labels is worth: none, ImageNet's, ours; with few, half and all of the labels.

python benchmarks/pretrained.py PROJECT LABELS OUT --imagenet efficientnet-lite0-57934424.pth [--seeds 3] [--steps 300]
    [--epochs 10] [--fractions 0.1,0.5,1] [--pretrain-epochs 20] [--mpp 1] [--tile-size 128] [--json FILE]

PROJECT has slides with metadata "Split" (train, val, test), LABELS is its labels.toml, OUT a folder for tiles, runs and
predictions; what is there is gone on with. Ours is pre-trained (qpkit pretrain, the default objective) from random
weights on all tissue of the training slides, whatever is annotated there. Of the training tiles with labels a fraction
keeps them, another one for each seed; the rest shows nothing. Every network is a U-Net with an EfficientNet-Lite0 and
trains for as many steps; its best epoch is the one with the highest Dice on the validation slides, which keep all their
labels. Dice is that inside the annotated regions of the test slides, the mean over the classes, then over the seeds
(lowest to highest in the name); beside it stands what everything called one class gets.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from measuring import Row, row, show
from semi import evaluated, exported, labels_only_of, scored, settings, trained
from sparse import LITE0, from_imagenet

import qpkit
from qpkit.dataset import TileSet
from qpkit_train.pretraining.fit import pretrain
from qpkit_train.pretraining.settings import PretrainSettings

TRAINED = qpkit.SlideSettings(where={"Split": "train"})


def starts(options: argparse.Namespace) -> dict[str, Sequence[str]]:
    """What networks start from, by name; ours is pre-trained once."""
    own = options.out / "pretrained"
    if not own.exists():
        sources = [item.source for item in qpkit.slide_inputs([options.project], TRAINED)]
        how = PretrainSettings(
            encoder=LITE0, epochs=options.pretrain_epochs, mpp=options.mpp, tile_px=256, crop_px=128, local_px=64
        )
        report = pretrain(sources, own, how)
        print(f"pre-trained on {report.pictures} tiles: {report.rank:.1f} directions in use", flush=True)
    return {
        "none": (f'model.encoder="{LITE0}"', "model.encoder_weights=none"),
        "ImageNet": from_imagenet(options.imagenet, options.out),
        "ours": (f'model.encoder="{LITE0}"', f'model.encoder_weights="run:{own}"'),
    }


def few(tiles: TileSet, out: Path, fraction: float, seed: int) -> Path:
    """The folder of tiles of which a fraction of the labelled training tiles keeps its labels."""
    if fraction >= 1:
        return tiles.root
    values = tiles.labels.trained_values
    labelled = [tile.key for tile in tiles.of_split("train") if any(tile.pixels.get(value) for value in values)]
    order = np.random.default_rng(seed).permutation(len(labelled))
    labels_only_of(tiles, out, {labelled[n] for n in order[: max(1, round(fraction * len(labelled)))]})
    return out


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """All rows."""
    tiles = exported(
        options.project, options.labels, options.out / "tiles", mpp=options.mpp, tile_size=options.tile_size
    )
    ways = starts(options)
    for fraction in map(float, options.fractions.split(",")):
        base = None
        for name, start in ways.items():
            each = []
            for seed in range(options.seeds):
                given = few(tiles, options.out / f"tiles-{fraction:g}-{seed}", fraction, seed)
                common = settings(seed, options.steps, options.epochs, ["data.crop_px=0", *start])
                run = trained(given, options.out / f"{name}-{fraction:g}-{seed}", common)
                each.append(scored(run, options.project, options.labels)["mean"])
                print(f"{fraction:.0%} of the labels, {name}, seed {seed}: {each[-1]:.3f}", flush=True)
            base = mean(each) if base is None else base
            title = f"{fraction:.0%} of the labels, {name} ({min(each):.3f} to {max(each):.3f})"
            yield row(title, mean(each), "Dice", against="none", ratio=mean(each) / max(base, 1e-9))
    ways_to_guess = evaluated(run, options.project, options.labels).pooled.baselines
    names = [item.name for item in tiles.labels.classes]
    best = max(float(ways_to_guess[name]["all this class"].dice or 0) for name in names)
    yield row("everything one class", best / len(names), "Dice")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("project", "labels", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--imagenet", type=Path, required=True)
    for name, default in (("seeds", 3), ("steps", 300), ("epochs", 10), ("pretrain-epochs", 20), ("tile-size", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--fractions", default="0.1,0.5,1")
    parser.add_argument("--mpp", type=float, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    show(list(measure(options)), options.json)


if __name__ == "__main__":
    main()
