from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from readers_made_up import REGION, drawn, found, row
from small_project import CLASSES, MPP, small_project

from command_line import run
from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import ConfigError, FormatError, OutputError, ProjectError
from qpkit.ops.scores.consensus import Rule
from qpkit.qupath import Project, open_project
from qpkit.qupath.project.copying import copy_project
from qpkit.workflows.compare.merge import READERS_KEY, MergeSettings, merge
from qpkit.workflows.hand_out import NAME, HandOutSettings, hand_out, shared_out

MERGE = MergeSettings(mpp=MPP)


@pytest.fixture
def three(tmp_path: Path) -> list[str]:
    """Three readers whose squares of 80 px begin 40 px apart."""
    made = []
    for number, name in enumerate(("anna", "bert", "cleo")):
        objects = [REGION, *drawn((20 + 40 * number, 20, 100 + 40 * number, 100))]
        made.append(f"{name}={small_project(tmp_path / name, [objects, drawn((10, 10, 50, 50))]).path}")
    return made


def tumor(project: Project, entry: int = 0) -> shapely.Geometry:
    there = [o.geometry for o in project.entries[entry].objects() if o.class_name == "Tumor"]
    return shapely.union_all(there)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("majority", (60, 20, 140, 100)), ("union", (20, 20, 180, 100)), ("first", (20, 20, 100, 100))],
)
def test_merged_is_what_the_rule_says(
    three: list[str], tmp_path: Path, rule: Rule, expected: tuple[int, int, int, int]
) -> None:
    before = [o for entry in open_project(Path(three[0].partition("=")[2])).entries for o in entry.objects()]
    report = merge(three, tmp_path / "merged", replace(MERGE, rule=rule))
    assert tumor(report.project).equals(shapely.box(*expected))
    assert tumor(report.project, 1).equals(shapely.box(10, 10, 50, 50))
    (region,) = [o for o in report.project.entries[0].objects() if o.class_name == "Region*"]
    assert region.geometry.equals(REGION.geometry)
    after = [o for entry in open_project(Path(three[0].partition("=")[2])).entries for o in entry.objects()]
    assert after == before


def test_who_agreed_is_said(three: list[str], tmp_path: Path) -> None:
    report = merge(three, tmp_path / "merged", MERGE)
    (one,) = [o for o in report.project.entries[0].objects() if o.class_name == "Tumor"]
    # 60 to 140: anna and cleo have half of it each, which is not most of it; bert has all.
    assert one.metadata[READERS_KEY] == "bert" and one.measurements["Agreement"] == pytest.approx(2 / 3, abs=0.01)
    (all_agree,) = [o for o in report.project.entries[1].objects() if o.class_name == "Tumor"]
    assert all_agree.metadata[READERS_KEY] == "anna, bert, cleo" and all_agree.measurements["Agreement"] == 1


def test_what_cannot_be_merged_is_said(three: list[str], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with pytest.raises(OutputError, match="there"):
        merge(three, tmp_path / "there", MERGE)
    with pytest.raises(ConfigError, match="alone"):
        merge(three[:1], tmp_path / "one", MERGE)
    assert not (tmp_path / "one").exists()


@given(st.integers(1, 30), st.integers(2, 5), st.floats(0, 1), st.integers(0, 3))
def test_every_slide_is_read_and_the_stated_fraction_twice(
    slides: int, readers: int, overlap: float, seed: int
) -> None:
    names = [f"s{number}" for number in range(slides)]
    settings = HandOutSettings(readers=tuple("ABCDE"[:readers]), overlap=overlap, seed=seed)
    given = shared_out(names, settings)
    counts = Counter(name for own in given.values() for name in own)
    assert set(counts) == set(names) and set(counts.values()) <= {1, 2}
    assert sum(count == 2 for count in counts.values()) == round(overlap * slides)
    sizes = [len(own) for own in given.values()]
    assert max(sizes) - min(sizes) <= 1
    assert given == shared_out(names, settings)


@pytest.mark.parametrize("blind", [False, True])
def test_what_was_handed_out_comes_back(tmp_path: Path, blind: bool) -> None:
    project = small_project(tmp_path, [[REGION, *drawn((20, 20, 120, 120))], drawn((5, 5, 60, 60)), [REGION]])
    made = hand_out(project, tmp_path / "out", HandOutSettings(readers=("A", "B"), overlap=0.34, blind=blind))
    copies = [open_project(tmp_path / "out" / own.folder) for own in made.readers.values()]
    assert all(entry.image_path().is_file() for copy in copies for entry in copy.entries)
    shown = {entry.name for copy in copies for entry in copy.entries}
    assert shown == ({"Slide 1", "Slide 2", "Slide 3"} if blind else {"a.tif", "b.tif", "c.tif"})
    assert {entry.metadata["qpkit reader"] for entry in copies[0].entries} == {"A"}
    merged = merge(str(tmp_path / "out"), str(tmp_path / "merged"), MERGE).project
    assert [entry.name for entry in merged.entries] == ["a.tif", "b.tif", "c.tif"]
    result = found([f"before={project.path}", f"after={merged.path}"])
    assert row(result, "Tumor").dice == 1.0


def test_readers_can_begin_with_nothing(tmp_path: Path) -> None:
    project = small_project(tmp_path, [drawn((20, 20, 120, 120)), []])
    before = project.entries[0].files.data.read_bytes()
    hand_out(project, tmp_path / "out", HandOutSettings(readers=("A", "B"), empty=True))
    assert not any(e.objects() for name in "AB" for e in open_project(tmp_path / "out" / name).entries)
    assert project.entries[0].files.data.read_bytes() == before


def test_a_copy_has_what_was_chosen_and_finds_its_images(tmp_path: Path) -> None:
    project = small_project(tmp_path, [drawn((20, 20, 120, 120)), drawn((1, 1, 9, 9), class_number=1)])
    (tmp_path / "elsewhere" / "copy").mkdir(parents=True)
    copy = copy_project(project, tmp_path / "elsewhere" / "copy", {2: "second"})
    assert [entry.name for entry in copy.entries] == ["second"]
    assert copy.entries[0].objects() == project.entries[1].objects()
    assert copy.classes == project.classes and copy.entries[0].image_path() == project.entries[1].image_path()
    (tmp_path / "slides" / "b.tif").unlink()
    with pytest.raises(ProjectError, match="not there"):
        copy_project(project, tmp_path, {2: "b"})


def test_what_is_left_out_is_counted_and_what_is_ignored_stays(tmp_path: Path) -> None:
    ignored = Annotation(geometry=shapely.box(0, 0, 30, 30), path_class=PathClass(("Ignore*",)))
    others = [
        ignored,
        Annotation(geometry=shapely.Point(5, 5), path_class=CLASSES[0]),
        Annotation(geometry=shapely.box(40, 40, 50, 50)),
        Annotation(geometry=shapely.box(60, 60, 70, 70), path_class=CLASSES[0], kind="detection"),
    ]
    first = small_project(tmp_path / "a", [[REGION, *drawn((20, 20, 120, 120)), *others]]).path
    second = small_project(tmp_path / "b", [[REGION, *drawn((20, 20, 120, 120)), ignored]]).path
    report = merge([f"a={first}", f"b={second}"], tmp_path / "merged", MERGE)
    assert report.left_out == {"a.tif": 3}
    classes = Counter(o.class_name for o in report.project.entries[0].objects())
    assert classes["Ignore*"] == 1 and classes["Region*"] == 1


def test_outlines_are_simplified_by_um_of_the_slide_however_fine_they_are_compared(tmp_path: Path) -> None:
    circle = Annotation(geometry=shapely.Point(100, 100).buffer(60), path_class=CLASSES[0])
    paths = [f"{n}={small_project(tmp_path / n, [[REGION, circle]]).path}" for n in "ab"]
    plain, simple = (
        tumor(merge(paths, tmp_path / f"m{um}", MergeSettings(mpp=0.01, simplify_um=um)).project) for um in (0, 1.0)
    )
    # At most 1 um = 2 px, though 0.01 um per px was asked for and 0.5 is what there is.
    assert 0.5 < plain.boundary.hausdorff_distance(simple.boundary) <= 2 + 0.02


def test_a_failure_leaves_nothing_behind(three: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ProjectError("the second slide cannot be merged")

    monkeypatch.setattr("qpkit.workflows.compare.merge._put", fails)
    with pytest.raises(ProjectError, match="second slide"):
        merge(three, tmp_path / "merged", MERGE)
    project = open_project(Path(three[0].partition("=")[2]))
    monkeypatch.setattr("qpkit.workflows.hand_out.set_metadata", fails)
    with pytest.raises(ProjectError, match="second slide"):
        hand_out(project, tmp_path / "out", HandOutSettings(readers=("A", "B")))
    assert {path.name for path in tmp_path.iterdir()} == {"anna", "bert", "cleo"}


def test_a_copy_has_no_backups_that_tell_what_was_there(tmp_path: Path) -> None:
    project = small_project(tmp_path, [drawn((20, 20, 120, 120)), []])
    hand_out(project, tmp_path / "out", HandOutSettings(readers=("A", "B"), empty=True))
    assert not [path for path in (tmp_path / "out").rglob("*") if "backup" in path.name]


@pytest.mark.parametrize(
    "content", ["{}", "[]", "no json", '{"format":"x","project":"p","readers":{"A":{}},"slides":{}}']
)
def test_a_damaged_hand_out_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    with pytest.raises(FormatError, match=NAME):
        merge([str(tmp_path)], tmp_path / "merged", MERGE)


def test_a_slide_that_was_renamed_since_is_named(tmp_path: Path) -> None:
    project = small_project(tmp_path, [drawn((20, 20, 120, 120)), []])
    hand_out(project, tmp_path / "out", HandOutSettings(readers=("A", "B"), overlap=1))
    path = tmp_path / "out" / "A" / project.path.name
    path.write_text(path.read_text().replace('"imageName": "b.tif"', '"imageName": "other.tif"'))
    with pytest.raises(ProjectError, match=r"other\.tif: not handed out"):
        merge([str(tmp_path / "out")], tmp_path / "merged", MERGE)


def test_the_commands_share_out_and_merge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = small_project(tmp_path, [drawn((20, 20, 120, 120)), drawn((5, 5, 60, 60))])
    out = tmp_path / "out"
    assert run("project", "hand-out", project.path, "-o", out, "--readers", "A,B", "--overlap", "50%") == 0
    assert "1 of them read twice" in capsys.readouterr().err
    assert run("project", "hand-out", project.path, "-o", out, "--readers", "A,B") == 1
    assert run("project", "hand-out", project.path, "-o", tmp_path / "x", "--readers", "A") == 1
    for wrong in ("abc", "150%", "%"):
        assert run("project", "hand-out", project.path, "-o", out, "--readers", "A,B", "--overlap", wrong) == 1
    assert run("merge", out, "-o", tmp_path / "merged", "--mpp", MPP, "--rule", "staple") == 0
    assert len(open_project(tmp_path / "merged").entries) == 2


def test_a_hand_out_may_lie_in_the_project_and_has_no_slides(tmp_path: Path) -> None:
    project = small_project(tmp_path, [drawn((20, 20, 100, 100))] * 2)
    slide = project.folder / "slides" / "large.svs"
    slide.parent.mkdir()
    slide.write_bytes(b"a slide")
    (project.folder / "scripts").mkdir()
    (project.folder / "scripts" / "own.groovy").write_text("print 1")
    out = project.folder / "readers"
    hand_out(project, out, HandOutSettings(readers=("Anna", "Bert")))
    assert not [*out.rglob("*.svs")]
    assert len([*out.rglob("own.groovy")]) == 2
    with pytest.raises(OutputError) as refused:
        hand_out(project, out, HandOutSettings(readers=("Anna", "Bert")))
    assert "overwrite" not in str(refused.value)


def test_slides_that_the_first_reader_does_not_have_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = [REGION, *drawn((20, 20, 100, 100))]
    few, many = small_project(tmp_path / "a", [objects] * 2), small_project(tmp_path / "b", [objects] * 3)
    assert run("merge", f"a={few.path}", f"b={many.path}", "-o", tmp_path / "merged", "--mpp", MPP) == 0
    assert "LEFT OUT, not in the first project: c.tif" in "".join(capsys.readouterr())
    assert run("merge", f"b={many.path}", f"a={few.path}", "-o", tmp_path / "all", "--mpp", MPP) == 0
    assert [entry.name for entry in open_project(tmp_path / "all").entries] == ["a.tif", "b.tif", "c.tif"]


def test_entries_that_were_not_chosen_are_not_merged(three: list[str], tmp_path: Path) -> None:
    report = merge(three, tmp_path / "merged", MergeSettings(mpp=MPP, entries=("a.tif",)))
    assert [entry.name for entry in report.project.entries] == ["a.tif"]
    assert not report.unread
