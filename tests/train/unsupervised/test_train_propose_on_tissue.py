"""Proposals on real tissue: better than nothing, and named by three clicks a training set."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from statistics import mean

import pytest
from tiny_tiles import TINY

from command_line import run
from qpkit.core.annotation import Annotation
from qpkit.qupath import open_project

CLICKS = (("Tumor", 0), ("Tumor", 1), ("Stroma", 0))
"""Into the largest annotation of a class, on the slide of that number."""

NETWORK = ("model.encoder=resnet18", "model.encoder_weights=none", "optim.epochs=4", "optim.lr=3e-3")
HOW = [part for text in (*TINY, *NETWORK, "data.batch_size=8") for part in ("--set", text)]
SIZE = ("--mpp", 4, "--tile-size", 64, "--split", "metadata:Split")


@pytest.fixture
def tissue(composed: Path, tmp_path: Path) -> Path:
    """A copy of the project that may be changed; its slides are the shared ones."""
    (tmp_path / "slides").symlink_to(composed / "slides")
    shutil.copytree(composed / "qupath-0.7.0", tmp_path / "study", copy_function=shutil.copyfile)
    for folder in [tmp_path / "study", *(item for item in (tmp_path / "study").rglob("*") if item.is_dir())]:
        folder.chmod(0o755)
    return tmp_path / "study"


def _largest(project: Path, name: str, slide: int) -> Annotation:
    objects = open_project(project).entries[slide].objects()
    return max((o for o in objects if o.class_name == name), key=lambda one: one.geometry.area)


def _dice(tiles: Path, composed: Path, out: Path) -> float:
    """Mean Dice on P4's real annotations of a network that has learned from tiles."""
    truth, test = composed / "qupath-0.7.0", ("--where", "Split=test")
    assert run("train", tiles, "-o", out / "run", "--recipe", "unet-resnet18", *HOW) == 0
    assert run("predict", out / "run", truth, *test, "-o", out / "predictions", "--within", "Region*") == 0
    assert run("evaluate", out / "predictions", truth, *test, "-o", out / "evaluation") == 0
    scores = json.loads((out / "evaluation" / "evaluation.json").read_text())["pooled"]["scores"]
    return mean(scores[name]["dice"] or 0.0 for name in ("Tumor", "Stroma"))


def test_three_clicks_make_proposals_a_training_set(tissue: Path, composed: Path, tmp_path: Path) -> None:
    """Propose where nobody annotated, name the clusters, train; beside it the same from what people drew."""
    labels = composed / "labels.toml"
    known = {(name, slide): _largest(tissue, name, slide) for name, slide in CLICKS}
    assert run("edit", tissue, "--class", "Tumor", "--class", "Stroma", "--remove") == 0
    how = ("--method", "kmeans", "--clusters", 4, "--mpp", 2, "-o", tmp_path / "proposed")
    assert run("propose", tissue, *how) == 0
    names: dict[str, str] = {}
    for (name, slide), drawn in known.items():
        proposed = [o for o in open_project(tissue).entries[slide].objects() if o.class_name != "Region*"]
        shared = Counter[str]()
        for one in proposed:
            if (one.class_name or "").startswith("Proposed: "):
                shared[one.class_name or ""] += one.geometry.intersection(drawn.geometry).area
        names.setdefault(max(shared, key=shared.__getitem__), name)
    assert set(names.values()) == {"Tumor", "Stroma"}
    named = [part for old, new in names.items() for part in ("--map", f"{old}={new}")]
    assert run("edit", tissue, *named) == 0
    found = {}
    for who, project in (("people", composed / "qupath-0.7.0"), ("clusters", tissue)):
        out = tmp_path / who
        assert run("export", project, "-o", out / "tiles", "--labels", labels, *SIZE) == 0
        found[who] = _dice(out / "tiles", composed, out)
    assert found["clusters"] > 0.5 * found["people"] > 0.1, found


def test_clusters_fit_annotations_of_other_slides_better_than_one_class(tissue: Path, tmp_path: Path,
                                                                        composed: Path) -> None:  # fmt: skip
    how = ("--method", "kmeans", "--clusters", 4, "--mpp", 2, "--geojson-only", "-o", tmp_path / "out")
    assert run("propose", tissue, *how, "--labels", composed / "labels.toml") == 0
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines()))
    slides = {row["slide"] for row in rows}
    ours = mean(mean(float(r["dice"]) for r in rows if r["slide"] == slide) for slide in slides)
    assert len(slides) == 4 and ours > 0.5
