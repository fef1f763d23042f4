"""What became of imported objects: exact counts of what a reviewer did, and what cannot be known."""

from __future__ import annotations

import html
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import shapely
from small_project import CLASSES, small_project

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.provenance import prediction_id, prediction_name, provenance
from qpkit.core.review import REVIEW_KEY, REVIEWED_CLASS, REVIEWER_KEY, SECONDS_KEY
from qpkit.errors import ProjectError
from qpkit.predictions.ledger import FOLDER, Ledger, read_ledger, write_ledger
from qpkit.qupath import Project, open_project
from qpkit.workflows.inputs.entry_view import entry_source
from qpkit.workflows.pages.review import review_page
from qpkit.workflows.review.project import review_project
from qpkit.workflows.review.result import Reviewed, ReviewReport, ReviewSettings
from qpkit.workflows.review.tables import class_changes, counts_by, review_csv, review_to_builtins

BOXES = [shapely.box(x, 10, x + 20, 40) for x in range(10, 300, 30)]


def predicted(number: int, run: str = "run-1", *, locked: bool = False) -> Annotation:
    shape, name = BOXES[number], "Tumor"
    metadata = provenance(run, "made-up", name, shape) | ({"qpkit locked": "yes"} if locked else {})
    return Annotation(
        geometry=shape, path_class=CLASSES[0], id=prediction_id(run, "a.tif", name, shape), locked=locked,
        name=prediction_name(name, number + 1, run), metadata=metadata, measurements={"Mean probability": 0.8},
    )  # fmt: skip


def imported(folder: Path, objects: Sequence[Annotation], run: str = "run-1") -> Project:
    """A project into which a run put the objects."""
    project = small_project(folder, [[]])
    put(project, objects, run)
    return open_project(project.path)


def put(project: Project, objects: Sequence[Annotation], run: str = "run-1") -> None:
    entry = project.entries[0]
    entry.replace_objects(remove=set(), add=objects)
    ledger = Ledger(run).after_import(str(entry.id), entry.name, objects, Ledger(run).table, {"locked": False})
    write_ledger(project.path.parent, ledger)


def change(project: Project, remove: Sequence[Annotation], add: Sequence[Annotation]) -> None:
    project.entries[0].replace_objects(remove={str(o.id) for o in remove}, add=add)


def reviewed(project: Project, **settings: tuple[str, ...]) -> ReviewReport:
    return review_project(open_project(project.path), ReviewSettings(**settings))


def outcomes(report: ReviewReport) -> dict[str, int]:
    return dict(Counter(row.outcome for row in report.rows))


def only(report: ReviewReport, outcome: str) -> Reviewed:
    (row,) = [row for row in report.rows if row.outcome == outcome]
    return row


def said(item: Annotation, **values: str) -> Annotation:
    return replace(item, metadata={**item.metadata, **{k.replace("_", " "): v for k, v in values.items()}})


def drawn(shape: shapely.Polygon, name: str = "Tumor") -> Annotation:
    return Annotation(geometry=shape, path_class=PathClass((name,)))


@pytest.mark.parametrize("locked", [False, True])
def test_what_nobody_touched_is_untouched(tmp_path: Path, locked: bool) -> None:
    project = imported(tmp_path, [predicted(n, locked=locked) for n in range(4)])
    report = reviewed(project)
    assert outcomes(report) == {"untouched": 4}
    assert report.notes == ()


def test_every_way_of_reviewing_is_seen(tmp_path: Path) -> None:
    own = [predicted(n) for n in range(10)]
    project = imported(tmp_path, own)
    before = read_ledger(project.path.parent, "run-1")
    moved = shapely.box(70, 10, 94, 40)
    halves = shapely.box(100, 10, 110, 40), shapely.box(110, 10, 120, 40)
    changes = [
        replace(own[0], locked=True),
        said(own[1], **{REVIEW_KEY: "accepted", REVIEWER_KEY: "Ann", SECONDS_KEY: "2.5"}),
        replace(own[2], geometry=moved),
        said(replace(own[4], path_class=CLASSES[1]), **{REVIEW_KEY: "reclassified"}),
        said(own[5], **{REVIEW_KEY: "unsure", REVIEWER_KEY: "Ben"}),
    ]
    people = [
        drawn(halves[0]),
        drawn(halves[1]),
        drawn(shapely.union_all([BOXES[7], BOXES[8], shapely.box(230, 10, 250, 40)])),
    ]
    change(project, own[:9], [*changes, *people, drawn(shapely.box(10, 100, 60, 150))])
    report = reviewed(project)
    expected = {
        "accepted": 2, "edited": 1, "split": 1, "reclassified": 1, "unsure": 1, "rejected": 1, "merged": 2,
        "untouched": 1, "added": 1,
    }  # fmt: skip
    assert outcomes(report) == expected
    edited = only(report, "edited")
    assert (edited.iou, edited.distance_px, edited.distance_um) == (round(20 / 24, 4), 4.0, 2.0)
    assert (edited.x, edited.width, edited.matched_by, edited.run) == (70, 20, "id", "run-1")
    assert only(report, "split").matched_by == "shape"
    assert len(only(report, "split").now) == 2
    assert only(report, "rejected").id == own[6].id
    assert class_changes(report.rows) == [{"from": "Tumor", "to": "Stroma", "objects": 1}]
    ann = next(row for row in counts_by(report.rows, "reviewer") if row["reviewer"] == "Ann")
    assert (ann["accepted"], ann["seconds"]) == (1, 2.5)
    # The ledger stays, its rows are all counted, and a second look sees the same.
    after = read_ledger(project.path.parent, "run-1")
    assert after.table.equals(before.table)
    assert sum(row.run == "run-1" for row in report.rows) == before.table.num_rows
    assert review_csv(reviewed(project)) == review_csv(report)
    figures = review_to_builtins(report)
    assert sum(row["objects"] for row in figures["by_class"]) == figures["all"]["objects"] == len(report.rows)


def test_inside_a_reviewed_region_untouched_is_accepted(tmp_path: Path) -> None:
    project = imported(tmp_path, [predicted(n) for n in range(3)])
    region = Annotation(geometry=shapely.box(0, 0, 51, 60), path_class=PathClass((REVIEWED_CLASS,)))
    change(project, [], [region])
    assert outcomes(reviewed(project)) == {"accepted": 2, "untouched": 1}
    by_key = replace(region, path_class=None, metadata={REVIEW_KEY: "reviewed"})
    change(project, open_project(project.path).entries[0].objects(), [*map(predicted, range(3)), by_key])
    assert outcomes(reviewed(project)) == {"accepted": 2, "untouched": 1}


def test_objects_that_lost_their_ids_are_found_by_shape(tmp_path: Path) -> None:
    own = [predicted(n) for n in range(3)]
    project = imported(tmp_path, own)
    nameless = [Annotation(geometry=o.geometry, path_class=o.path_class) for o in own[:2]]
    change(project, own, [nameless[0], replace(nameless[1], locked=True)])
    report = reviewed(project)
    assert outcomes(report) == {"untouched": 1, "accepted": 1, "rejected": 1}
    assert any("2 object(s) of run run-1 found by shape" in note for note in report.notes)


def test_copies_are_not_counted(tmp_path: Path) -> None:
    own = predicted(0)
    project = imported(tmp_path, [own])
    change(project, [], [replace(own, id="11111111-2222-4333-8444-555555555555")])
    report = reviewed(project)
    assert outcomes(report) == {"untouched": 1}
    assert "copies" in report.notes[0]


def test_two_runs_on_top_of_each_other_are_counted_each(tmp_path: Path) -> None:
    project = imported(tmp_path, [predicted(0), predicted(1)])
    put(project, [predicted(0, "run-2")], "run-2")
    change(project, [predicted(0)], [])
    report = reviewed(project)
    assert [row["run"] for row in counts_by(report.rows, "run")] == ["run-1", "run-2"]
    assert outcomes(report) == {"untouched": 2, "rejected": 1}
    assert "lie on top of each other" in report.notes[0]
    assert outcomes(reviewed(project, runs=("run-2",))) == {"untouched": 1}
    with pytest.raises(ProjectError, match="no object of run 'run-3'"):
        reviewed(project, runs=("run-3",))


@pytest.mark.parametrize("damage", [False, True])
def test_without_a_ledger_the_metadata_are_looked_at(tmp_path: Path, damage: bool) -> None:
    own = [predicted(n) for n in range(5)]
    project = imported(tmp_path, own)
    changed = replace(own[1], geometry=BOXES[6]), replace(own[2], path_class=CLASSES[1]), replace(own[3], locked=True)
    change(project, own[1:5], changed)
    folder = project.path.parent / FOLDER
    if damage:
        (folder / "run-1.parquet").write_bytes(b"PAR1 no more")
    else:
        shutil.rmtree(folder)
    report = reviewed(project)
    assert outcomes(report) == {"untouched": 1, "edited": 1, "reclassified": 1, "accepted": 1}
    assert {row.matched_by for row in report.rows} == {"metadata"}
    assert any("what was rejected" in note for note in report.notes)
    assert any("parquet: damaged" in note for note in report.notes) == damage


@pytest.mark.parametrize(("column", "value"), [("geometry", b"no shape"), ("id", None), ("state", "lost")])
def test_a_ledger_with_impossible_rows_is_damaged(tmp_path: Path, column: str, value: object) -> None:
    project = imported(tmp_path, [predicted(0)])
    ledger = read_ledger(project.path.parent, "run-1")
    place, kind = ledger.table.column_names.index(column), ledger.table.schema.field(column).type
    table = ledger.table.set_column(place, column, pa.array([value], kind))
    write_ledger(project.path.parent, Ledger("run-1", table))
    report = reviewed(project)
    assert outcomes(report) == {"untouched": 1}
    assert "damaged" in report.notes[0]


def test_a_copied_ledger_and_shapes_without_area_do_not_disturb(tmp_path: Path) -> None:
    project = imported(tmp_path, [predicted(0)])
    folder = project.path.parent / FOLDER
    shutil.copy(folder / "run-1.parquet", folder / "run-1 (copy).parquet")
    nothing = [Annotation(geometry=shape) for shape in (shapely.Point(5, 5), shapely.LineString([(0, 0), (5, 5)]))]
    change(project, [], [*nothing, Annotation(geometry=shapely.Point(9, 9), metadata={"qpkit run": "run-1"})])
    report = reviewed(project)
    assert (outcomes(report)["untouched"], outcomes(report)["added"]) == (1, 2)
    assert any("a copy of the ledger" in note for note in report.notes)
    assert review_page(project, report, tmp_path / "page.html") == ()


def test_the_page_leads_to_slide_and_place(tmp_path: Path) -> None:
    project = imported(tmp_path, [predicted(n) for n in range(2)])
    change(project, [predicted(1)], [])
    report = reviewed(project)
    review_page(project, report, tmp_path / "page.html")
    page = html.unescape((tmp_path / "page.html").read_text())
    gone = next(row for row in report.rows if row.outcome == "rejected")
    slide = entry_source(project.entries[0]).path
    assert f'<a href="{slide.as_uri()}">' in page
    assert f"it.getID() == '{project.entries[0].id}'" in page
    x, y = gone.x + gone.width / 2, gone.y + gone.height / 2
    assert page.count(f"setCenterPixelLocation({x:.1f}d, {y:.1f}d)") == 1
    slide.unlink()
    review_page(project, report, tmp_path / "page.html")
    assert '<a href="file' not in (tmp_path / "page.html").read_text()


def test_an_imported_object_edited_before_the_next_import_is_still_seen(tmp_path: Path) -> None:
    own = [predicted(n) for n in range(2)]
    project = imported(tmp_path, own)
    change(project, own[:1], [replace(own[0], path_class=CLASSES[1])])
    # The next import writes down what it put there; what a person changed is not among it.
    ledger = read_ledger(project.path.parent, "run-1").after_import("1", "a.tif", own[1:], Ledger("run-1").table, {})
    write_ledger(project.path.parent, ledger)
    assert outcomes(reviewed(project)) == {"reclassified": 1, "untouched": 1}


def test_what_is_not_there_to_compare_is_unknown(tmp_path: Path) -> None:
    project = imported(tmp_path, [predicted(0)])
    write_ledger(
        project.path.parent,
        Ledger("old").after_import("99", "gone.tif", [predicted(1, "old")], Ledger("old").table, {}),
    )
    assert outcomes(reviewed(project)) == {"untouched": 1, "unknown": 1}
    project.entries[0].files.data.write_bytes(b"nothing")
    report = reviewed(project)
    assert outcomes(report) == {"unknown": 2}
    assert any("cannot be read" in note for note in report.notes)


def test_nothing_imported_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="nothing was imported"):
        reviewed(small_project(tmp_path))
