"""What clusters without labels are worth on real tissue: every method of qpkit propose against annotations.

python benchmarks/unlabelled.py OUT [--pairs DIR] [--project PROJECT --labels LABELS] [--only NAME ...] [--methods A,B]
    [--seeds 3] [--epochs N] [--features ENCODER:WEIGHTS] [--json FILE]

DIR has folders of images and masks (aidpath-glomeruli, bcss-breast-tumor, dsb2018-he): two clusters, Dice and IoU of
what is annotated there, the mean over images. PROJECT is a QuPath project: four clusters, the mean over the classes of
LABELS, then over slides. Which class a cluster stands for is chosen on all other images ("elsewhere"); beside it stands
what it gets if each image chooses for itself, as the published code does ("here"). "one class" calls everything that is
annotated by one name. Means over the seeds, lowest to highest in the name. OUT is a folder for what the project's
methods write. --epochs is for vade and unsegarmanet, where the published ones take too long.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

import numpy as np
from measuring import Row, row, show
from numpy.typing import NDArray
from PIL import Image

import qpkit
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import QpkitError
from qpkit.slides import SlideSource
from qpkit.workflows.evaluate.clusters import ClusterCounts, ClusterResult, score_clusters
from qpkit_train.machine.devices import pick_device
from qpkit_train.unsupervised.canvas import canvases_of_slides
from qpkit_train.unsupervised.methods import divide
from qpkit_train.unsupervised.propose import raster_of
from qpkit_train.unsupervised.propose_settings import ProposeSettings

METHODS: Final = ("kmeans", "kmeans-texture", "superpixels", "felzenszwalb", "unsegarmanet", "vade")
EPOCHS: Final = ("unsegarmanet", "vade", "vade-convolutional")
WHAT: Final = LabelMap(classes=(LabelClass("annotated", 1, ("annotated",)),))
MASKS: Final = ("masks", "labels")


@dataclass(frozen=True)
class Pairs:
    """A folder of images: um per px of the files, and at which they are looked at; side and stride of patches."""

    mpp: float
    seen: float
    patch: int = 96
    stride: int = 64


PAIRS: Final = {
    "aidpath-glomeruli": Pairs(0.5, 0.5),
    "bcss-breast-tumor": Pairs(0.25, 0.5),
    "dsb2018-he": Pairs(0.5, 0.5, patch=32, stride=16),
}


def mask_of(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where something is annotated, (h, w), nearest px."""
    return (
        np.asarray(Image.open(path).resize(size, Image.Resampling.NEAREST)).reshape(size[1], size[0], -1).any(axis=-1)
    )


def of_pairs(folder: Path, kind: Pairs, how: ProposeSettings) -> ClusterResult:
    """Divide all images of a folder together, and compare with their masks."""
    images = sorted((folder / "images").iterdir())
    masks = next(folder / name for name in MASKS if (folder / name).is_dir())
    sources = [SlideSource(name=path.stem, path=path, mpp=kind.mpp) for path in images]
    counts = []
    with ExitStack() as stack:
        canvases = canvases_of_slides(sources, kind.seen, stack, only_tissue=False)
        division = divide(canvases, how, (), pick_device())
        for canvas in canvases:
            proposed = raster_of(canvas, division)
            truth = mask_of(masks / f"{canvas.name}.png", (canvas.width, canvas.height))
            codes = proposed.astype(np.int64) * 2 + truth
            px = np.bincount(codes.ravel(), minlength=2 * (how.clusters + 1)).reshape(-1, 2)
            counts.append(ClusterCounts(canvas.name, px))
    return score_clusters(counts, WHAT)


def annotated_mean(result: ClusterResult, which: str, metric: str) -> float:
    """Mean over the images that show what is annotated."""
    number = result.classes.index("annotated")
    own = [getattr(slide, which)[number] for slide in result.slides]
    return mean(float(getattr(score, metric) or 0) for score in own if score.support)


def project_mean(result: ClusterResult, which: str, metric: str) -> float:
    """Mean over classes and slides."""
    return result.mean_of(which, metric) or 0.0


def rows_of(
    title: str,
    method: str,
    seeds: int,
    get: Callable[[int], ClusterResult],
    average: Callable[[ClusterResult, str, str], float],
    first: dict[str, float],
) -> Iterator[Row]:
    """The rows of a method on one set of slides."""
    start, results = time.perf_counter(), []
    for seed in range(seeds):
        results.append(get(seed))
        print(f"{title}, {method}, seed {seed}: {average(results[-1], 'elsewhere', 'dice'):.3f}", flush=True)
    seconds = (time.perf_counter() - start) / seeds
    if title not in first:
        first[title] = average(results[0], "one_class", "dice")
        yield row(f"{title}: one class", first[title], "Dice")
    for which in ("elsewhere", "here"):
        for metric in ("dice", "iou"):
            each = [average(result, which, metric) for result in results]
            yield row(
                f"{title}: {method}, chosen {which} ({min(each):.3f} to {max(each):.3f})",
                mean(each),
                {"dice": "Dice", "iou": "IoU"}[metric],
                against="one class" if metric == "dice" else "",
                ratio=mean(each) / first[title] if metric == "dice" else None,
            )
    yield row(f"{title}: {method}", seconds, "s")


def settings_of(method: str, seed: int, options: argparse.Namespace, **more: object) -> ProposeSettings:
    """What a method is told."""
    epochs = options.epochs if method in EPOCHS else None
    return ProposeSettings(method=method, seed=seed, epochs=epochs, features=options.features, **more)  # type: ignore[arg-type] # of the command line


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """All rows."""
    first: dict[str, float] = {}
    for name, kind in PAIRS.items() if options.pairs else ():
        if options.only and name not in options.only:
            continue
        for method in options.methods.split(","):
            patches = {"patch_px": kind.patch, "stride_px": kind.stride, "clusters": 2, "mpp": kind.seen}

            def get(seed: int, method: str = method, name: str = name, kind: Pairs = kind,
                    patches: dict[str, object] = patches) -> ClusterResult:  # type: ignore[assignment]  # fmt: skip
                return of_pairs(options.pairs / name, kind, settings_of(method, seed, options, **patches))

            try:
                yield from rows_of(name, method, options.seeds, get, annotated_mean, first)
            except QpkitError as err:
                print(f"{name}, {method}: {err}", flush=True)
    if options.project is not None:
        labels = qpkit.read_label_map(options.labels)
        for method in options.methods.split(","):

            def of_project(seed: int, method: str = method) -> ClusterResult:
                how = settings_of(method, seed, options, mpp=options.mpp, clusters=4)
                report = qpkit.propose(
                    [options.project], options.out / f"{method}-{seed}", how, labels=labels, geojson_only=True,
                    overwrite=True,
                )  # fmt: skip
                assert report.scores is not None
                return report.scores

            yield from rows_of(options.project.stem, method, options.seeds, of_project, project_mean, first)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    for name in ("pairs", "project", "labels", "json"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--mpp", type=float, default=1.0)
    parser.add_argument("--features", default="dino")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    show(list(measure(options)), options.json)


if __name__ == "__main__":
    main()
