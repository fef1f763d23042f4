"""A whole round as a user does it: export, train, predict, import, review, export what was reviewed, train again."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from shapely.geometry.base import BaseGeometry
from small_project import CLASSES, HEIGHT, WIDTH, small_project
from tiny_tiles import TINY

from command_line import run
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.review import REVIEWED_CLASS
from qpkit.ops.scores.shape_fates import LEAST_PART, MOST
from qpkit.qupath import open_project
from qpkit.workflows.review.project import review_project
from qpkit.workflows.review.result import ReviewSettings

LEVELS = {"Tumor": 200, "Stroma": 120}
EVERYTHING = shapely.box(0, 0, WIDTH, HEIGHT)
REGION = Annotation(geometry=EVERYTHING, path_class=PathClass(("Region*",)))
NETWORK = ("model.encoder=resnet18", "model.encoder_weights=none", "optim.epochs=6", "optim.lr=3e-3")
HOW = [part for text in (*TINY, *NETWORK) for part in ("--set", text)]


def squares(seed: int) -> list[Annotation]:
    """Tumor in the left half, stroma in the right one, on a raster of 64 px."""
    rng = np.random.default_rng(seed)
    made = []
    for left in range(0, WIDTH, 64):
        for top in range(0, HEIGHT, 64):
            x, y, side = left + rng.integers(4, 20), top + rng.integers(4, 20), rng.integers(24, 36)
            kind = CLASSES[int(left >= WIDTH / 2)]
            made.append(Annotation(geometry=shapely.box(x, y, x + side, y + side), path_class=kind))
    return made


def paint(path: Path, objects: list[Annotation], seed: int) -> None:
    grey = np.full((HEIGHT, WIDTH), 40.0)
    for item in objects:
        left, top, right, bottom = map(int, item.geometry.bounds)
        grey[top:bottom, left:right] = LEVELS[item.class_name or ""]
    noisy = grey[..., None] * (1.0, 0.8, 0.9) + np.random.default_rng(seed).normal(0, 8, (HEIGHT, WIDTH, 3))
    pixels = noisy.clip(0, 255).astype(np.uint8)
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", resolution=(20_000, 20_000), resolutionunit=3)


def outcomes_of_replacing(wrong: list[BaseGeometry], right: list[BaseGeometry]) -> Counter[str]:
    """What wrong shapes and those drawn instead count as: a large one that covers several right ones was cut apart."""
    done, parts = Counter[str](), set[int]()
    for shape in wrong:
        shared = [shape.intersection(each).area for each in right]
        inside = {
            n for n, area in enumerate(shared)
            if n not in parts and area >= MOST * right[n].area and area >= LEAST_PART * shape.area
        }  # fmt: skip
        done["split" if len(inside) > 1 else "rejected"] += 1
        parts |= inside if len(inside) > 1 else set()
    done["added"] = len(right) - len(parts)
    return done


def review(project: Path, truth: list[Annotation]) -> Counter[str]:
    """Do what a pathologist does with the predictions of the last slide; gives what has to be counted."""
    entry = open_project(project).entries[3]
    there, done = list(entry.objects()), Counter[str]()
    add, remove, seen, wrong = [], set(), set(), []
    for item in there:
        ious = [item.geometry.intersection(t.geometry).area / item.geometry.union(t.geometry).area for t in truth]
        best = int(np.argmax(ious))
        if ious[best] < 0.5 or best in seen:
            remove.add(str(item.id))
            wrong.append(item.geometry)
            continue
        seen.add(best)
        if item.class_name != truth[best].class_name:
            done["reclassified"] += 1
        elif ious[best] < 0.9:
            done["edited"] += 1
        else:
            done["accepted"] += 1
            continue
        remove.add(str(item.id))
        add.append(replace(item, geometry=truth[best].geometry, path_class=truth[best].path_class, shape=None))
    added = [t for number, t in enumerate(truth) if number not in seen]
    done += outcomes_of_replacing(wrong, [t.geometry for t in added])
    region = Annotation(geometry=EVERYTHING, path_class=PathClass((REVIEWED_CLASS,)))
    entry.replace_objects(remove=remove, add=[*add, *added, region])
    return done


def dice(project: Path, model: Path, out: Path) -> dict[str, float]:
    """On the slide that no training sees."""
    assert run("predict", model, project, "--entry", "c.tif", "-o", out / "p", "--tile-size", 64, "--everything") == 0
    assert run("evaluate", out / "p", project, "-o", out / "e", "--entry", "c.tif") == 0
    scores = json.loads((out / "e/evaluation.json").read_text())["pooled"]["scores"]
    return {name: score["dice"] or 0.0 for name, score in scores.items()}


def test_a_model_gets_better_by_what_a_pathologist_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truths = [squares(seed) for seed in range(4)]
    half = shapely.box(0, 0, WIDTH / 2, HEIGHT)
    left = [replace(REGION, geometry=half), *truths[0][: len(truths[0]) // 2]]
    # Of the first slide only the half without stroma is annotated; of the last one nothing.
    project = small_project(tmp_path, [left, [REGION, *truths[1]], [REGION, *truths[2]], []]).path
    for number, truth in enumerate(truths):
        paint(tmp_path / "slides" / f"{'abcd'[number]}.tif", truth, number)
    tiles = ["--downsample", 1, "--tile-size", 64, "--tissue", "none", "--split", "metadata:Split"]
    assert run("export", project, "-o", tmp_path / "tiles-1", *tiles) == 0
    assert run("train", tmp_path / "tiles-1", "-o", tmp_path / "run-1", *HOW) == 0
    out = tmp_path / "for-review"
    assert run("predict", tmp_path / "run-1", project, "--entry", "d.tif", "-o", out, "--everything") == 0
    assert run("import-predictions", out, project, "--min-area-um2", 20) == 0
    expected = review(project, truths[3])
    rows = review_project(open_project(project), ReviewSettings()).rows
    assert Counter(row.outcome for row in rows) == +expected and expected["reclassified"] + expected["added"] > 5
    assert run("export", project, "-o", tmp_path / "tiles-2", *tiles, "--reviewed") == 0
    assert run("train", tmp_path / "tiles-2", "-o", tmp_path / "run-2", *HOW) == 0
    first, second = (dice(project, tmp_path / f"run-{n}", tmp_path / f"round-{n}") for n in (1, 2))
    with capsys.disabled():
        sys.stdout.write(f"\nDice on the held-out slide: round 1 {first}, round 2 {second}\n")
    assert second["Stroma"] > first["Stroma"] + 0.3 and second["Tumor"] > 0.5, (first, second)
