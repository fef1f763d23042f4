"""What the command line prints of a report: cells, tables, one row for findings that say the same, plain progress."""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_project import small_project

from qpkit.cli.shared import comparison, console
from qpkit.cli.shared.console import fail, progress, say, table, took
from qpkit.cli.shared.doctor_findings import doctor_project, require_no_project_options
from qpkit.cli.shared.evaluation_tables import show
from qpkit.errors import ConfigError
from qpkit.ops.scores.bootstrap import Interval
from qpkit.ops.scores.confusion import ClassScore, class_scores, row_normalized
from qpkit.workflows.doctor.findings import EditObjects, Finding, ProjectReport, Spot
from qpkit.workflows.doctor.project import DoctorSettings
from qpkit.workflows.evaluate.result import Evaluation, Lesions, PatientMeans, Scope
from qpkit.workflows.evaluate.settings import EvaluateSettings

Caught = pytest.CaptureFixture[str]


RULE = re.compile("─+")


def cells(text: str) -> list[list[str]]:
    """Rows of the tables in an output, heads included; parts of a table that was too wide are tables of their own."""
    lines, found = text.splitlines(), []
    for number, line in enumerate(lines):
        if not line.startswith("─"):
            continue
        columns = [match.span() for match in RULE.finditer(line)]
        for row in [lines[number - 1], *itertools.takewhile(str.strip, lines[number + 1 :])]:
            found.append([row[start:end].strip() for start, end in columns])
    return found


def titles(text: str) -> list[str]:
    """Lines above the heads of tables, and those that stand in none."""
    lines = text.splitlines()
    heads = {number - 1 for number, line in enumerate(lines) if line.startswith("─")}
    rows, inside = set(), False
    for number, line in enumerate(lines):
        inside = line.startswith("─") or (inside and bool(line.strip()))
        rows |= {number} if inside else set()
    return [line.strip() for number, line in enumerate(lines) if line.strip() and number not in heads | rows]


# Cells


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0.123456, "0.123"), (12345.6, "12,346"), (-12345.6, "-12,346"), (1234567, "1,234,567"), (0, "0"),
     (999.4, "999"), ("a [red]b", "a [red]b"), (1e-7, "1e-07")],
)  # fmt: skip
def test_a_cell(capsys: Caught, value: Any, shown: str) -> None:
    table("a[/x] [old] title", ("[bold]head",), [(value,)])
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "a[/x] [old] title"
    assert cells(out) == [["[bold]head"], [shown]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.tuples(st.text("abc[]/\\:'", min_size=1, max_size=8), st.integers(-9, 9) | st.none()), max_size=4))
def test_what_stands_in_a_table_is_what_was_given(capsys: Caught, rows: list[tuple[str, int | None]]) -> None:
    table("Title", ("name", "count"), rows)
    expected = [[name, "-" if count is None else f"{count:,}"] for name, count in rows]
    assert cells(capsys.readouterr().out) == [["name", "count"], *expected]


def test_numbers_stand_right_and_words_left(capsys: Caught) -> None:
    table("Title", ("word", "number", "both"), [("a", 1, "x"), ("bbb", None, 2), ("c", 20000.0, 3)])
    row = capsys.readouterr().out.splitlines()[3]
    assert row.rstrip() == "a          1  x"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.integers(1, 19), min_size=2, max_size=12))
def test_a_wide_table_is_printed_in_parts_that_fit(capsys: Caught, sides: list[int]) -> None:
    names = [chr(ord("a") + i) * side for i, side in enumerate(sides)]
    table("Title", names, [[name.upper() for name in names]], width=40)
    lines = capsys.readouterr().out.splitlines()
    found = cells("\n".join(lines))
    for head, row in zip(found[::2], found[1::2], strict=True):
        assert head[0] == names[0] and [name.upper() for name in head] == row
    assert [name for head in found[::2] for name in head[1:]] == names[1:]
    assert max(map(len, lines)) <= 40


def test_words_go_to_people_and_results_to_pipes(capsys: Caught) -> None:
    say("told")
    with pytest.raises(SystemExit) as end:
        fail("one\nline [red] of\t all")
    caught = capsys.readouterr()
    assert (caught.out, caught.err, end.value.code) == ("", "told\nqpkit: one line [red] of all\n", 1)
    assert took(time.perf_counter() - 61.04).startswith("61.0 s")


# Progress


def test_nobody_is_told_of_short_work_and_now_and_then_of_long(capsys: Caught, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with progress("export") as update:
        for done in range(11):
            update(done, 10, "a.tif")
    assert capsys.readouterr().err == ""
    with progress("export") as update:
        for done in range(11):
            update(done, 10, "a.tif")
            now[0] += 5
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0] == "export: 2/10 a.tif (0.2/s, 40 s left)"
    assert lines[-1] == "export: 10/10 a.tif (0.2/s, 0 s left)"


def test_a_bar_of_a_terminal_takes_every_step(monkeypatch: pytest.MonkeyPatch, capsys: Caught) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("export") as update:
        update(0, 0, "[/] not markup")
        update(3, 10, "x" * 100)
    assert "Traceback" not in capsys.readouterr().err


# Comparisons


def compared(name: str, folder: Path, **changes: Any) -> Any:
    fit_report = pytest.importorskip("qpkit_train.run_folder.fit_report", reason="torch is not installed")
    compare = pytest.importorskip("qpkit_train.compare", reason="torch is not installed")
    plain: dict[str, Any] = {
        "run": name, "root": folder / name, "recipe": name, "device": "cpu", "precision": "32-true", "epochs": 4,
        "best_epoch": 3, "stopped_early": False, "resumed_from": 0, "scores": (), "mean_dice": 0.5, "mean_iou": None,
        "accuracy": 0.9, "thresholds": {}, "validated_on": "val", "train_tiles": 8, "val_tiles": 2,
        "parameters": {"all": 1234567, "learning": 67}, "steps": 16, "seconds": 12.5, "seconds_per_step": 0.1,
        "waiting_fraction": 0.0, "sampler": {}, "notes": (),
    }  # fmt: skip
    taken_over = changes.pop("taken_over", False)
    fit = fit_report.FitReport(**{**plain, **changes})
    return compare.Compared(fit=fit, architecture="unet", encoder="resnet18", taken_over=taken_over, history=())


def test_a_comparison_shows_every_model_and_ends_with_2_where_one_failed(
    tmp_path: Path, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = pytest.importorskip("qpkit_train.compare", reason="torch is not installed")
    models = (
        compared("one", tmp_path, notes=("look",), validated_on="train"),
        compared("two", tmp_path, taken_over=True),
        compared("three", tmp_path, resumed_from=2),
    )
    (tmp_path / "two").mkdir()
    (tmp_path / "two/report.html").touch()
    asked, written = [], []

    def fake(tiles: Path, out: Path, recipes: Any, *, on_progress: Any) -> Any:
        asked.extend(recipe.name for recipe in recipes)
        failed = (("unet-resnet34", "no reason"),)
        return compare.ComparisonReport(root=out, models=models, failed=failed)

    monkeypatch.setattr(compare, "compare", fake)
    monkeypatch.setattr(comparison, "report_after_training", lambda root: written.append(root.name))
    names = (" unet-resnet18", "", "unet-resnet34 ")
    with pytest.raises(typer.Exit) as end:
        comparison.run_comparison(tmp_path, names, tmp_path, ["optim.epochs=4"])
    assert end.value.exit_code == 2
    assert asked == ["unet-resnet18", "unet-resnet34"]
    assert written == ["one", "three"]  # the one that was taken over has its report
    caught = capsys.readouterr()
    assert "TRAINING (there is no validation split)" in caught.out
    assert cells(caught.out)[1:] == [
        [name, "0.5", "-", "1,234,567", "67", "3 of 4", "16", "12.5"] for name in ("one", "two", "three")
    ]
    said = caught.err.splitlines()
    assert said[:3] == [
        "note: one: look",
        f"two: was finished before, taken over from {tmp_path / 'two'}",
        "three: went on after epoch 2",
    ]
    assert said[-1] == "not trained: unet-resnet34: no reason"


# The doctor


def report_of(*findings: Finding) -> ProjectReport:
    return ProjectReport(
        path=Path("p.qpproj"), version="0.6.0", entries=5, objects=1234, findings=findings, project=None
    )


def shown_findings(capsys: Caught, monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> tuple[str, str, int]:
    monkeypatch.setattr("qpkit.cli.shared.doctor_findings.examine_project", lambda *_, **__: report_of(*findings))
    code = 0
    try:
        doctor_project(Path("p"), DoctorSettings(), fix=False, as_json=False)
    except typer.Exit as end:
        code = end.exit_code
    caught = capsys.readouterr()
    return caught.out, caught.err, code


def test_findings_that_say_the_same_share_a_row(capsys: Caught, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = [
        Finding(kind="outside", what=f"{n} objects lie outside", about="objects lie outside", entry=n, entry_name="e",
                count=n, spots=(Spot("abcdefghijkl", 1234.5, 7.0, "Tumor"),), fix=f"clip {n}", repair=EditObjects())
        for n in (1, 2, 3, 4)
    ]  # fmt: skip
    alone = [
        Finding(kind="no-mpp", what="no um/px", entry=n, entry_name="e", spots=(Spot(None, None, None, "x"),))
        for n in (1, 2)
    ]
    out, err, code = shown_findings(capsys, monkeypatch, *alone, *outside)
    assert code == 1
    assert titles(out) == ["p.qpproj: QuPath 0.6.0, 5 entries, 1,234 objects"]
    rows = [row for row in cells(out) if row[0] in ("error", "warning")]
    assert [row[:4] for row in rows] == [
        ["error", "no-mpp", "1: e", "no um/px"],
        ["error", "no-mpp", "2: e", "no um/px"],
        ["warning", "outside", "1: e", "10 objects lie outside"],
    ]
    assert rows[2][4] == "--fix: clip 1 ..."
    rest = [row[2:4] for row in cells(out) if row[0] == ""]
    assert ["and 1 more", ""] in rest
    assert "x 1,234 y 7, Tumor, abcdefgh" in out and "abcdefghi" not in out
    assert err.splitlines() == [
        "2 errors, 4 warnings, 0 notes", "qpkit doctor --fix does 4 of these; close QuPath first."
    ]  # fmt: skip


def test_a_project_without_findings_is_healthy_in_one_line(capsys: Caught, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_findings(capsys, monkeypatch) == (
        "", "p.qpproj: QuPath 0.6.0, 5 entries, 1,234 objects: nothing found\n", 0
    )  # fmt: skip
    note = Finding(kind="summary", what="the summary is old", where="data/1/summary.json")
    out, err, code = shown_findings(capsys, monkeypatch, note)
    assert (code, err) == (0, "0 errors, 0 warnings, 1 notes\n")
    assert "data/1/summary.json" in out


def test_json_of_the_doctor_is_read_back_whole(tmp_path: Path, capsys: Caught) -> None:
    project = small_project(tmp_path)
    (tmp_path / "slides/b.tif").unlink()
    with pytest.raises(typer.Exit) as end:
        doctor_project(project.path, DoctorSettings(), fix=False, as_json=True)
    assert end.value.exit_code == 1
    read = json.loads(capsys.readouterr().out)
    assert (read["entries"], read["objects"], read["is_healthy"]) == (2, 3, False)
    (missing,) = [item for item in read["findings"] if item["kind"] == "image-missing"]
    assert missing["entry"] == {"id": 2, "name": "b.tif"} and missing["severity"] == "error"
    with pytest.raises(typer.Exit):
        doctor_project(project.path, DoctorSettings(), fix=True, as_json=True)
    again = json.loads(capsys.readouterr().out)
    assert set(again) == {*read, "fixed"} and again["fixed"]["failed"] == []


def test_options_of_projects_are_no_options_of_files() -> None:
    require_no_project_options(DoctorSettings())
    with pytest.raises(ConfigError, match="--only goes with a QuPath project, not with a GeoJSON file"):
        require_no_project_options(DoctorSettings(only=("outside",)))


# Evaluations


def scope(name: str, confusion: list[list[int]], kind: str = "slide", **changes: Any) -> Scope:
    import numpy as np

    counts = np.array(confusion)
    scores = {score.name: score for score in class_scores(counts, ("background", "Tumor"))}
    nothing = ClassScore(
        name="Tumor", support=0, predicted=0, iou=0.1, dice=0.25, precision=0.1, recall=1.0, specificity=0.0
    )
    baselines: Mapping[str, Mapping[str, ClassScore]] = {key: {"all this class": nothing} for key in scores}
    plain: dict[str, Any] = {
        "kind": kind, "name": name, "slides": (name,), "confusion": confusion,
        "confusion_fractions": row_normalized(counts).tolist(), "accuracy": 0.5, "mean_dice": 0.5, "mean_iou": 0.5,
        "scores": {"Tumor": scores["Tumor"]}, "baselines": baselines, "ranking": None, "confidence_error": None,
        "lesions": {"Tumor": Lesions(total=4, found=3, matched=2, predicted=5, too_small=1, precision=0.5, recall=0.5,
                                     f1=None)},
        "outside_mm2": None, "unannotated_px": 0, "glass_px": 0, "seconds": 1.0,
    }  # fmt: skip
    return Scope(**{**plain, **changes})


def evaluation(*slides: Scope, **changes: Any) -> Evaluation:
    metrics = ("dice", "iou", "precision", "recall", "specificity", "auc", "lesion_f1")
    found = dict.fromkeys(metrics, Interval(mean=0.5, low=0.25, high=0.75, n=2))
    found |= {"auc": Interval(mean=None, low=None, high=None, n=0), "iou": Interval(mean=1.0, low=None, high=None, n=1)}
    plain: dict[str, Any] = {
        "run": "r", "values": (0, 1), "names": ("background", "Tumor"), "unannotated": "ignore",
        "settings": EvaluateSettings(resamples=2000, seed=3), "slides": slides, "groups": {},
        "pooled": scope("all", [[900, 100], [0, 24]], "all"),
        "patients": PatientMeans(unit="Patient", units=len(slides), classes={"Tumor": found}), "curves": None,
        "notes": (),
    }  # fmt: skip
    return Evaluation(**{**plain, **changes})


def test_an_evaluation_of_one_slide_is_shown_once(capsys: Caught) -> None:
    show(evaluation(scope("a.tif", [[80, 20], [10, 30]])))
    out = capsys.readouterr().out
    assert titles(out)[0] == "Run r against the annotations; pixels outside every region count neither way"
    rows = cells(out)
    assert rows[1] == ["a.tif", "Tumor", "40", "0.667", "0.25", "0.5", "0.6", "0.75", "0.8"]
    assert ["Tumor", "this run", "0.667", "0.5", "0.6", "0.75", "0.8"] in rows
    assert ["Tumor", "all this class", "0.25", "0.1", "0.1", "1", "0"] in rows
    assert ["background", "80 (80.0%)", "20 (20.0%)"] in rows and ["Tumor", "10 (25.0%)", "30 (75.0%)"] in rows
    assert not any(row[0] == "all" for row in rows) and "Mean over" not in out
    (lesions,) = [row for row in rows if "3 of 4" in row]
    assert lesions[:6] == ["a.tif", "Tumor", "3 of 4", "2", "5", "1"] and "-" in lesions


def test_several_slides_are_pooled_and_patients_have_intervals(capsys: Caught) -> None:
    slides = scope("a.tif", [[80, 20], [10, 30]]), scope("b.tif", [[1, 0], [0, 1]])
    show(
        evaluation(*slides, groups={"Stain": (scope("H&E", [[80, 20], [10, 30]], "Stain"),)}, unannotated="background")
    )
    out = capsys.readouterr().out
    assert "count as background" in titles(out)[0] and "By Stain" in titles(out)
    rows = cells(out)
    assert [row[0] for row in rows[1:4]] == ["a.tif", "b.tif", "all"]
    assert ["background", "900 (90.0%)", "100 (10.0%)"] in rows
    assert any(row[0] == "H&E" for row in rows)
    assert "Mean over 2 x patient (Patient), 95 % interval (2,000 resamples, seed 3)" in titles(out)
    half = "0.50 0.25-0.75"
    assert rows[-1] == ["Tumor", half, "1.00 (n 1)", half, half, half, "-", half]


def test_the_next_of_several_trainings_has_a_pace_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After 100 s for ten steps the next one does a step a second: nine are left, not nine times ten seconds."""
    clock = iter([0.0, 100.0, 200.0, 201.0, 211.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: False, raising=False)
    with console.progress("train") as update:
        update(10, 10, "a")
        update(0, 20, "b")
        update(1, 20, "b")
        update(11, 20, "b")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train: 10/10 a (0.1/s, 0 s left)"
    assert lines[-1] == "train: 11/20 b (1.0/s, 9 s left)"
