"""Points of a project into objects, on the command line, with a network that has learnt a made-up kind of object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from small_project import CLASSES, HEIGHT, WIDTH, small_project
from tiny_tiles import TINY, paint, write_tiles

from command_line import run as qpkit
from qpkit.core.annotation import Annotation, PathClass
from qpkit.predictions import read_predictions
from qpkit.qupath import open_project

BOXES = ((20, 30, 52, 60), (120, 40, 150, 76), (200, 150, 228, 180), (60, 170, 96, 200))
"""Bright boxes on the slide: x, y of two corners."""

NOTHING, NOT_HERE = (280.0, 60.0), (135.0, 210.0)
WIDE = (120, 195, 156, 225)
"""A box that a point of class Ignore* lies on."""


def points(places: list[tuple[float, float]], path_class: PathClass | None) -> Annotation:
    geometry = shapely.Point(places[0]) if len(places) == 1 else shapely.MultiPoint(places)
    return Annotation(geometry=geometry, shape="points", path_class=path_class)


def middle(box: tuple[int, int, int, int]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def ground(boxes: tuple[tuple[int, int, int, int], ...]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = 1
    return mask


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network that has learnt to answer clicks on bright boxes."""
    root = tmp_path_factory.mktemp("prompts")
    rng = np.random.default_rng(0)
    masks = []
    for number in range(22):
        mask = np.zeros((96, 96), np.uint8)
        for row, col in ((8, 8), (8, 56), (56, 8), (56, 56)):
            down, across, height, width = rng.integers((-4, -4, 24, 24), (5, 5, 36, 36))
            mask[row + down : row + down + height, col + across : col + across + width] = 1
        masks.append(("val" if number < 3 else "train", mask))
    tiles = write_tiles(root / "tiles", masks)
    settings = [*TINY, "optim.epochs=6", "optim.steps_per_epoch=25", "optim.lr=2e-3", "optim.warmup_steps=10"]
    settings += ["data.crop_px=64", "prompts.corrective=1"]
    changes = [word for setting in settings for word in ("--set", setting)]
    assert qpkit("train", tiles, "-o", root / "run", "--prompts", *changes) == 0
    return root / "run"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    tumor, stroma = CLASSES
    # Two points on the first box, a class each on the others, one on nothing, and what has to be left out.
    first, *others = BOXES
    objects = (
        points([(30.0, 40.0), (42.0, 50.0), middle(others[0]), NOTHING], tumor),
        points([middle(others[1])], stroma),
        points([middle(others[2])], tumor),
        points([NOT_HERE], PathClass(("Ignore*",))),
        points([(5.0, 5.0)], None),
        Annotation(geometry=shapely.box(240, 10, 300, 30), path_class=stroma),
    )
    assert first == BOXES[0]
    small_project(tmp_path / "study", (objects, ()))
    pixels = paint(ground((*BOXES, WIDE)), np.random.default_rng(3))
    tifffile.imwrite(tmp_path / "study/slides/a.tif", pixels, tile=(64, 64), photometric="rgb")
    return tmp_path / "study/project"


def imported(project: Path) -> list[Annotation]:
    entry = open_project(project).entries[0]
    return [o for o in entry.objects() if o.geometry.area > 0 and o.metadata]


def test_points_become_the_objects_that_they_are_on(
    run: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {o.id for o in open_project(study).entries[0].objects()}
    how = ("--prompts", "--prompt-crop", "96", "--import")
    assert qpkit("predict", run, study, "-o", tmp_path / "out", *how) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert "6 points on objects and 1 of class Ignore* on 1 slide(s)" in said
    assert "1 without a class" in said and "1 slide(s) without points" in said
    (slide,) = read_predictions(tmp_path / "out").info["slides"]
    assert (slide["points"], slide["merged"], slide["empty"]) == (6, 1, 1)
    assert slide["objects"] == {"Stroma": 1, "Tumor": 3}
    found = imported(study)
    wanted = [shapely.box(*box) for box in BOXES]
    for box, name in zip(wanted, ("Tumor", "Tumor", "Stroma", "Tumor"), strict=True):
        (own,) = [o for o in found if o.geometry.intersects(box)]
        iou = own.geometry.intersection(box).area / own.geometry.union(box).area
        assert iou > 0.8 and own.class_name == name and own.geometry.is_valid
    assert len(found) == 4 and before <= {o.id for o in open_project(study).entries[0].objects()}
    assert qpkit("import-predictions", "--undo", read_predictions(tmp_path / "out").run, study) == 0
    assert {o.id for o in open_project(study).entries[0].objects()} == before


@pytest.mark.usefixtures("on_cpu")
def test_an_onnx_file_finds_the_same_objects(run: Path, study: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    assert qpkit("export-model", run, "-o", tmp_path / "model.onnx") == 0
    for name, model in (("torch", run), ("onnx", tmp_path / "model.onnx")):
        assert qpkit("predict", model, study, "-o", tmp_path / name, "--prompts", "--prompt-crop", "96") == 0
    one, other = (tifffile.imread(tmp_path / name / "a.tif.instances.tif") for name in ("torch", "onnx"))
    assert (one != other).mean() < 1e-3 and one.max() == other.max() == 4


def test_an_answer_at_the_edge_of_what_is_shown_is_asked_for_with_more(run: Path, study: Path, tmp_path: Path) -> None:
    for name, sizes in (("cut", ("32", "32")), ("whole", ("32", "128"))):
        how = ("--prompts", "--prompt-crop", sizes[0], "--prompt-largest", sizes[1])
        assert qpkit("predict", run, study, "-o", tmp_path / name, *how) == 0
    cut, whole = (read_predictions(tmp_path / name).info["slides"][0] for name in ("cut", "whole"))
    assert cut["cut"] > whole["cut"] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "the model answers clicks; say qpkit predict --prompts"),
        (("--prompts", "--tta", "flips"), "--tta does not go with --prompts"),
        (("--prompts", "--shard", "1/2"), "--shard does not go with --prompts"),
        (("--prompt-largest", "512"), "go with --prompts"),
        (("--prompts", "--prompt-largest", "64"), "has to be at least --prompt-crop 256"),
    ],
)
def test_what_does_not_go_with_points_is_one_line(
    run: Path, study: Path, tmp_path: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert qpkit("predict", run, study, "-o", tmp_path / "out", *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and len(line) < 300 and not (tmp_path / "out").exists()


def test_a_model_that_takes_no_clicks_and_one_that_is_not_there_are_one_line(
    run: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Path(__file__).parents[2] / "kept/run"
    for model, said in (
        (kept, "the model takes no clicks"),
        (tmp_path / "gone", "no run.json there"),
        (f"sam:{tmp_path / 'gone'}", "there is no config.json"),
    ):
        assert qpkit("predict", model, study, "-o", tmp_path / "out", "--prompts") == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_a_run_that_answers_clicks_makes_no_pseudo_labels(run: Path) -> None:
    from qpkit.errors import ConfigError
    from qpkit_train.tile_predictions import TilePredictor

    with pytest.raises(ConfigError, match="answers clicks"):
        TilePredictor(run)


def test_a_run_says_that_it_answers_clicks(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert qpkit("info", run) == 0
    assert "qpkit predict --prompts" in capsys.readouterr().out
    assert "object" in (run / "report.html").read_text(encoding="utf-8")
