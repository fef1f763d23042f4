"""qpkit evaluate RUN: the test slides of a run are predicted first, and what it has seen is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from qpkit.cli import main
from qpkit.predictions import read_predictions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]


@pytest.fixture(scope="module")
def trained(made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiles of the study, at 4 um/px, and a run that has seen two batches of them."""
    root = tmp_path_factory.mktemp("trained")
    words = ["--labels", made_study / "labels.toml", "--mpp", "4", "--tile-size", "64", "--split", "metadata:Split"]
    qpkit("export", made_study, "-o", root / "tiles", *words)
    settings = ["optim.epochs=1", "optim.steps_per_epoch=2", "data.batch_size=2", "model.encoder_weights=none"]
    changes = [word for setting in settings for word in ("--set", setting)]
    qpkit("train", root / "tiles", "-o", root / "run", "--recipe", "unet-resnet18", *changes)
    return root


def qpkit(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_the_test_slides_of_a_run_are_predicted_and_judged(
    trained: Path, made_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert qpkit("evaluate", trained / "run", made_study, "-o", tmp_path / "out") == 0
    made = read_predictions(tmp_path / "out-predictions")
    assert [slide.name for slide in made.slides] == ["patient_D.tif"]
    assert made.slides[0].probabilities is not None
    stored = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert stored["run"] == made.run
    assert stored["pooled"]["slides"] == ["patient_D.tif"]
    assert not any("was trained on" in note for note in stored["notes"])
    err = capsys.readouterr().err
    assert f"in {tmp_path / 'out-predictions'}" in err
    assert qpkit("evaluate", trained / "run", made_study, "-o", tmp_path / "out") == 1
    assert "already" in capsys.readouterr().err


def test_a_run_may_be_given_thresholds_and_finished_predictions_not(
    trained: Path, made_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-o", tmp_path / "out", "--threshold", "Tumor=1"]
    assert qpkit("evaluate", trained / "run", made_study, *words) == 0
    said = "background below these probabilities: Tumor 1"
    assert said in capsys.readouterr().err
    stored = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert any(said in note for note in stored["notes"])
    words = ["-o", tmp_path / "again", "--threshold", "natural"]
    assert qpkit("evaluate", tmp_path / "out-predictions", made_study, *words) == 1
    assert "is no run" in capsys.readouterr().err
    assert qpkit("evaluate", tmp_path, made_study, "--from-masks", *words) == 1
    assert "--threshold goes with a run" in capsys.readouterr().err


def test_slides_that_the_run_has_learned_from_are_named(
    trained: Path, made_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--entry", "patient_A.tif", "--entry", "patient_C.tif", "-o", tmp_path / "out"]
    assert qpkit("evaluate", trained / "run", made_study, *words) == 0
    err = capsys.readouterr().err
    assert "the run was trained on patient_A.tif" in err
    assert "was chosen (best epoch) on patient_C.tif" in err


def test_a_run_whose_test_slides_are_not_known_is_refused(
    trained: Path, made_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert qpkit("evaluate", trained / "run", made_study) == 1
    assert "give -o OUT" in capsys.readouterr().err
    slide = made_study / "slides/patient_A.tif"
    assert qpkit("evaluate", trained / "run", slide, "-o", tmp_path / "out") == 1
    assert "none of the slides given is a test slide" in capsys.readouterr().err
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    record = json.loads((run / "run.json").read_text())
    record["tiles"]["path"] = str(tmp_path / "gone")
    (run / "run.json").write_text(json.dumps(record))
    assert qpkit("evaluate", run, made_study, "-o", tmp_path / "out") == 1
    assert "its test slides are not known; name slides with --entry" in capsys.readouterr().err
