"""What augmentation of colour is worth on stainings that no training slide has.

python benchmarks/stains.py PROJECT LABELS OUT --targets DIR [--ways none,default,...] [--seeds 2] [--steps 300]
    [--mpp 1] [--tile-size 128] [--imagenet efficientnet-lite0-57934424.pth] [--json FILE]

PROJECT has slides with metadata "Split" (train, val, test), LABELS is its labels.toml, OUT the folder for tiles and
runs; what is there is gone on with. Each way trains the same U-Net for as many steps with other settings of [augment];
the epoch with the best Dice on the validation slides, which look like those of the training, is kept. It then predicts
the labelled tiles of the test slides as they are, and recoloured: half as dense, with a turned hue, with the two stains
exchanged for those of the pictures in DIR (another laboratory, or immunohistochemistry). Dice is the mean over the
classes that tiles show, over all pixels with a label; then over the seeds, lowest to highest in the name. A network
that calls everything one class is the baseline. No choice has seen the test slides.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from measuring import Row, row, show
from semi import exported, settings, trained
from sparse import from_imagenet
from torch import Tensor

from qpkit.dataset import TileSet
from qpkit.ops.scores.confusion import class_scores, confusion_of, empty_confusion
from qpkit_train.augment.stainings import macenko
from qpkit_train.augment.style_sources import style_source
from qpkit_train.augment.transforms.color import Color
from qpkit_train.data.batches import TileReader
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.recipe.settings import AugmentConfig
from qpkit_train.run_folder.run import load_run
from qpkit_train.train_style import train_style

NONE = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
HEAVY = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.5, "hue": 0.1, "stain": 0.4}
WAYS: dict[str, Mapping[str, object]] = {
    "none": NONE,
    "default": {},
    "heavy": HEAVY,
    "stain": {**NONE, "stain": 0.4},
    "pca": {**NONE, "pca": 0.8, "pca_p": 0.8},
    "reinhard": {**NONE, "style": 1, "style_p": 0.5},
    "macenko": {**NONE, "style": 1, "style_p": 0.5, "style_way": '"macenko"'},
    "fourier": {**NONE, "style": 1, "style_p": 0.5, "style_way": '"fourier"'},
    "randstain": {**NONE, "style": 1, "style_p": 0.5, "style_way": '"randstain"'},
    "macenko from targets": {**NONE, "style": 1, "style_p": 0.5, "style_way": '"macenko"', "style_from": "TARGETS"},
    "learned from targets": {**NONE, "style": 1, "style_p": 0.5, "style_way": '"network"', "style_from": "LEARNED"},
    "heavy and randstain": {**HEAVY, "style": 1, "style_p": 0.5, "style_way": '"randstain"'},
}


def paler(images: Tensor) -> Tensor:
    """Half of the optical density."""
    return images.clamp(min=1 / 255) ** 0.5


def turned(images: Tensor) -> Tensor:
    """The colour circle turned by a twelfth."""
    one = Color(brightness=0, contrast=0, saturation=0, hue=1 / 12)
    return one.apply(images, lambda _: _Ones(np.random.PCG64(0)))


class _Ones(np.random.Generator):
    """Draws nothing but the upper end."""

    def uniform(self, low: float = 0.0, high: float = 1.0, size: object = None) -> object:
        """As Generator.uniform."""
        return np.full(size, high)  # type: ignore[arg-type] # a size, as everywhere


def restained(pictures: Tensor) -> Callable[[Tensor], Tensor]:
    """The two stains of the first picture that has them, for all images."""
    target = pictures[:1].float() / 255

    def change(images: Tensor) -> Tensor:
        others = target.expand(len(images), *target.shape[1:])
        return macenko(images, others, torch.ones(len(images)))(images)

    return change


def dice_of(run: Path, tiles: TileSet, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> dict[str, float]:
    """Mean Dice of the classes on the test tiles, by how these are recoloured."""
    found = load_run(run)
    predictor, names = Predictor(found), [item.name for item in tiles.labels.classes]
    reader = TileReader(tiles)
    values = tiles.labels.trained_values
    confusions = {name: empty_confusion(len(values)) for name in changes}
    for tile in tiles.of_split("test"):
        if not any(tile.pixels.get(value) for value in values):
            continue
        pixels, truth = reader.read(tile)
        image = torch.from_numpy(pixels.copy()).movedim(-1, 0)[None].float() / 255
        for name, change in changes.items():
            changed = (change(image) * 255).round().to(torch.uint8)[0].movedim(0, -1).numpy()
            answer = predictor.answer(changed[np.newaxis], halo=0, probabilities=False)
            confusions[name] += confusion_of(truth, answer.indices[0], len(values))
    all_names = [tiles.labels.name_of(value) for value in values]
    return {
        name: mean(float(score.dice or 0) for score in class_scores(confusion, all_names) if score.name in names)
        for name, confusion in confusions.items()
    }


def one_class(tiles: TileSet) -> float:
    """Mean Dice of the classes, of calling everything the most frequent one."""
    values = [item.value for item in tiles.labels.classes]
    pixels = [sum(tile.pixels.get(value, 0) for tile in tiles.of_split("test")) for value in values]
    whole = sum(
        sum(tile.pixels.get(value, 0) for value in tiles.labels.trained_values) for tile in tiles.of_split("test")
    )
    return 2 * max(pixels) / (max(pixels) + whole) / len(pixels)


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """All rows."""
    tiles = exported(
        options.project, options.labels, options.out / "tiles", mpp=options.mpp, tile_size=options.tile_size
    )
    network = ["data.crop_px=0", *(() if options.imagenet is None else from_imagenet(options.imagenet, options.out))]
    pictures = style_source(AugmentConfig(style=1, style_from=str(options.targets)), TileReader(tiles), [])
    assert pictures is not None
    changes = {"as it is": lambda images: images, "half as dense": paler, "turned hue": turned,
               "stains of the targets": restained(pictures)}  # fmt: skip
    yield row("everything one class", one_class(tiles), "Dice")
    first: dict[str, float] = {}
    for way in options.ways.split(","):
        scores: list[dict[str, float]] = []
        how = [f"augment.{name}={_said(value, options, tiles)}" for name, value in WAYS[way].items()]
        for seed in range(options.seeds):
            run = trained(
                tiles.root, options.out / f"{way}-{seed}",
                settings(seed, options.steps, options.epochs, network), *how,
            )  # fmt: skip
            scores.append(dice_of(run, tiles, changes))
            print(f"{way}, seed {seed}: {scores[-1]}", flush=True)
        for name in changes:
            each = [score[name] for score in scores]
            first.setdefault(name, mean(each))
            title = f"{way}: {name} ({min(each):.3f} to {max(each):.3f})"
            yield row(title, mean(each), "Dice", against="no augmentation of colour", ratio=mean(each) / first[name])


def _said(value: object, options: argparse.Namespace, tiles: TileSet) -> object:
    if value == "TARGETS":
        return f'"{options.targets}"'
    if value != "LEARNED":
        return value
    learned = options.out / "learned-style"
    if not learned.exists():
        train_style(tiles.root, options.targets, learned)
    return f'"{learned}"'


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("project", "labels", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--targets", type=Path, required=True)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--mpp", type=float, default=1)
    parser.add_argument("--tile-size", type=int, default=128)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    show(list(measure(options)), options.json)


if __name__ == "__main__":
    main()
