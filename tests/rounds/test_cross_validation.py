"""Folds: every slide tested once by a model that has not seen it; kills, jobs and ensembles change no score."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import shapely
from PIL import Image
from small_project import CLASSES, small_project

from command_line import run
from qpkit.core.annotation import Annotation
from qpkit.core.label_map import LabelClass, LabelMap
from qpkit.dataset.splits import SplitRule
from qpkit.errors import ConfigError, OutputError
from qpkit.predictions import read_predictions
from qpkit.qupath import open_project
from qpkit.rounds.cross_validation.play import CrossValidation, cross_validate
from qpkit.rounds.cross_validation.settings import CrossValidationSettings
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.inputs.slides import slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule
from qpkit.workflows.project import write_metadata
from qpkit_train.inference.settings import PredictSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]

LABELS = LabelMap(classes=(LabelClass("Stroma", 1, ("Stroma",)), LabelClass("Tumor", 2, ("Tumor",))))
NETWORK = (
    "data.batch_size=2", "data.crop_px=0", "data.workers=0", "model.encoder_depth=3", "model.encoder_weights=none",
    "model.options.decoder_channels=[16,8,8]", "optim.epochs=1", "optim.steps_per_epoch=2", "precision=32-true",
)  # fmt: skip
FOLDS = CrossValidationSettings(by=SplitRule("patient", "Patient"), folds=3)
PATIENTS = ("a", "a", "b", "c")


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slides of three patients, their project beside them."""
    root = tmp_path_factory.mktemp("study")
    objects = [
        Annotation(geometry=shapely.box(x, y, x + 40, y + 30), path_class=CLASSES[(x + y) % 2])
        for x in range(10, 250, 60)
        for y in range(7, 240, 51)
    ]
    project = small_project(root, [objects] * len(PATIENTS))
    names = [entry.name for entry in project.entries]
    write_metadata(open_project(project.path), {n: {"Patient": p} for n, p in zip(names, PATIENTS, strict=True)})
    settings = ExportSettings(downsample=1, tile_size=64, tissue=TissueRule(by="none"), labels=LABELS)
    export_tiles(slide_inputs([project.path]), root / "tiles", settings)
    return root / "tiles"


def play(tiles: Path, out: Path, **how: Any) -> CrossValidation:
    return cross_validate(tiles, out, "unet-resnet18", FOLDS, overrides=NETWORK, **how)


@pytest.fixture(scope="module")
def whole(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossValidation:
    """What one call without interruption makes."""
    return play(tiles, tmp_path_factory.mktemp("whole") / "cv")


def scores(root: Path) -> bytes:
    return (root / "scores.csv").read_bytes()


def test_every_slide_is_predicted_once_by_a_run_that_has_not_seen_it(tiles: Path, whole: CrossValidation) -> None:
    root = whole.root / "unet-resnet18"
    every = read_predictions(root / "predictions")
    assert sorted(slide.name for slide in every.slides) == sorted({t["name"] for t in info(tiles)["slides"]})
    for name, tested in every.info["cross_validation"].items():
        fold = read_predictions(root / f"{name}-evaluation-predictions")
        assert [slide.name for slide in fold.slides] == tested
        assert every.info["cross_validation"].keys() == {"fold-1", "fold-2", "fold-3"}
        notes = json.loads((root / f"{name}-evaluation/evaluation.json").read_bytes())["notes"]
        assert not [line for line in notes if "was trained on" in line or "was chosen" in line]


def test_patients_have_the_scores_of_the_fold_that_tested_them(whole: CrossValidation) -> None:
    (result,) = whole.recipes
    assert (result.unit, sorted(result.patients)) == ("Patient", ["a", "b", "c"])
    for fold in result.folds.values():  # as many folds as patients: one in each
        assert list(result.patients.values()).count(fold) == 1
    dice = [found["Tumor"]["dice"] for found in result.patients.values()]
    assert result.means["Tumor"]["dice"].mean == pytest.approx(np.mean([d for d in dice if d is not None]))


def info(tiles: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tiles / "export.json").read_bytes())
    return found


def test_jobs_and_kills_share_the_folds(tiles: Path, tmp_path: Path, whole: CrossValidation) -> None:
    """One job does a fold, one is killed in another that it had begun, one finds the third taken, and one ends it."""
    from qpkit.claims import claimed

    out = tmp_path / "cv"
    first = play(tiles, out, shard=(3, 3))
    assert (first.missing, first.recipes) == (2, ()) and not (out / "scores.csv").exists()

    def stop(done: int, total: int, text: str) -> None:
        if text.startswith("1/3") and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(tiles, out, on_progress=stop)
    with claimed(out, "unet-resnet18-fold-2"):
        assert play(tiles, out).missing == 1
    assert play(tiles, out).missing == 0
    assert scores(out) == scores(whole.root)


def test_the_ensemble_is_the_mean_of_the_folds(tiles: Path, tmp_path: Path, whole: CrossValidation) -> None:
    root, project = whole.root / "unet-resnet18", tiles.parent
    how = ["--entry", info(tiles)["slides"][0]["name"], "--everything", "--tile-size", "64", "--halo", "32"]
    others = ["--with", root / "fold-2", "--with", root / "fold-3"]
    assert run("predict", root, project, "-o", tmp_path / "one", *how, "--probabilities") == 0
    assert run("predict", root / "fold-1", project, "-o", tmp_path / "two", *how, *others, "--probabilities") == 0
    for path in (tmp_path / "two").glob("*.tif"):
        assert (tmp_path / "one" / path.name).read_bytes() == path.read_bytes()


def test_recipes_are_compared_on_the_same_patients(tiles: Path, tmp_path: Path, whole: CrossValidation) -> None:
    """A copy of the recipe is added: the same folds, no difference."""
    from qpkit_train.recipe.load import load_recipe

    recipe = load_recipe("unet-resnet18", NETWORK)
    twin = msgspec.structs.replace(recipe, name="twin")
    shutil.copytree(whole.root, tmp_path / "cv")
    found = cross_validate(tiles, tmp_path / "cv", (recipe, twin), FOLDS)
    (pair,) = found.comparisons
    assert (pair.recipe, pair.against) == ("twin", "unet-resnet18")
    for name, change in pair.classes.items():
        known = [p[name]["dice"] for p in found.recipes[0].patients.values() if p[name]["dice"] is not None]
        assert (change.difference.mean, change.better, change.worse) == (0 if known else None, 0, 0)
    assert (tmp_path / "cv/comparison.csv").is_file() and (tmp_path / "cv/cross-validation.html").stat().st_size > 5000


def test_a_folder_of_images_and_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        image = rng.integers(90, 230, (96, 128, 3), dtype=np.uint8)
        mask = np.zeros((96, 128), np.uint8)
        mask[20:60, 30 + 5 * number : 90] = 255
        for kind, pixels in (("images", image), ("masks", mask)):
            (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "set" / kind / f"p{number}.png")
    network = [word for setting in NETWORK for word in ("--set", setting)]
    command = ["cross-validate", tmp_path / "set", "-o", tmp_path / "cv", "--folds", "3", "--recipe", "unet-resnet18"]
    assert run(*command, *network) == 0
    assert len(read_predictions(tmp_path / "cv/unet-resnet18/predictions").slides) == 3
    assert (tmp_path / "cv-tiles/tiles.parquet").is_file()


def test_what_cannot_be_cross_validated_is_said_before_any_training(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"
    with pytest.raises(ConfigError, match="4"):
        cross_validate(tiles, out, settings=CrossValidationSettings(by=SplitRule("patient", "Patient"), folds=4))
    assert not out.exists()
    with pytest.raises(ConfigError, match="there 2 times"):
        cross_validate(tiles, out, ("unet-resnet18", "unet-resnet18"), FOLDS)
    with pytest.raises(ConfigError, match="keep together"):
        CrossValidationSettings(by=SplitRule("metadata", "Split"))
    with pytest.raises(ConfigError, match="3 or more"):
        CrossValidationSettings(folds=2)
    for prediction, says in (
        (PredictSettings(thresholds={"Tumour": 0.5}), "no such class"),
        (PredictSettings(within="Nope*"), "--within Nope"),
    ):
        with pytest.raises(ConfigError, match=says):
            cross_validate(tiles, out, ("unet-resnet18",), FOLDS, prediction=prediction)
    assert not out.exists()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="no cross-validation"):
        cross_validate(tiles, out, ("unet-resnet18",), FOLDS)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_other_folds_in_the_same_folder_are_refused(tiles: Path, whole: CrossValidation) -> None:
    before = scores(whole.root)
    with pytest.raises(OutputError, match="other seed"):
        cross_validate(tiles, whole.root, ("unet-resnet18",), CrossValidationSettings(by=FOLDS.by, folds=3, seed=1))
    assert scores(whole.root) == before
