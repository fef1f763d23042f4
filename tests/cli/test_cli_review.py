"""qpkit review on the command line: files, pictures, and one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from predictions_made_up import predict_truth
from small_project import CLASSES, small_project

from browser import opened
from command_line import run
from qpkit.core.labels import default_label_map
from qpkit.qupath import Project, open_project
from qpkit.workflows.imports.project import import_predictions
from qpkit.workflows.imports.settings import ImportSettings


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two predictions were imported, one of which was deleted."""
    truth = small_project(tmp_path / "truth")
    predictions = predict_truth(truth.path, tmp_path / "predictions", default_label_map(CLASSES), entries=(1,))
    made = small_project(tmp_path / "study", [[]])
    import_predictions(predictions, made, ImportSettings())
    entry = open_project(made.path).entries[0]
    entry.replace_objects(remove={str(entry.objects()[0].id)}, add=())
    return open_project(made.path)


def test_review_writes_what_it_prints(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / name for name in ("review.json", "review.csv", "review.html")]
    command = ["review", project.path, "--json", files[0], "--csv", files[1], "-o", files[2]]
    assert run(*command) == 0
    assert "rejected" in capsys.readouterr().out
    told = json.loads(files[0].read_text())
    assert (told["all"]["rejected"], told["all"]["untouched"]) == (1, 1)
    assert told["all"]["objects"] == len(files[1].read_text().splitlines()) - 1
    assert "a.tif: x " in files[2].read_text()
    assert run(*command) == 1
    assert run(*command, "--overwrite") == 0
    seen = opened(files[2])
    assert seen["images"] == 1
    assert (seen["broken"], seen["fetched"]) == (0, 0)


@pytest.mark.parametrize("options", [["-o", "page.txt"], ["--run", "nobody"], ["--entry", "nobody"]])
def test_what_is_wrong_is_one_line(project: Project, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("review", project.path, *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("qpkit: ")
    assert len(line) < 200 + len(str(project.path))


def test_the_page_tells_slides_that_are_missing(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for slide in (tmp_path / "study" / "slides").iterdir():
        slide.unlink()
    assert run("review", project.path, "-o", tmp_path / "review.html") == 0
    assert "no picture" in capsys.readouterr().err
    assert "a.tif: x " in (tmp_path / "review.html").read_text()


def test_verbs_take_entries_by_their_metadata(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the study, one patient is the test split."""
    assert run("edit", study, "--all", "--lock", "--dry-run", "--where", "Split=test") == 0
    assert capsys.readouterr().out.count("patient_") == 1
    assert run("edit", study, "--all", "--lock", "--dry-run", "--where", "Split=tset") == 1
    assert "did you mean 'test'" in capsys.readouterr().err
    assert run("measure", study, "--where", "Split=test") == 0
    out = capsys.readouterr().out
    assert "patient_D.tif" in out and "patient_A.tif" not in out
    assert run("doctor", study, "--where", "Split=test", "--json") in (0, 1)
    assert "patient_A.tif" not in capsys.readouterr().out
