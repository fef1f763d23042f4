"""What deleted predictions are worth outside of regions, where there is one class: nothing, or background.

python benchmarks/deletions.py PROJECT OUT [--class Tumor] [--learn P2] [--seeds 3] [--steps 160] [--epochs 4]
    [--imagenet efficientnet-lite0-57934424.pth] [--json FILE]

PROJECT has slides with metadata "Split" (train, val, test), annotated inside Region*. OUT takes copies of it, tiles,
runs and predictions; what is there is gone on with. For each seed a first model is trained on the training slides but
for the one whose name begins with --learn. In a copy of the project this slide has no annotations. The model predicts
it, and a made-up reviewer, who knows what PROJECT says, goes through the areas: one of which at least half lies inside
Region* is accepted where at least half of that is of the class, else deleted. No region is drawn. Four trainings are
compared on the test slides: without the slide (the first model), with its accepted areas alone (--removed ignore),
with the deleted ones as background, and with PROJECT's own annotations. The best epoch is the one with the highest
Dice on the validation slides.
"""

from __future__ import annotations

import argparse
import shutil
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

TESTED = qpkit.SlideSettings(where={"Split": "test"})
MEASURES = ("dice", "precision", "recall")
HALF = 0.5


def labels_of(class_name: str) -> LabelMap:
    """One class, and background elsewhere inside regions."""
    return LabelMap(
        classes=(LabelClass(class_name, 1, (class_name,)),), unannotated="ignore", regions=("Region*",),
        ignored=("Ignore*",),
    )  # fmt: skip


def named(project: Project, name: str) -> Entry:
    """The entry whose name begins like this."""
    return next(entry for entry in project.entries if entry.name.startswith(name))


def without_annotations(options: argparse.Namespace, folder: Path) -> Project:
    """A copy of the project, without the annotations of one slide."""
    original = qpkit.open_project(options.project)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy = copy_project(original, folder, {entry.id: entry.name for entry in original.entries})
    entry = named(copy, options.learn)
    entry.replace_objects(remove={str(item.id) for item in entry.objects()}, add=[])
    return qpkit.open_project(copy.path)


def reviewed(project: Project, options: argparse.Namespace) -> tuple[int, int]:
    """Accept and delete what was imported, as the reviewer does; gives how many of each."""
    truth = named(qpkit.open_project(options.project), options.learn).objects()
    regions, tissue = (
        shapely.union_all([shapely.make_valid(item.geometry) for item in truth if item.class_name == name])
        for name in ("Region*", options.class_name)
    )
    entry = named(project, options.learn)
    accepted, deleted = [], []
    for item in entry.objects():
        seen = shapely.make_valid(item.geometry).intersection(regions)
        if seen.area >= HALF * item.geometry.area:
            (accepted if seen.intersection(tissue).area >= HALF * seen.area else deleted).append(item)
    entry.replace_objects(
        remove={str(item.id) for item in (*accepted, *deleted)}, add=[replace(item, locked=True) for item in accepted]
    )
    return len(accepted), len(deleted)


def trained(project: Path, run: Path, how: qpkit.ExportSettings, seed: int, recipe: Sequence[str]) -> Path:
    """Export and train; a training that is there is gone on with."""
    tiles = run.with_name(f"{run.name}-tiles")
    if not (tiles / "export.json").exists():
        qpkit.export([project], tiles, how)
    qpkit.train(tiles, run, "unet-resnet18", overrides=[*recipe, f"seed={seed}"], resume=run.exists())
    return run


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """All rows."""
    start = () if options.imagenet is None else from_imagenet(options.imagenet, options.out)
    steps = max(1, options.steps // options.epochs)
    recipe = [
        *start, "data.crop_px=0", "data.batch_size=8", f"optim.epochs={options.epochs}",
        f"optim.steps_per_epoch={steps}", "early_stopping.patience=0",
    ]  # fmt: skip
    labels = labels_of(options.class_name)
    plain = qpkit.ExportSettings.of(
        labels=labels, split="metadata:Split", mpp=1, tile_size=128, store="none", only_annotated=True
    )
    found: dict[str, list[list[float]]] = {}
    for seed in range(options.seeds):
        folder = options.out / str(seed)
        ready = folder / "reviewed.txt"
        first = folder / "first"
        if not ready.exists():
            project = without_annotations(options, folder / "project")
            trained(project.path, first, plain, seed, recipe)
            slides = qpkit.SlideSettings(entries=(named(project, options.learn).name,))
            qpkit.predict(first, [project.path], folder / "seen", slides=slides, overwrite=True)
            qpkit.import_predictions(folder / "seen", project.path, qpkit.ImportSettings(min_area_um2=500))
            counts = reviewed(qpkit.open_project(project.path), options)
            ready.write_text("{} areas accepted, {} deleted".format(*counts))
        print(f"seed {seed}: {ready.read_text()}", flush=True)
        told = replace(plain, reviewed=True)
        ways = {
            "without the slide": (folder / "project", plain, "first"),
            "accepted areas alone": (folder / "project", replace(told, removed="ignore"), "accepted"),
            "deleted areas are background": (folder / "project", told, "deleted"),
            "everything annotated": (options.project, plain, "everything"),
        }
        for way, (project_path, how, name) in ways.items():
            run = trained(project_path, folder / name, how, seed, recipe)
            out = folder / f"{name}-predictions"
            qpkit.predict(
                run, [options.project], out, qpkit.PredictSettings(within="Region*"), slides=TESTED, overwrite=True
            )
            scores = qpkit.evaluate(out, [options.project], labels=labels, slides=TESTED).pooled.scores
            found.setdefault(way, []).append([float(getattr(scores[options.class_name], m) or 0) for m in MEASURES])
            print(f"seed {seed}, {way}: {found[way][-1]}", flush=True)
    for way, scores_of in found.items():
        for name, each in zip(MEASURES, zip(*scores_of, strict=True), strict=True):
            base = mean(each_seed[MEASURES.index(name)] for each_seed in found["accepted areas alone"])
            yield row(
                f"{way} ({min(each):.3f} to {max(each):.3f})", mean(each), name,
                against="accepted areas alone", ratio=mean(each) / base if base else None,
            )  # fmt: skip


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
