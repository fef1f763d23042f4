"""How many clicks an object needs (NoC) on slides that no training has seen, beside what needs no training.

python benchmarks/prompts.py nuclei PAIRS OUT [--seeds 3] [--steps 400] [--objects 150] [--json FILE]
python benchmarks/prompts.py tissue PROJECT OUT [--labels labels.toml] [--mpp 1] ...

nuclei: PAIRS is a folder with images/, labels/ (16-bit PNG, a number per nucleus) and mosaics.csv such as dsb2018-he;
whole mosaics (fields of view) are training, validation (the best epoch) and test. tissue: PROJECT has slides with
metadata "Split" (composed-train); what is clicked on is a connected area of one class in a tile. OUT takes tiles and
runs; what is there is gone on with.

A simulated person clicks into the middle of the object, then into the middle of the largest error, until the IoU is
reached, 20 times at most (RITM's protocol). NoC@0.8 is the mean number of clicks until IoU 0.8, with 20 for objects
that never reach it; their fraction is told beside it, and the mean IoU after 1, 3 and 5 clicks. Objects are the same
for all seeds and ways: an even choice of those of 64 px or more on the test tiles.

Baselines: a disc of the median area of the training's objects around each click inside; and growing from each click
inside over pixels of like colour, with the tolerance of the highest IoU after one click on training objects. Both lose
discs of half that radius around clicks outside.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

import numpy as np
from measuring import Row, row, show
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab
from skimage.filters import gaussian
from skimage.measure import label as areas_of_mask

import qpkit
from qpkit.core.labels import LabelClass, LabelMap, label_map_to_builtins
from qpkit.dataset import TileRecord, TileSet, read_tile_set, write_tile_set
from qpkit_train.clicks.discs import Click, clicked_image
from qpkit_train.clicks.needed import MOST_CLICKS, clicks_needed, play
from qpkit_train.data.batches import class_index_table
from qpkit_train.data.one_object import OneObjectReader
from qpkit_train.inference.prompts.objects import connected_with
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.models.card import LEVELS
from qpkit_train.run_folder.run import load_run

RECIPE: Final = "prompts-unet-resnet18"
LEAST_PX: Final = 64
TOLERANCES: Final = (4.0, 6.0, 8.0, 10.0, 14.0, 18.0, 24.0)
"""Of colour, in CIE Lab."""
SHOWN: Final = (1, 3, 5)
"""Clicks after which the mean IoU is told."""

Mask = NDArray[np.bool_]
Way = Callable[[NDArray[np.uint8], Sequence[Click]], Mask]


@dataclass(frozen=True)
class Object:
    """An object on a tile: (h, w, 3) image, (h, w) bool inside, and outside where that is known."""

    image: NDArray[np.uint8]
    inside: Mask
    outside: Mask


def nuclei_tiles(pairs: Path, root: Path) -> None:
    """Tiles of 256 px from images of 256 x 320, with instances; mosaics in turn are test, validation and training."""
    root.mkdir(parents=True)
    labels = LabelMap(classes=(LabelClass("Nucleus", 1, ("Nucleus",)),), instances=True)
    with (pairs / "mosaics.csv").open() as file:
        rows = list(csv.DictReader(file))
    mosaics = sorted({item["mosaic"] for item in rows})
    split_of = {name: ("test", "train", "train", "val", "train")[i % 5] for i, name in enumerate(mosaics)}
    tiles = []
    for number, item in enumerate(rows):
        image = np.asarray(Image.open(pairs / "images" / f"{item['image_id']}.png").convert("RGB"))[:256, :256]
        numbers = np.asarray(Image.open(pairs / "labels" / f"{item['image_id']}.png"))[:256, :256].astype(np.uint32)
        mask = (numbers > 0).astype(np.uint8)
        Image.fromarray(image).save(root / f"{number}.png")
        Image.fromarray(mask).save(root / f"{number}-mask.png")
        Image.fromarray(numbers.astype(np.uint16)).save(root / f"{number}-instances.png")
        tiles.append(
            TileRecord(
                slide=item["mosaic"], entry="", group=item["mosaic"], split=split_of[item["mosaic"]],  # type: ignore[arg-type]
                col=number, row=0, x=number * 256.0, y=0.0, width=256.0, height=256.0, downsample=1.0, mpp=0.25,
                tissue=1.0, std=20.0, pixels={0: int((mask == 0).sum()), 1: int(mask.sum())}, image=f"{number}.png",
                mask=f"{number}-mask.png", others={"instances": f"{number}-instances.png"},
            )
        )  # fmt: skip
    layers = ["image", "mask", "instances"]
    info = {"labels": label_map_to_builtins(labels), "mpp": 0.25, "tile_size_px": 256, "layers": layers}
    write_tile_set(root, tiles, info)


def objects_of(tile_set: TileSet, split: str, most: int) -> list[Object]:
    """An even choice of the objects of a split, of LEAST_PX or more."""
    reader = OneObjectReader(tile_set, table=class_index_table(tile_set.labels))
    found = []
    for tile in tile_set.of_split(split):  # type: ignore[arg-type]
        image, target = reader.read(tile)
        numbers = reader.numbers(tile, target)
        sizes = np.bincount(numbers.ravel())
        found += [
            Object(image, numbers == number, (target != 255) & (numbers != number))
            for number in np.flatnonzero(sizes >= LEAST_PX)
            if number
        ]
    return found[:: max(1, -(-len(found) // most))]


def discs(radius: float) -> Way:
    """A disc around each click inside, without those around clicks outside."""

    def answer(image: NDArray[np.uint8], clicks: Sequence[Click]) -> Mask:
        return _near(image, clicks, radius, is_inside=True) & ~_near(image, clicks, radius / 2, is_inside=False)

    return answer


def growing(tolerance: float, radius: float) -> Way:
    """What is connected with a click inside over pixels whose colour is within the tolerance of the click's."""

    def answer(image: NDArray[np.uint8], clicks: Sequence[Click]) -> Mask:
        lab = rgb2lab(gaussian(image, 1.5, channel_axis=-1))
        found = np.zeros(image.shape[:2], bool)
        for click in clicks:
            if click.is_inside:
                alike = np.linalg.norm(lab - lab[click.pixel], axis=-1) <= tolerance
                numbers = areas_of_mask(alike, connectivity=1)
                found |= numbers == numbers[click.pixel]
        return found & ~_near(image, clicks, radius / 2, is_inside=False)

    return answer


def _near(image: NDArray[np.uint8], clicks: Sequence[Click], radius: float, *, is_inside: bool) -> Mask:
    rows, columns = np.indices(image.shape[:2]) + 0.5
    found = np.zeros(image.shape[:2], bool)
    for click in clicks:
        if click.is_inside == is_inside:
            found |= (rows - click.y) ** 2 + (columns - click.x) ** 2 <= radius**2
    return found


def network(run: Path) -> Way:
    """A run's best epoch, on the whole tile; what is connected with no click does not count, as in predictions."""
    predictor = Predictor(load_run(run))

    def answer(image: NDArray[np.uint8], clicks: Sequence[Click]) -> Mask:
        sample = clicked_image(image, clicks, radius_px=predictor.card.click_px)
        levels = predictor.levels(sample[np.newaxis])[0, 1]
        return connected_with(levels / np.float32(LEVELS), clicks)

    return answer


def scores_of(way: Way, objects: Sequence[Object], most: int = MOST_CLICKS) -> list[list[float]]:
    """IoU after each click, of each object."""
    return [
        play(lambda clicks, item=item: way(item.image, clicks), item.inside, item.outside, most=most, until=0.9)
        for item in objects
    ]


def measures(scores: Sequence[Sequence[float]]) -> dict[str, tuple[float, str]]:
    """What is told of the scores of a way: value and unit by name."""
    found: dict[str, tuple[float, str]] = {}
    for threshold in (0.8, 0.9):
        found[f"NoC@{threshold}"] = (mean(clicks_needed(own, threshold) for own in scores), "clicks")
        found[f"failures at {threshold}"] = (mean(max(own, default=0) < threshold for own in scores), "fraction")
    for count in SHOWN:
        # Who has 0.9 stops clicking.
        found[f"IoU after {count}"] = (mean(own[min(count, len(own)) - 1] for own in scores), "IoU")
    return found


def trained(tile_root: Path, seed: int, options: argparse.Namespace) -> Path:
    """The run of a seed; a training that is there is gone on with."""
    run: Path = options.out / f"run-{seed}"
    overrides = [
        f"data.crop_px={options.crop}", f"data.batch_size={options.batch_size}", f"optim.epochs={options.epochs}",
        f"optim.steps_per_epoch={max(1, options.steps // options.epochs)}", "early_stopping.patience=0",
        "early_stopping.tiles=24", f"seed={seed}",
    ]  # fmt: skip
    report = qpkit.train(tile_root, run, RECIPE, overrides=overrides, resume=run.exists())
    print(f"seed {seed}: {report.steps} steps, best epoch {report.best_epoch}, IoU {report.mean_iou:.3f}", flush=True)
    return run


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """All rows: each way, each measure."""
    tile_root = options.out / "tiles"
    if not tile_root.exists() and options.what == "nuclei":
        nuclei_tiles(options.data, tile_root)
    elif not tile_root.exists():
        rule = qpkit.ExportSettings.of(
            labels=str(options.labels), split="metadata:Split", mpp=options.mpp, tile_size=256, only_annotated=True
        )
        qpkit.export([options.data], tile_root, rule)
    tile_set = read_tile_set(tile_root)
    known, unseen = (objects_of(tile_set, split, options.objects) for split in ("train", "test"))
    areas = [int(item.inside.sum()) for item in known]
    radius = float(np.sqrt(np.median(areas) / np.pi))
    print(f"{len(unseen)} objects of the test tiles; the training's median area is {np.median(areas):.0f} px")
    some = known[:: max(1, len(known) // 40)]
    best = max(TOLERANCES, key=lambda t: mean(own[0] for own in scores_of(growing(t, radius), some, most=1)))
    ways = {"disc": discs(radius), f"like colours, {best:g}": growing(best, radius)}
    first: dict[str, float] = {}
    for name, way in ways.items():
        for what, (value, unit) in measures(scores_of(way, unseen)).items():
            first.setdefault(what, value)
            yield row(f"{name}: {what}", value, unit)
    runs = [trained(tile_root, seed, options) for seed in range(options.seeds)]
    found = [measures(scores_of(network(run), unseen)) for run in runs]
    for what, (_, unit) in found[0].items():
        each = [of_run[what][0] for of_run in found]
        ratio = first[what] / mean(each) if mean(each) else None
        yield row(
            f"network: {what} ({min(each):.3f} to {max(each):.3f})",
            mean(each),
            unit,
            against="disc",
            ratio=ratio if unit != "IoU" else mean(each) / first[what],
        )
    if options.pictures:
        pictures(network(runs[0]), unseen, options.pictures)


def pictures(way: Way, objects: Sequence[Object], file: Path) -> None:
    """Draw some objects: tile and truth (green), what is answered to 1 and 3 clicks (yellow), and the clicks."""
    rows = []
    for item in objects[:: max(1, len(objects) // 8)][:8]:
        seen: list[Sequence[Click]] = []

        def answer(clicks: Sequence[Click], item: Object = item, seen: list[Sequence[Click]] = seen) -> Mask:
            seen.append(list(clicks))
            return way(item.image, clicks)

        play(answer, item.inside, item.outside, most=3)
        parts = [_outlined(item.image, item.inside, (0, 255, 0), ())]
        parts += [_outlined(item.image, way(item.image, own), (255, 255, 0), own) for own in (seen[0], seen[-1])]
        rows.append(np.concatenate(parts, axis=1))
    Image.fromarray(np.concatenate(rows)).save(file)


def _outlined(image: NDArray[np.uint8], mask: Mask, color: Sequence[int], clicks: Sequence[Click]) -> NDArray[np.uint8]:
    inner = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
    drawn = image.copy()
    drawn[mask & ~inner] = color
    for click in clicks:
        drawn[_near(image, [click], 3, is_inside=click.is_inside)] = (0, 0, 255) if click.is_inside else (255, 0, 0)
    return drawn


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("nuclei", "tissue"))
    for name in ("data", "out"):
        parser.add_argument(name, type=Path)
    for name, default in (("seeds", 3), ("steps", 400), ("epochs", 8), ("crop", 128), ("batch-size", 8),
                          ("objects", 150)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--mpp", type=float, default=1.0)
    for name in ("labels", "json", "pictures"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for each in measure(options):
        print(each["name"], each["value"], each["unit"], flush=True)
        rows.append(each)
    show(rows, options.json)


if __name__ == "__main__":
    main()
