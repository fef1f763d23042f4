from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from predictions_made_up import predict_truth
from readers_made_up import REGION, SETTINGS, drawn, found, row
from small_project import CLASSES, HEIGHT, MPP, WIDTH, small_project

from command_line import run
from qpkit.core.labels import default_label_map
from qpkit.core.review import REVIEWER_KEY, is_disagreement
from qpkit.errors import ConfigError, ProjectError
from qpkit.qupath import Project, open_project
from qpkit.workflows.compare.disagreements import write_disagreements
from qpkit.workflows.compare.readers import readers_of
from qpkit.workflows.compare.result import EVERY


@pytest.fixture
def projects(tmp_path: Path) -> tuple[Project, Project]:
    """Two readers of two slides; on the first they drew 100 x 100 px each, half of it in common."""
    a = small_project(tmp_path / "anna", [[REGION, *drawn((20, 20, 120, 120))], drawn((10, 10, 50, 50))])
    b = small_project(tmp_path / "bert", [[REGION, *drawn((70, 20, 170, 120))], drawn((10, 10, 50, 50))])
    return a, b


def test_scores_are_those_of_the_areas(projects: tuple[Project, Project]) -> None:
    result = found([f"anna={projects[0].path}", f"bert={projects[1].path}"])
    assert (result.readers, result.slides) == (("anna", "bert"), ("a.tif", "b.tif"))
    tumor = row(result, "Tumor", "slide", slide="a.tif")
    assert (tumor.px_first, tumor.px_second) == (10_000, 10_000)
    assert (tumor.dice, tumor.iou) == (0.5, pytest.approx(1 / 3))
    assert (tumor.areas_first, tumor.areas_second, tumor.f1) == (1, 1, 0.0)
    # Only inside the region has anything been judged: 40,000 px, of which they call 10,000 differently.
    every = row(result, EVERY, "slide", slide="a.tif")
    chance = (10_000**2 + 30_000**2) / 40_000**2
    assert every.px_first == 40_000 and every.kappa == pytest.approx((0.75 - chance) / (1 - chance))
    assert row(result, "Tumor", "region", slide="a.tif", region="left").dice == 0.5


def test_a_reader_agrees_with_itself_wholly_and_the_order_says_nothing(projects: tuple[Project, Project]) -> None:
    a, b = (str(project.path) for project in projects)
    same = found([f"x={a}", f"y={a}"])
    assert {r.dice for r in same.rows if r.class_name == "Tumor"} == {1.0}
    # On the second slide both have judged nothing but one class: chance is all there is.
    assert [r.kappa for r in same.rows if r.class_name == EVERY] == [1.0, 1.0, 1.0, None]
    there, back = found([f"x={a}", f"y={b}"]), found([f"y={b}", f"x={a}"])
    for one, other in zip(there.rows, back.rows, strict=True):
        assert (one.dice, one.iou, one.kappa, one.f1) == (other.dice, other.iou, other.kappa, other.f1)


def test_three_readers_have_a_kappa_of_all(projects: tuple[Project, Project], tmp_path: Path) -> None:
    a, b = (str(project.path) for project in projects)
    result = found([f"x={a}", f"y={b}", f"z={a}"])
    (every,) = [r for r in result.rows if r.level == "all" and not r.second]
    assert every.first == "x + y + z" and every.kappa is not None and 0 < every.kappa < 1
    assert len([r for r in result.rows if r.level == "all" and r.class_name == "Tumor"]) == 3


def test_a_model_is_a_reader_too(projects: tuple[Project, Project], tmp_path: Path) -> None:
    made = predict_truth(projects[0].path, tmp_path / "model", default_label_map(CLASSES), entries=(1, 2))
    result = found([projects[0].path, tmp_path / "model"])
    assert made.slides and row(result, "Tumor").dice == 1.0
    with pytest.raises(ProjectError, match="two models alone"):
        found([f"x={tmp_path / 'model'}", f"y={tmp_path / 'model'}"])


def test_names_in_metadata_are_readers_of_one_project(tmp_path: Path) -> None:
    first, second = drawn((20, 20, 120, 120)), drawn((70, 20, 170, 120))
    objects = [replace(o, metadata={REVIEWER_KEY: who}) for who, own in (("A", first), ("B", second)) for o in own]
    project = small_project(tmp_path, [[REGION, *objects], []])
    result = found([project.path], replace(SETTINGS, by=REVIEWER_KEY))
    assert result.readers == ("A", "B") and row(result, "Tumor", "slide", slide="a.tif").dice == 0.5


def test_outlines_are_as_far_apart_as_they_are(projects: tuple[Project, Project]) -> None:
    result = found([projects[0].path, f"b={projects[1].path}"])
    assert row(result, "Tumor", "slide", slide="a.tif").hausdorff_um is None
    result = found([f"a={projects[0].path}", f"b={projects[1].path}"], replace(SETTINGS, hausdorff=True))
    assert row(result, "Tumor", "slide", slide="a.tif").hausdorff_um == pytest.approx(50 * MPP)


def test_disagreements_are_written_once_and_are_no_annotations(projects: tuple[Project, Project]) -> None:
    sources = [f"anna={projects[0].path}", f"bert={projects[1].path}"]
    before, readers = found(sources), readers_of(sources, SETTINGS)
    assert write_disagreements(projects[0], readers, SETTINGS) == (2, 0)
    there = [o for o in open_project(projects[0].path).entries[0].objects() if is_disagreement(o)]
    assert {o.geometry.bounds: o.name for o in there} == {
        (20, 20, 70, 120): "Disagreement: anna vs bert (Tumor / background)",
        (120, 20, 170, 120): "Disagreement: anna vs bert (background / Tumor)",
    }
    content = projects[0].entries[0].files.data.read_bytes()
    assert write_disagreements(open_project(projects[0].path), readers_of(sources, SETTINGS), SETTINGS) == (2, 0)
    assert projects[0].entries[0].files.data.read_bytes() == content
    assert found(sources).rows == before.rows
    assert write_disagreements(projects[0], readers, SETTINGS, min_area_um2=5001) == (0, 2)


@pytest.mark.parametrize(("sources", "says"), [(["one"], "alone"), (["one", "one"], "several readers")])
def test_what_cannot_be_compared_is_said(projects: tuple[Project, Project], sources: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        found([f"{source}={projects[0].path}" for source in sources])


def test_a_reader_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="nobody: there is no such file or folder"):
        found([tmp_path / "nobody"])


def test_readers_without_a_slide_in_common_are_refused(tmp_path: Path, projects: tuple[Project, Project]) -> None:
    other = small_project(tmp_path / "other", [[], [], drawn((0, 0, WIDTH // 2, HEIGHT // 2))])
    assert any("left out" in note for note in found([projects[0].path, f"o={other.path}"]).notes)


def test_the_command_writes_its_tables(projects: tuple[Project, Project], tmp_path: Path) -> None:
    csv, out = tmp_path / "c.csv", tmp_path / "c.json"
    sources = [f"anna={projects[0].path}", f"bert={projects[1].path}"]
    assert (
        run("compare", *sources, "--mpp", MPP, "--csv", csv, "--json", out, "--write-disagreements", projects[1].path)
        == 0
    )
    rows = json.loads(out.read_text())["rows"]
    assert len(csv.read_text().splitlines()) == len(rows) + 1
    assert sum(is_disagreement(o) for o in open_project(projects[1].path).entries[0].objects()) == 2
