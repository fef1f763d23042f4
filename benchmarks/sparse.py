"""Sparse lesions: the published way against ours, each slide of a study in turn as the one the model has not seen.

python benchmarks/sparse.py STUDY --json FILE [--slides P4 ...] [--seeds 3] [--steps 400]

STUDY is a folder like composed-train: qupath-0.5.1/ (a QuPath project with metadata "Patient"), truth/PATIENT/
truth_labels.tif (1 is tumour). What nobody annotated holds no tumour there, so it is negative for all methods. All see
8 x 256 px a step and take the same number of steps, from scratch. Reported for the unseen slide: pixel F1, precision
and recall on the whole slide and inside its annotated regions, lesions found, and beside them the trivial predictors
and the ceiling (ours, trained on the test slide itself).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.errors
from measuring import Row, row, show
from numpy.typing import NDArray
from skimage.measure import label

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile
from qpkit.dataset.splits import SplitRule
from qpkit.ops.rasterize import rasterize
from qpkit.predictions.store import read_predictions
from qpkit.workflows.export import export_tiles
from qpkit.workflows.export_settings import ExportSettings
from qpkit.workflows.sources import SlideInput, slide_inputs
from qpkit.workflows.tissue_rule import TissueRule
from qpkit_train.config import load_recipe
from qpkit_train.loop import fit
from qpkit_train.predict import predict

TUMOR = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),), ignored=("Ignore*",))
FOUND = 0.1
"""A lesion is found if so much of it is covered; a predicted one is false if it covers no more of any lesion."""

COMMON = ("data.batch_size=8", 'model.encoder_weights="none"', "early_stopping.tiles=24", "data.cache_mb=3000")
PUBLISHED = (
    "sampler.ratio=[1,3]", "data.crop_px=0", "loss.terms=\"bce\"", "optim.name=\"adam\"", "optim.weight_decay=0.0",
    "optim.schedule=\"constant\"", "augment.rot90=false", "augment.brightness=0.0", "augment.contrast=0.0",
    "augment.saturation=0.0", "augment.hue=0.0", "optim.epochs=1",
)  # fmt: skip
OURS = (
    "sampler.ratio=[1,1]", "sampler.balance=\"group\"", "sampler.hard_negatives=0.5", "data.crop_px=256",
    "data.free_crops=true", "loss.terms=\"ce+dice\"", "optim.lr=1e-3", "optim.warmup_steps=20", "optim.ema=0.98",
    "augment.stain=0.1", "optim.epochs=4",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Method:
    """A way to make tiles and to train."""

    name: str
    settings: tuple[str, ...]
    store: str
    tile_size: int


METHODS = (
    *(Method(f"published, lr {lr}", (*PUBLISHED, f"optim.lr={lr}"), "files", 256) for lr in ("1e-6", "1e-5", "1e-4")),
    Method("qpkit", OURS, "none", 512),
)


def trained(method: Method, slides: Sequence[SlideInput], work: Path, *, steps: int, seed: int) -> Path:
    """Export some slides and train on them; gives the run."""
    tiles, run = work / "tiles", work / "run"
    settings = ExportSettings(
        mpp=0.5,
        tile_size=method.tile_size,
        labels=TUMOR,
        tissue=TissueRule.parse("std:12.5"),
        split=SplitRule.parse("slide"),
        fractions=(1.0, 0.0, 0.0),
        store=method.store,  # type: ignore[arg-type]
    )
    export_tiles(slides, tiles, settings)
    recipe = load_recipe("unet-resnet18", [*COMMON, *method.settings, f"seed={seed}"])
    per_epoch = max(1, steps // recipe.optim.epochs)
    fit(tiles, run, load_recipe("unet-resnet18", [*COMMON, *method.settings, f"seed={seed}",
                                                  f"optim.steps_per_epoch={per_epoch}"]))  # fmt: skip
    return run


def scores(found: NDArray[np.bool_], truth: NDArray[np.bool_], known: NDArray[np.bool_]) -> dict[str, float]:
    """Pixel F1, precision and recall where something is known."""
    both = int((found & truth & known).sum())
    said, there = int((found & known).sum()), int((truth & known).sum())
    precision, recall = both / said if said else 0.0, both / there if there else 0.0
    return {"F1": 2 * both / max(said + there, 1), "precision": precision, "recall": recall}


def lesion_f1(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """F1 of connected areas: a lesion counts as found, and a finding as right, at 10 % overlap."""
    lesions, findings = label(truth, connectivity=1), label(found, connectivity=1)
    hit = _covered(lesions, found)
    right = _covered(findings, truth)
    precision, recall = right.mean() if len(right) else 0.0, hit.mean() if len(hit) else 0.0
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def _covered(areas: NDArray[np.int64], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    sizes = np.bincount(areas.ravel())[1:]
    return np.asarray(np.bincount(areas[other], minlength=len(sizes) + 1)[1:] >= FOUND * sizes)


def judged(
    run: Path, item: SlideInput, truth: NDArray[np.bool_], region: NDArray[np.bool_], work: Path
) -> dict[str, float]:
    """All figures of a run on one slide."""
    predict(run, [item.source], work / "predictions")
    (slide,) = read_predictions(work / "predictions").slides
    with rasterio.open(work / "predictions" / slide.labels) as raster:
        found = raster.read(1) == 1
    everywhere = np.ones_like(region)
    whole = {f"whole slide {name}": value for name, value in scores(found, truth, everywhere).items()}
    inside = {f"in regions {name}": value for name, value in scores(found, truth, region).items()}
    return whole | inside | {"lesion F1": lesion_f1(found, truth)}


def regions(item: SlideInput) -> NDArray[np.bool_]:
    """Where the slide was annotated at all."""
    whole = Tile(col=0, row=0, x=0, y=0, width=item.info.width, height=item.info.height)
    labels = LabelMap(classes=(LabelClass("Region", 1, ("Region*",)),))
    return np.asarray(rasterize(item.objects(), whole, labels) == 1)


def trivial(truth: NDArray[np.bool_], region: NDArray[np.bool_]) -> dict[str, float]:
    """F1 of all lesion and of random at the prior; all background has 0."""
    figures = {}
    for where, known in (("whole slide", np.ones_like(region)), ("in regions", region)):
        prior = truth[known].mean()
        figures |= {f"{where} F1, all tumour": 2 * prior / (1 + prior), f"{where} F1, random": float(prior)}
    return figures


def measure(study: Path, patients: Sequence[str], seeds: int, steps: int) -> Iterator[Row]:
    """All rows."""
    inputs = {item.metadata["Patient"]: item for item in slide_inputs([study / "qupath-0.5.1"])}
    for patient in patients or sorted(inputs):
        with rasterio.open(study / "truth" / patient / "truth_labels.tif") as raster:
            truth = raster.read(1) == 1
        region = regions(inputs[patient])
        for name, value in trivial(truth, region).items():
            yield row(f"{patient}, {name}", value, "")
        others = [item for name, item in inputs.items() if name != patient]
        tried = [(m, others, m.name) for m in METHODS] + [(METHODS[-1], [inputs[patient]], "ceiling")]
        for method, slides, name in tried:
            found = []
            for seed in range(seeds):
                with tempfile.TemporaryDirectory() as work:
                    run = trained(method, slides, Path(work), steps=steps, seed=seed)
                    found.append(judged(run, inputs[patient], truth, region, Path(work)))
                    print(patient, name, seed, json.dumps({k: round(v, 3) for k, v in found[-1].items()}), flush=True)
            for key in found[0]:
                yield row(f"{patient}, {name}, {key}", float(np.mean([f[key] for f in found])), f"mean of {seeds}")


def main() -> None:
    """Parse, measure, print the table, write the rows."""
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--slides", nargs="*", default=[], help="patients; all if none")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    show(list(measure(options.study, options.slides, options.seeds, options.steps)), options.json)


if __name__ == "__main__":
    main()
