from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from predictions_made_up import predict_truth
from small_project import CLASSES, HEIGHT, MPP, WIDTH, small_project

from command_line import run
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import default_label_map
from qpkit.core.review import SUGGESTED_CLASS, is_suggestion
from qpkit.errors import ConfigError, ProjectError
from qpkit.ops.choosing import spread_out
from qpkit.predictions import PredictionSet
from qpkit.qupath import Project, open_project
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.tiles import export_tiles
from qpkit.workflows.imports.project import import_predictions
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.slides import slide_inputs
from qpkit.workflows.inputs.tissue_rule import TissueRule
from qpkit.workflows.review.project import review_project
from qpkit.workflows.review.result import ReviewSettings
from qpkit.workflows.suggest.candidates import candidates_of
from qpkit.workflows.suggest.choose import suggest
from qpkit.workflows.suggest.project import remove_suggestions, write_suggestions
from qpkit.workflows.suggest.result import SuggestReport
from qpkit.workflows.suggest.settings import SuggestSettings
from qpkit.workflows.tables.measure import MeasureSettings, measure

SETTINGS = SuggestSettings(region_um=25.0, min_tissue=0.0)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two slides, of the first one the left half annotated."""
    region = Annotation(geometry=shapely.box(0, 0, WIDTH / 2, HEIGHT), path_class=PathClass(("Region*",)))
    return small_project(tmp_path / "study", [[region], []])


def found(project: Project, settings: SuggestSettings, predictions: Sequence[PredictionSet] = ()) -> SuggestReport:
    return suggest(slide_inputs([project.path], settings), settings, predictions=predictions)


def boxes(report: SuggestReport) -> dict[str, list[shapely.Polygon]]:
    made: dict[str, list[shapely.Polygon]] = {}
    for one in report.suggestions:
        r = one.candidate.region
        made.setdefault(one.candidate.item.source.name, []).append(shapely.box(r.x, r.y, r.x + r.width, r.y + r.height))
    return made


def test_all_squares_together_are_what_is_not_annotated(project: Project) -> None:
    report = found(project, replace(SETTINGS, n=10_000))
    first, second = (entry.name for entry in project.entries)
    side = round(SETTINGS.region_um / MPP)
    all_of_one = (WIDTH // side) * (HEIGHT // side)
    assert len(report.suggestions) == report.candidates and len(boxes(report)[second]) == all_of_one
    assert report.candidates + report.annotated == 2 * all_of_one
    whole = shapely.union_all(boxes(report)[first])
    assert whole.area == len(boxes(report)[first]) * side**2
    assert whole.intersection(shapely.box(0, 0, WIDTH / 2, HEIGHT)).area <= 0.05 * side**2 * len(boxes(report)[first])


def test_suggestions_are_written_replaced_and_taken_back_and_nothing_else_changes(project: Project) -> None:
    before = [entry.objects() for entry in project.entries]
    report = found(project, replace(SETTINGS, n=3))
    assert write_suggestions(project, report) == (3, 0)
    contents = [entry.files.data.read_bytes() for entry in project.entries]
    there = [o for entry in project.entries for o in entry.objects() if is_suggestion(o)]
    assert sorted(o.measurements["Rank"] for o in there) == [1, 2, 3]
    assert all(o.class_name == SUGGESTED_CLASS and (o.name or "").startswith("Suggested ") for o in there)
    # The same again changes no byte; suggestions are no annotations that would keep a square from being suggested.
    again = found(project, replace(SETTINGS, n=3))
    assert write_suggestions(project, again) == (3, 0)
    assert [entry.files.data.read_bytes() for entry in project.entries] == contents
    assert write_suggestions(project, found(project, replace(SETTINGS, n=2))) == (2, 3)
    assert remove_suggestions(project) == 2
    assert [entry.objects() for entry in project.entries] == before
    with pytest.raises(ProjectError, match="no suggestion is there"):
        remove_suggestions(project)


def test_a_dry_run_takes_nothing_out(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    report = found(project, replace(SETTINGS, n=2))
    write_suggestions(project, report)
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    for option in (("--csv", "s.csv"), ("--n", 3), ("--where", "Split=nothing")):
        assert run("suggest", project.path, "--undo", *option) == 1
    capsys.readouterr()
    assert run("suggest", project.path, "--undo", "--dry-run") == 0
    assert "2 suggestion(s) would be taken out" in "".join(capsys.readouterr())
    assert before == {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}


def test_a_suggestion_is_no_tissue_and_no_region_of_an_export(project: Project, tmp_path: Path) -> None:
    settings = ExportSettings(downsample=1, tile_size=64, tissue=TissueRule(by="none"))
    plain = export_tiles(slide_inputs([project.path]), tmp_path / "plain", settings)
    write_suggestions(project, found(project, replace(SETTINGS, n=3)))
    suggested = export_tiles(slide_inputs([project.path]), tmp_path / "suggested", settings)
    assert [slide.pixels for slide in suggested.slides] == [slide.pixels for slide in plain.slides]


def test_a_suggestion_is_nothing_that_a_reviewer_added_and_nothing_to_measure(tmp_path: Path) -> None:
    square = Annotation(geometry=shapely.box(10, 10, 60, 60), path_class=CLASSES[0])
    project, truth = small_project(tmp_path / "study", [[], [square]]), small_project(tmp_path / "truth", [[square]])
    made = predict_truth(truth.path, tmp_path / "made", default_label_map(CLASSES), entries=(1,))
    import_predictions(made, project, ImportSettings())
    before = measure(open_project(project.path), MeasureSettings()).rows
    write_suggestions(open_project(project.path), found(project, replace(SETTINGS, n=40)))
    opened = open_project(project.path)
    assert {row.outcome for row in review_project(opened, ReviewSettings()).rows} == {"untouched"}
    assert measure(opened, MeasureSettings()).rows == before


def test_rare_classes_come_before_what_shows_nothing(project: Project, tmp_path: Path) -> None:
    speck = Annotation(geometry=shapely.box(WIDTH - 60, HEIGHT - 60, WIDTH - 20, HEIGHT - 20), path_class=CLASSES[0])
    truth = small_project(tmp_path / "truth", [[], [speck]])
    made = predict_truth(truth.path, tmp_path / "predictions", default_label_map(CLASSES), entries=(1, 2))
    report = found(project, replace(SETTINGS, n=1, uncertainty=0), [made])
    (box,) = boxes(report)[project.entries[1].name]
    assert box.intersects(speck.geometry) and "Tumor" in report.suggestions[0].name
    minutes = sum(one.scores["Minutes"] for one in found(project, replace(SETTINGS, minutes=0.4), [made]).suggestions)
    assert 0 < minutes <= 0.4


def test_without_predictions_minutes_are_those_of_what_was_drawn_so_far(tmp_path: Path) -> None:
    """What follows the edge of a region is no outline, and two that touch share theirs."""
    left = Annotation(geometry=shapely.box(0, 0, WIDTH / 2, HEIGHT), path_class=PathClass(("Region*",)))
    one, other = (shapely.box(x, 0, x + 20, 20) for x in (40, 60))
    drawn = [Annotation(geometry=shape, path_class=kind) for shape, kind in zip((one, other), CLASSES, strict=True)]
    project = small_project(tmp_path / "study", [[left, *drawn], []])
    settings = replace(SETTINGS, minutes=0.5, decision_s=3.0, outline_s_per_mm=3000.0)
    report = found(project, settings)
    annotated_mm2 = WIDTH / 2 * HEIGHT * (MPP / 1000) ** 2
    share = report.suggestions[0].candidate.mm2 / annotated_mm2
    outline_mm = (20 + 20 + 20 + 20 + 20 - 6) * MPP / 1000
    expected = (1 * 3.0 + outline_mm * share * 3000.0) / 60
    assert report.suggestions[0].scores["Minutes"] == pytest.approx(expected, rel=0.03)
    assert 0.5 - expected < sum(one.scores["Minutes"] for one in report.suggestions) <= 0.5 + 1e-3
    assert any("drawing by hand" in note for note in report.notes)
    with pytest.raises(ConfigError, match="there is neither"):
        found(small_project(tmp_path / "empty", [[], []]), settings)


def test_only_squares_that_are_among_those_wanted_are_looked_at(project: Project) -> None:
    every = found(project, replace(SETTINGS, n=10_000)).suggestions
    name = project.entries[1].name
    wanted = [one.candidate.region for one in every if one.candidate.item.source.name == name][:5]
    items = slide_inputs([project.path], SETTINGS)
    report = suggest(items, replace(SETTINGS, n=10_000), among={name: wanted})
    assert {one.candidate.region for one in report.suggestions} == set(wanted) and report.candidates == 5


def test_nothing_is_searched_once_the_budget_is_used_up(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(*given: object) -> Iterator[tuple[int, float]]:
        for number, distance in spread_out(*given):  # type: ignore[arg-type]
            asked.append(number)
            yield number, distance

    monkeypatch.setattr("qpkit.workflows.suggest.choose.spread_out", counted)
    for budget in ({"n": 2}, {"area": "0.0015mm2"}):
        asked.clear()
        assert len(found(project, replace(SETTINGS, **budget)).suggestions) == 2
        assert len(asked) == 3


def test_budgets_are_kept(project: Project) -> None:
    for area in ("4%", "30%", "0.002mm2"):
        settings = replace(SETTINGS, area=area)
        report = found(project, settings)
        assert 0 < report.mm2 <= (settings.budget_mm2(report.tissue_mm2) or 0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (replace(SETTINGS, area="5"), "percentage"),
        (replace(SETTINGS, area="200%"), "percentage"),
        (replace(SETTINGS, area="0.0000001mm2"), "less than one region"),
    ],
)
def test_bad_budgets_are_refused(project: Project, settings: SuggestSettings, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        found(project, settings)


def test_regions_that_nobody_can_fill_are_refused(project: Project) -> None:
    with pytest.raises(ProjectError, match="no square"):
        found(project, replace(SETTINGS, region_um=100_000.0))


def test_the_command_writes_a_table_and_a_picture(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv, png = tmp_path / "s.csv", tmp_path / "s.png"
    assert run("suggest", project.path, "--n", 2, "--region-um", 25, "--min-tissue", 0, "--csv", csv, "-o", png) == 0
    assert "no predictions were given" in capsys.readouterr().err
    assert len(csv.read_text().splitlines()) == 3 and png.read_bytes().startswith(b"\x89PNG")
    assert sum(is_suggestion(o) for e in open_project(project.path).entries for o in e.objects()) == 2
    assert run("suggest", project.path, "--undo") == 0
    assert "2 suggestion(s)" in capsys.readouterr().err


class Brightness:
    """Sees nothing but how bright a square is."""

    name, mpp, most_px = "brightness", 1.0, 16

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        self.shapes.add(pixels.shape)
        return np.array([pixels.mean()])


def test_squares_are_compared_by_what_one_asks_to_look(project: Project) -> None:
    settings, look = replace(SETTINGS, n=2), Brightness()
    items = slide_inputs([project.path], settings)
    every = suggest(items, replace(settings, n=10_000), look=look)
    assert look.shapes == {(16, 16, 3)}  # the middle of 25 px
    report = suggest(items, settings, look=look)
    assert "squares are compared by brightness" in report.notes
    taken = [seen for item in items for seen in candidates_of(item, settings, look).covered]
    left = [one.candidate.look for one in every.suggestions]
    for one in report.suggestions:
        far = [min(abs(seen[0] - other[0]) for other in taken) for seen in left]
        assert min(abs(one.candidate.look[0] - other[0]) for other in taken) == max(far)
        taken.append(one.candidate.look)
