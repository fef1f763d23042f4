"""What reviewers remove of predictions outside of regions, where there is one class: unknown, or background?

python benchmarks/deletions.py PROJECT OUT [--class Tumor] [--learn P2] [--seeds 3] [--steps 160] [--epochs 4]
    [--imagenet efficientnet-lite0-57934424.pth] [--json FILE]

PROJECT has slides with metadata "Split" (train, val, test), annotated inside Region*. OUT takes copies of it, tiles,
runs and predictions; what is there is gone on with. For each seed a first model is trained on the training slides but
for the one whose name begins with --learn. It predicts the regions of this slide in a copy of the project, which then
has no annotations there, regions neither. A made-up reviewer, who knows what PROJECT says, goes through the areas:
nine tenths of the class are accepted, less than a tenth is deleted, others are cut back to what PROJECT says. Four
trainings are compared on the test slides: without the slide (the first model), with what is left of its areas alone
(--removed ignore), with what was removed as background, and with PROJECT's own annotations; the validation slides, on
which the epoch with the highest Dice is chosen, stand beside them. Half of the crops show the class, the others are any
labelled tile: by tiles with and without it, those of which little is known would fill most of each batch.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import shapely
from measuring import Row, row, show
from sparse import from_imagenet

import qpkit
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.qupath import Entry, Project
from qpkit.qupath.project.copying import copy_project

SPLITS, REGION = ("test", "val"), "Region*"
WITHIN, EVERY_SLIDE = qpkit.PredictSettings(within=REGION), qpkit.SlideSettings()
MEASURES = ("dice", "precision", "recall")
ACCEPTED, DELETED = 0.9, 0.1
"""Fraction of an area that is of the class, at least and at most."""
BASE = "removed is unknown"


def labels_of(class_name: str) -> LabelMap:
    """One class, and background elsewhere inside regions."""
    return LabelMap(
        classes=(LabelClass(class_name, 1, (class_name,)),), unannotated="ignore", regions=(REGION,),
        ignored=("Ignore*",),
    )  # fmt: skip


def named(project: Project, name: str) -> Entry:
    """The entry whose name begins like this."""
    return next(entry for entry in project.entries if entry.name.startswith(name))


def without_annotations(options: argparse.Namespace, folder: Path) -> Project:
    """A copy of the project, without the annotations of one slide but its regions."""
    original = qpkit.open_project(options.project)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy = copy_project(original, folder, {entry.id: entry.name for entry in original.entries})
    entry = named(copy, options.learn)
    entry.replace_objects(remove={str(item.id) for item in entry.objects() if item.class_name != REGION}, add=[])
    return qpkit.open_project(copy.path)


def reviewed(project: Project, options: argparse.Namespace) -> str:
    """Accept, cut back and delete what was imported, as the reviewer does; says how many of each."""
    truth = named(qpkit.open_project(options.project), options.learn).objects()
    tissue = shapely.union_all([shapely.make_valid(o.geometry) for o in truth if o.class_name == options.class_name])
    entry = named(project, options.learn)
    kept, counts = [], Counter[str]()
    objects = entry.objects()
    for item in objects:
        if item.class_name != REGION:
            shape = shapely.make_valid(item.geometry)
            right = shape.intersection(tissue)
            fraction = right.area / shape.area
            what = "accepted" if fraction >= ACCEPTED else "deleted" if fraction <= DELETED else "cut back"
            counts[what] += 1
            if what != "deleted":
                parts = [part for part in shapely.get_parts(right) if part.geom_type == "Polygon"]
                shown = item.geometry if what == "accepted" else shapely.MultiPolygon(parts)
                kept.append(replace(item, geometry=shown, shape=None, locked=True))
    entry.replace_objects(remove={str(item.id) for item in objects}, add=kept)
    return ", ".join(f"{count} areas {what}" for what, count in sorted(counts.items()))


def trained(
    project: Path,
    run: Path,
    how: qpkit.ExportSettings,
    seed: int,
    recipe: Sequence[str],
    slides: qpkit.SlideSettings = EVERY_SLIDE,
) -> Path:
    """Export and train; a training that is there is gone on with."""
    tiles = run.with_name(f"{run.name}-tiles")
    if not (tiles / "export.json").exists():
        qpkit.export([project], tiles, how, slides=slides)
    qpkit.train(tiles, run, "unet-resnet18", overrides=[*recipe, f"seed={seed}"], resume=run.exists())
    return run


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """All rows."""
    start = () if options.imagenet is None else from_imagenet(options.imagenet, options.out)
    steps = max(1, options.steps // options.epochs)
    recipe = [
        *start, "data.crop_px=0", "data.batch_size=8", f"optim.epochs={options.epochs}",
        f"optim.steps_per_epoch={steps}", "early_stopping.patience=0", "sampler.foreground=0.5",
    ]  # fmt: skip
    labels = labels_of(options.class_name)
    plain = qpkit.ExportSettings.of(
        labels=labels, split="metadata:Split", mpp=1, tile_size=128, store="none", only_annotated=True
    )
    found: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(options.seeds):
        folder = options.out / str(seed)
        ready = folder / "reviewed.txt"
        first = folder / "first"
        if not ready.exists():
            project = without_annotations(options, folder / "project")
            others = [entry.name for entry in project.entries if not entry.name.startswith(options.learn)]
            trained(project.path, first, plain, seed, recipe, qpkit.SlideSettings(entries=tuple(others)))
            slides, how = qpkit.SlideSettings(entries=(named(project, options.learn).name,)), WITHIN
            qpkit.predict(first, [project], folder / "seen", how, slides=slides, overwrite=True)
            qpkit.import_predictions(folder / "seen", project.path, qpkit.ImportSettings(min_area_um2=500))
            ready.write_text(reviewed(qpkit.open_project(project.path), options))
        print(f"seed {seed}: {ready.read_text()}", flush=True)
        project_path, told = folder / "project", replace(plain, reviewed=True)
        ways = {
            "without the slide": (project_path, plain, "first"),
            BASE: (project_path, replace(told, removed="ignore"), "accepted"),
            "removed is background": (project_path, told, "deleted"),
            "everything annotated": (options.project, plain, "everything"),
        }
        for way, (place, how, name) in ways.items():
            run = trained(place, folder / name, how, seed, recipe)
            for split in SPLITS:
                score = scores_of(run, folder / f"{name}-{split}", split, options)
                found.setdefault((split, way), []).append(score)
                print(f"seed {seed}, {way}, {split}: {score}", flush=True)
    for (split, way), each_seed in found.items():
        base = [mean(each) for each in zip(*found[split, BASE], strict=True)]
        for name, each, beside in zip(MEASURES, zip(*each_seed, strict=True), base, strict=True):
            title = f"{split}: {way} ({min(each):.3f} to {max(each):.3f})"
            yield row(title, mean(each), name, against=BASE, ratio=mean(each) / beside if beside else None)


def scores_of(run: Path, out: Path, split: str, options: argparse.Namespace) -> list[float]:
    """Dice, precision and recall of the class inside the regions of the slides of a split."""
    slides = qpkit.SlideSettings(where={"Split": split})
    if not out.exists():
        qpkit.predict(run, [options.project], out, WITHIN, slides=slides)
    labels = labels_of(options.class_name)
    scores = qpkit.evaluate(out, [options.project], labels=labels, slides=slides).pooled.scores
    return [float(getattr(scores[options.class_name], name) or 0) for name in MEASURES]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("project", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--class", dest="class_name", default="Tumor")
    parser.add_argument("--learn", default="P2")
    for name, default in (("seeds", 3), ("steps", 160), ("epochs", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    show(list(measure(options)), options.json)


if __name__ == "__main__":
    main()
