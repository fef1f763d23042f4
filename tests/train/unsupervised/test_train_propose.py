"""qpkit propose from the command line: into a project, out of it, named by people, scored."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tiny_tiles import TINY, MakeTiles

from browser import opened
from command_line import run
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.provenance import is_prediction
from qpkit.dataset import read_tile_set
from qpkit.predictions import read_predictions
from qpkit.qupath import Project, add_image, create_project, open_project
from qpkit_train.unsupervised import tokens

WIDTH, HEIGHT, MPP = 768, 512, 0.5
TUMOR, STROMA = PathClass(("Tumor",), -3670016), PathClass(("Stroma",), -16744448)
FAST = {
    "kmeans": (),
    "kmeans-texture": (),
    "superpixels": (),
    "felzenszwalb": (),
    "vade": ("--patch-px", "32", "--stride-px", "32", "--epochs", "3"),
    "unsegarmanet": ("--patch-px", "64", "--stride-px", "32", "--features", "resnet18:random", "--epochs", "60"),
}
"""What each method is told, so that it takes a second."""

TOKENS = ("--features", "resnet18:random", "--epochs", "20", "--mpp", "2")

_NETWORK = ("model.encoder=resnet18", "model.encoder_weights=none", "optim.epochs=4", "optim.lr=3e-3")
_QUICK = [part for text in (*TINY, *_NETWORK) for part in ("--set", text)]


def _pixels(seed: int) -> NDArray[np.uint8]:
    """Dark and spotted on the left, pale and smooth on the right."""
    rng = np.random.default_rng(seed)
    left = np.arange(WIDTH) < WIDTH // 2
    ground = np.where(left[None, :, None], (120, 60, 140), (225, 175, 205)) + rng.normal(0, 8, (HEIGHT, WIDTH, 3))
    spots = (rng.random((HEIGHT // 8, WIDTH // 8)) < 0.3).repeat(8, axis=0).repeat(8, axis=1) & left
    ground[spots] -= 50
    return ground.clip(0, 255).astype(np.uint8)


def _project(folder: Path, *, slides: int = 2, annotated: bool = True) -> Project:
    boxes = [
        Annotation(geometry=shapely.box(0, 0, WIDTH // 2, HEIGHT), path_class=TUMOR),
        Annotation(geometry=shapely.box(WIDTH // 2, 0, WIDTH, HEIGHT), path_class=STROMA),
    ]
    project = create_project(folder / "project", classes=[TUMOR, STROMA])
    for number in range(slides):
        path = folder / f"{'abc'[number]}.tif"
        tifffile.imwrite(
            path, _pixels(number), tile=(64, 64), photometric="rgb", compression="zlib", metadata=None,
            resolution=(1e4 / MPP, 1e4 / MPP), resolutionunit="CENTIMETER",
        )  # fmt: skip
        add_image(project, path, width=WIDTH, height=HEIGHT, mpp=MPP, objects=boxes if annotated else [])
    return open_project(project.path)


def _propose(project: Project, out: Path, method: str, *more: object) -> int:
    options = ("--method", method, "--clusters", "2", "--everything", "--min-area-um2", "500", *FAST[method])
    return run("propose", project.path, "-o", out, *options, *more)


def _bytes(project: Project) -> dict[str, bytes]:
    return {str(entry.id): entry.files.data.read_bytes() for entry in project.entries if entry.has_data}


@pytest.mark.parametrize("method", list(FAST))
def test_every_method_tells_two_kinds_of_tissue_apart(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _project(tmp_path)
    out = tmp_path / "out"
    assert _propose(project, out, method) == 0
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert [(row["slide"], row["class"]) for row in rows] == [
        (slide, name) for slide in ("a.tif", "b.tif") for name in ("Tumor", "Stroma")
    ]
    assert all(float(row["dice"]) > 0.85 for row in rows), rows
    assert "chosen on other slides" in capsys.readouterr().err
    made = [o for entry in open_project(project.path).entries for o in entry.objects() if is_prediction(o)]
    assert {o.class_name for o in made} == {"Proposed: 1", "Proposed: 2"}
    dark = [o for o in made if o.class_name == "Proposed: 1"]
    assert all(o.geometry.centroid.x < WIDTH / 2 for o in dark if o.geometry.area > 1e4)
    seen = opened(out / "index.html")
    assert seen["images"] >= 4 and (seen["broken"], seen["fetched"]) == (0, 0)


def test_squares_are_divided_by_themselves_by_their_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tokens, "_SIDE", 96)
    project = _project(tmp_path, slides=1)
    asked = ("--method", "unsegarmanet-tokens", "--clusters", "2", "--everything", *TOKENS)
    assert run("propose", project.path, "-o", tmp_path / "out", *asked) == 0
    assert "divided by itself" in capsys.readouterr().err
    with rasterio.open(tmp_path / "out" / "a.tif.tif") as raster:
        labels = raster.read(1)
    assert labels.shape == (32, 48) and (labels[:, :20] == 1).mean() > 0.3 and set(np.unique(labels)) == {1, 2}


def test_the_same_call_makes_the_same_bits(tmp_path: Path) -> None:
    project = _project(tmp_path, slides=1)
    for name in ("one", "two"):
        assert _propose(project, tmp_path / name, "felzenszwalb", "--geojson-only") == 0
    one, two = (read_predictions(tmp_path / name) for name in ("one", "two"))
    assert one.run == two.run
    for first, second in zip(one.slides, two.slides, strict=True):
        assert (one.root / first.labels).read_bytes() == (two.root / second.labels).read_bytes()


def test_undo_gives_back_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = _project(tmp_path)
    before = [entry.objects() for entry in project.entries]
    assert _propose(project, tmp_path / "out", "kmeans") == 0
    assert run("propose", project.path, "--undo", "--geojson-only") == 1
    assert "no options" in capsys.readouterr().err
    assert run("propose", project.path, "--undo") == 0
    assert "taken out" in capsys.readouterr().err
    assert [entry.objects() for entry in open_project(project.path).entries] == before


def test_proposals_are_not_put_upon_proposals_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = _project(tmp_path)
    assert _propose(project, tmp_path / "out", "kmeans") == 0
    first, count = _bytes(project), len(open_project(project.path).entries[0].objects())
    capsys.readouterr()
    assert _propose(project, tmp_path / "other", "superpixels") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "has proposals" in line and len(line) < 200 + len(str(project.path)) and not (tmp_path / "other").exists()
    assert _bytes(project) == first
    assert _propose(project, tmp_path / "out", "kmeans", "--overwrite") == 0
    assert len(open_project(project.path).entries[0].objects()) == count


def test_named_clusters_are_labels_like_any_other(tmp_path: Path) -> None:
    """Propose on an unannotated project, name the clusters, export: masks hold both classes, and say where from."""
    project = _project(tmp_path, slides=1, annotated=False)
    assert _propose(project, tmp_path / "out", "kmeans") == 0
    assert run("edit", project.path, "--map", "Proposed: 1=Tumor", "--map", "Proposed: 2=Stroma") == 0
    tiles = tmp_path / "tiles"
    options = ("--mpp", "0.5", "--tile-size", "128", "--reviewed", "--tissue", "none")
    assert run("export", project.path, "-o", tiles, *options) == 0
    found = read_tile_set(tiles)
    assert [item.name for item in found.labels.classes] == ["Tumor", "Stroma"]
    masks = np.stack([found.read_mask(tile) for tile in found.tiles])
    assert (masks == 1).mean() > 0.3 and (masks == 2).mean() > 0.3
    origins = [sum(tile.origins[name] for tile in found.tiles) for name in ("human", "reviewed", "proposed")]
    assert origins[0] == 0 and origins[1] == origins[2] == np.isin(masks, (1, 2)).sum()


def test_annotations_show_what_clusters_look_like(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = _project(tmp_path, slides=1)
    asked = ("--templates", "Stroma", "--templates", "Tumor", "--geojson-only")
    assert _propose(project, tmp_path / "out", "felzenszwalb", *asked) == 0
    assert "Stroma" in capsys.readouterr().out
    found = read_predictions(tmp_path / "out")
    geojson = json.loads(next((tmp_path / "out" / "geojson").glob("a*.geojson")).read_text())
    assert len(found.slides) == 1 and geojson["features"]
    assert not any(is_prediction(o) for entry in open_project(project.path).entries for o in entry.objects())


def test_tiles_get_label_images(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    out = tmp_path / "out"
    options = ("--method", "vade", "--clusters", "2", "--patch-px", "32", "--stride-px", "16", "--epochs", "2")
    assert run("propose", tiles, "-o", out, *options) == 0
    rows = list(csv.DictReader((out / "labels.csv").read_text().splitlines()))
    for row in rows:
        labels = np.asarray(Image.open(out / row["label_image"]))
        assert labels.shape == (64, 64) and set(np.unique(labels)) <= {1, 2}
    patches = list(csv.DictReader((out / "clusters.csv").read_text().splitlines()))
    assert len(patches) == 9 * len(rows) or len(patches) == 16 * len(rows)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--clusters", "1"), "clusters"),
        (
            ("--method", "vade", "--clusters", "100", "--patch-px", "256", "--stride-px", "256"),
            "less than 100 clusters",
        ),
        (("--method", "unsegarmanet", "--features", "resnet18:nowhere.safetensors"), "nowhere.safetensors"),
        (("--method", "kmeans", "--epochs", "3"), "--epochs"),
        (("--method", "felzenszwalb", "--templates", "Nobody", "--clusters", "1"), "clusters"),
        (("--method", "felzenszwalb", "--templates", "Nobody", "--templates", "Tumor", "--clusters", "2"), "Nobody"),
        (("--method", "vade", "--stride-px", "200"), "gaps"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(
    options: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _project(tmp_path, slides=1)
    before = _bytes(project)
    assert run("propose", project.path, "-o", tmp_path / "out", "--everything", *options) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("qpkit: ") and words in line and len(line) < 200 + len(str(tmp_path))
    assert not (tmp_path / "out").exists() and _bytes(project) == before


def test_one_colour_cannot_be_divided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "flat.png"
    Image.fromarray(np.full((256, 256, 3), 180, np.uint8)).save(path)
    for method in ("kmeans", "vade", "felzenszwalb"):
        told = ("--slide-mpp", "0.5", "--method", method, "--clusters", "2", "--patch-px", "64", "--stride-px", "64")
        assert run("propose", path, "-o", tmp_path / "out", *told) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("qpkit: ") and len(line) < 200 and not (tmp_path / "out").exists()


def test_training_on_named_proposals_is_as_good_as_on_what_people_drew(tmp_path: Path) -> None:
    """Propose where nobody annotated, name the clusters by three clicks, train; the same with what people drew."""
    by_people = _project(tmp_path / "people", slides=3)
    by_clusters = _project(tmp_path / "clusters", slides=3, annotated=False)
    assert _propose(by_clusters, tmp_path / "proposed", "kmeans-texture") == 0
    clicks = {"Tumor": [(100, 100), (60, 400)], "Stroma": [(700, 250)]}
    objects = open_project(by_clusters.path).entries[0].objects()
    names = []
    for name, points in clicks.items():
        hit = {o.class_name for o in objects for x, y in points if o.geometry.contains(shapely.Point(x, y))}
        assert len(hit) == 1
        names += ["--map", f"{hit.pop()}={name}"]
    assert run("edit", by_clusters.path, *names) == 0
    dice = []
    for project in (by_people, by_clusters):
        tiles, model = project.path.parent / "tiles", project.path.parent / "run"
        options = ("--tile-size", "64", "--mpp", "1", "--split", "slide", "--fractions", "1:1:1")
        assert run("export", project.path, "-o", tiles, *options, "--tissue", "none") == 0
        assert run("train", tiles, "-o", model, "--recipe", "unet-resnet18", *_QUICK) == 0
        assert run("predict", model, by_people.path, "-o", model / "p", "--entry", "c.tif", "--everything") == 0
        assert run("evaluate", model / "p", by_people.path, "-o", model / "e", "--entry", "c.tif") == 0
        scores = json.loads((model / "e" / "evaluation.json").read_text())["pooled"]["scores"]
        dice.append(min(scores[name]["dice"] for name in ("Tumor", "Stroma")))
    assert dice[0] > 0.9 and dice[1] > dice[0] - 0.05, dice
