"""qpkit doctor on projects: every finding provoked, what --fix does, and that nothing else is ever touched."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely
from PIL import Image
from small_project import set_image_uris

from command_line import run
from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.core.geometry import ellipse
from qpkit.errors import ConfigError, ProjectError
from qpkit.qupath import Entry, QpData, add_image, create_project, open_project
from qpkit.qupath.project.images.relocation import parse_relocation
from qpkit.workflows.doctor.findings import KINDS, Finding, ProjectReport
from qpkit.workflows.doctor.fix import fix_project
from qpkit.workflows.doctor.project import DoctorSettings, examine_project
from qpkit.workflows.info import describe
from qpkit.workflows.inputs.slides import slide_inputs
from shared_data import DOCS

VERSIONS = ("v0.2.3", "v0.3.2", "v0.4.4", "v0.5.1", "v0.6.0", "v0.7.0")
BOW = shapely.Polygon([(100, 100), (200, 200), (200, 100), (100, 200)])
TUMOR, STROMA = PathClass(("Tumor",), -3670016), PathClass(("Stroma",), -6895466)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def of_kind(report: ProjectReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def the(report: ProjectReport, kind: str) -> Finding:
    (finding,) = of_kind(report, kind)
    return finding


def comparable(entry: Entry) -> list[tuple[object, ...]]:
    alone = [(o.geometry.wkb, None if o.nucleus is None else o.nucleus.wkb, o) for o in entry.objects()]
    return [(shape, nucleus, repr(dataclasses.replace(o, nucleus=None))) for shape, nucleus, o in alone]


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    """A project of one entry, 400 x 300 px at 0.5 um/px, without objects, as a base for all faults."""
    (tmp_path / "slides").mkdir()
    Image.new("RGB", (400, 300), "white").save(tmp_path / "slides/a.png")
    project = create_project(tmp_path / "p", classes=[TUMOR, STROMA])
    add_image(project, tmp_path / "slides/a.png", width=400, height=300, mpp=0.5)
    return tmp_path / "p"


def draw(folder: Path, *objects: Annotation) -> Entry:
    entry = open_project(folder).entries[0]
    entry.edit(lambda data: data.add(objects))
    return open_project(folder).entries[0]


def square(x: float, y: float, side: float = 50, **values: Any) -> Annotation:
    return Annotation(geometry=shapely.box(x, y, x + side, y + side), **{"path_class": TUMOR, **values})


# Laws


@pytest.mark.parametrize("version", VERSIONS)
def test_looking_changes_no_byte_and_fixing_twice_is_fixing_once(
    project_copy: Callable[[str], Path], version: str
) -> None:
    folder = project_copy(version)
    before = snapshot(folder)
    report = examine_project(folder)
    assert snapshot(folder) == before
    plain = {entry.id: comparable(entry) for entry in open_project(folder).entries}
    fixed = fix_project(folder)
    assert {f.kind for f in fixed.done} >= {"image-moved", "invalid-shape", "class-unlisted"} and not fixed.failed
    once = snapshot(folder)
    again = fix_project(folder)
    assert not again.done and snapshot(folder) == once
    changed = {name for name in before if once[name][0] != before[name][0]}
    edited = {f.entry for f in fixed.done if f.kind == "invalid-shape"}
    assert once["project.qpproj.backup"][0] == before["project.qpproj"][0]
    assert changed - {"project.qpproj.backup"} == {"classifiers/classes.json", "project.qpproj"} | {
        f"data/{number}/{name}" for number in edited for name in ("data.qpdata", "summary.json")
    }
    for entry in open_project(folder).entries:
        other = [a != b for a, b in zip(plain[entry.id], comparable(entry), strict=True)]
        assert sum(other) == sum(f.count for f in fixed.done if f.kind == "invalid-shape" and f.entry == entry.id)
        if entry.id in edited:
            assert entry.files.backup.read_bytes() == before[f"data/{entry.id}/data.qpdata"][0]
    left = {f.kind for f in report.findings} - {f.kind for f in again.left.findings}
    assert left == {f.kind for f in fixed.done}


@pytest.mark.parametrize("version", ["qupath-0.3.2", "qupath-0.5.1", "qupath-0.7.0"])
def test_a_moved_project_of_real_slides_has_no_errors_and_works_where_it_is(
    composed: Path, tmp_path: Path, version: str
) -> None:
    shutil.copytree(composed / version, tmp_path / "a/p", copy_function=shutil.copyfile)
    (tmp_path / "a/p").chmod(0o755)
    report = examine_project(tmp_path / "a/p", DoctorSettings(search=(composed / "slides",)))
    assert {f.kind for f in report.findings if f.severity == "error"} == {"image-missing"}
    assert {f.kind for f in report.findings if f.severity != "error"} <= {"overlap", "nested", "unclassified"}
    for folder in (tmp_path / "a/p").rglob("*"):
        folder.chmod(0o755)
    settings = DoctorSettings(search=(composed / "slides",))
    assert fix_project(tmp_path / "a/p", settings).left.is_healthy
    slides = slide_inputs([tmp_path / "a/p"])
    assert {item.source.path.parent.resolve() for item in slides} == {(composed / "slides").resolve()}
    assert "missing" not in {row["image"] for row in describe(tmp_path / "a/p").rows}
    assert open_project(tmp_path / "a/p").record["uri"] == (tmp_path / "a/p/project.qpproj").as_uri()


def test_a_healthy_project_has_no_findings(blank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(blank, square(10, 10), square(100, 100, path_class=STROMA))
    assert examine_project(blank).findings == ()
    before = snapshot(blank)
    assert run("doctor", blank) == 0 and run("doctor", blank, "--fix") == 0
    assert snapshot(blank) == before
    assert "nothing found" in capsys.readouterr().err


# Images


def test_relocation_reads_paths_of_every_system_as_text() -> None:
    cases = [
        (r"D:\slides=/data", "file:///d:/Slides/x/a.svs", "/data/x/a.svs"),
        (r"\\server\share=/data", "file://server/share/x/a.svs", "/data/x/a.svs"),
        ("//server/share/x/=/data", "file:////SERVER/share/x/a.svs", "/data/a.svs"),
        ("/old/a b=/data", "file:/old/a%20b/c.svs", "/data/c.svs"),
        ("file:///old/a%20b=/data=1", "file:/old/a%20b/c.svs", "/data=1/c.svs"),
        (r"/old=\\server\share", "file:///old/c.svs", r"\\server\share\c.svs"),
        ("/old/c.svs=/new/d.svs", "file:///old/c.svs", "/new/d.svs"),
        ("/old/c=/new", "file:///old/c.svs", None),
        ("/old=/old/new", "file:///old/new/c.svs", None),
        ("/OLD=/new", "file:///old/c.svs", None),
    ]
    from qpkit.qupath.project.images.uris import file_path

    for text, uri, expected in cases:
        path = file_path(uri)
        assert path is not None
        made = parse_relocation(text).apply(path)
        assert (None if made is None else str(made)) == expected, text
    for bad in ("", "a", "=b", "a=", "relative/a=/b", "file:///a b=/c", "C:rel=/b"):
        with pytest.raises(ConfigError, match="--relocate"):
            parse_relocation(bad)


@pytest.mark.parametrize("old", ["D:\\slides", "file:///D:/slides"])
def test_images_from_windows_are_relocated_and_found(blank: Path, tmp_path: Path, old: str) -> None:
    project = open_project(blank)
    set_image_uris(project, {project.entries[0].id: "file:///D:/slides/a.png"})
    assert the(examine_project(blank), "image-missing").repair is None
    assert run("doctor", blank) == 1
    assert run("doctor", blank, "--relocate", f"{old}={tmp_path / 'slides'}", "--fix") == 0
    assert slide_inputs([blank])[0].source.path == tmp_path / "slides/a.png"
    once = snapshot(blank)
    assert run("doctor", blank, "--relocate", f"{old}={tmp_path / 'slides'}", "--fix") == 0  # the same again
    assert snapshot(blank) == once


def test_a_relocation_is_checked_where_it_can_be(blank: Path, tmp_path: Path) -> None:
    there = DoctorSettings(relocate=(parse_relocation(f"{tmp_path}/slides={tmp_path}/new"),))
    assert not examine_project(blank, there).findings  # the old place is good, the new one does not exist
    (tmp_path / "new").mkdir()
    Image.new("RGB", (401, 300)).save(tmp_path / "new/a.png")
    finding = the(examine_project(blank, there), "image-size")
    assert "401 x 300 px, but 400 x 300 in QuPath" in finding.what and finding.repair is None
    shutil.copy(tmp_path / "slides/a.png", tmp_path / "new/a.png")
    assert the(examine_project(blank, there), "image-relocated").repair is not None
    assert fix_project(blank, there).left.findings == ()
    assert open_project(blank).entries[0].image_path() == tmp_path / "new/a.png"
    foreign = DoctorSettings(relocate=(parse_relocation(f"{tmp_path}/new=Z:\\study"),))
    assert "not checked" in the(examine_project(blank, foreign), "image-relocated").fix
    fixed = fix_project(blank, foreign)
    assert open_project(blank).entries[0].server.uri == "file:///Z:/study/a.png"
    assert not fix_project(blank, foreign).done and not fixed.left.is_healthy
    unused = DoctorSettings(relocate=(parse_relocation("/nowhere=/b"),))
    assert "no image is in /nowhere" in the(examine_project(blank, unused), "unused-option").what


def test_missing_images_are_found_by_name_and_size_and_never_guessed(blank: Path, tmp_path: Path) -> None:
    (tmp_path / "slides/a.png").rename(tmp_path / "hidden.png")
    store = tmp_path / "store"
    for number, size in enumerate([(400, 300), (300, 400)]):
        (store / str(number)).mkdir(parents=True)
        Image.new("RGB", size).save(store / str(number) / "a.png")
    (store / "0/A.PNG").write_bytes(b"not looked at, as a.png is there")
    settings = DoctorSettings(search=(store,))
    assert f"{store}/0/a.png (same name" in the(examine_project(blank, settings), "image-missing").fix.replace(
        "file://", ""
    )
    (store / "2").mkdir()
    Image.new("RGB", (400, 300)).save(store / "2/a.png")
    finding = the(examine_project(blank, settings), "image-missing")
    assert finding.repair is None and "2 files have its name and size" in finding.what
    shutil.rmtree(store / "2")
    shutil.rmtree(store / "0")
    finding = the(examine_project(blank, settings), "image-missing")
    assert finding.repair is None and "is 300 x 400 px, but 400 x 300" in finding.what
    with pytest.raises(ProjectError, match="no such folder"):
        examine_project(blank, DoctorSettings(search=(tmp_path / "none",)))
    (store / "1/a.png").rename(store / "1/A.png")
    Image.new("RGB", (400, 300)).save(store / "1/A.png")
    assert fix_project(blank, settings).left.is_healthy


def test_wrong_unreadable_and_unscaled_images_are_named(blank: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "slides/a.png")
    assert "40 x 30 px, but 400 x 300" in the(examine_project(blank), "image-size").what
    moved = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-moved"))
    (tmp_path / "slides/a.png").rename(tmp_path / "gone.png")
    assert the(examine_project(moved / "p"), "image-moved").repair is None  # QuPath's rule finds a wrong image
    (tmp_path / "slides/a.png").write_bytes(b"nothing")
    assert the(examine_project(blank), "image-unreadable").severity == "error"
    Image.new("RGB", (400, 300)).save(tmp_path / "slides/a.png")
    edit_json(blank, lambda image: image["serverBuilder"]["metadata"].pop("pixelCalibration"))
    assert the(examine_project(blank), "no-mpp").severity == "error"
    edit_json(blank, lambda image: image["serverBuilder"].update(args=["--series", "1"]))
    assert "--series 1" in the(examine_project(blank), "image-unsupported").what
    edit_json(blank, lambda image: image["serverBuilder"].update(args=["--gamma", "2"]))
    assert "--gamma 2" in the(examine_project(blank), "image-arguments").what
    edit_json(blank, lambda image: image["serverBuilder"].update(uri="https://omero.org/1", args=[]))
    assert the(examine_project(blank), "image-elsewhere").severity == "note"


def test_a_signed_project_is_named_before_it_is_changed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As qTrace lays its stamps."""
    stamp = study / "qTrace/trace/patient_A.tif.qtrace"
    stamp.parent.mkdir(parents=True)
    stamp.write_text('{"qpdata_sha256": "00"}')
    assert the(examine_project(study), "stamped").count == 1
    for arguments in (["edit", study, "--class", "Tumor", "--lock"], ["doctor", study, "--fix"]):
        run(*arguments)
        assert "1 qTrace stamp(s)" in capsys.readouterr().err
    run("edit", study, "--class", "Tumor", "--unlock", "--dry-run")
    assert "qTrace" not in capsys.readouterr().err


def edit_json(folder: Path, change: Callable[[Any], object], *, project: bool = False) -> None:
    path = folder / "project.qpproj"
    record = json.loads(path.read_text())
    change(record if project else record["images"][0])
    path.write_text(json.dumps(record))


# The project file


def test_a_damaged_project_is_put_back_and_nothing_is_lost(blank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = blank / "project.qpproj"
    good = file.read_bytes()
    shutil.copy(file, blank / "project.qpproj.backup")
    for broken in (b"", good[:100], b"[]", None):
        file.unlink()
        if broken is not None:
            file.write_bytes(broken)
        assert run("doctor", blank) == 1
        finding = the(examine_project(blank), "project-unreadable")
        assert "project.qpproj.backup reads, with 1 entries" in finding.what
        assert run("doctor", blank, "--fix") == 0
        assert file.read_bytes() == good
    assert {path.read_bytes() for path in blank.glob("*.broken-*")} == {b"", good[:100], b"[]"}
    (blank / "project.qpproj.backup").write_bytes(b"{")
    file.write_bytes(b"{")
    before = snapshot(blank)
    assert run("doctor", blank, "--fix") == 1 and snapshot(blank) == before
    capsys.readouterr()
    assert run("doctor", blank, "--json") == 1
    assert "its backup fails" in json.loads(capsys.readouterr().out)["findings"][0]["remedy"]


def test_entries_that_share_an_id_are_named_in_a_line(blank: Path) -> None:
    edit_json(blank, lambda record: record["images"].append(record["images"][0]), project=True)
    shutil.copy(blank / "project.qpproj", blank / "project.qpproj.backup")
    finding = the(examine_project(blank), "entry-id")
    assert finding.what.startswith("2 images share entryID 1") and finding.repair is None


def test_records_that_some_qupath_fails_on_are_mended(blank: Path, tmp_path: Path) -> None:
    good = json.loads((blank / "project.qpproj").read_text())

    def spoil(record: Any) -> None:
        del record["modifyTimestamp"]
        image = record["images"][0]
        del image["metadata"], image["serverBuilder"]["args"]
        image["serverBuilder"]["uri"] = f"file://{tmp_path}/slides/../slides/a.png".replace("/..", "/..")
        image["unknown"] = {"kept": 1}

    edit_json(blank, spoil, project=True)
    assert len(of_kind(examine_project(blank), "project-record")) == 3
    assert fix_project(blank).left.findings == ()
    record = json.loads((blank / "project.qpproj").read_text())
    assert record["modifyTimestamp"] == 0 and record["images"][0]["metadata"] == {}
    assert record["images"][0]["unknown"] == {"kept": 1}
    assert record["images"][0]["serverBuilder"]["args"] == []
    (tmp_path / "slides").rename(tmp_path / "my slides")
    for uri in (f"file://{tmp_path}/my slides/a.png", f"{tmp_path}/my slides/a.png"):
        edit_json(blank, lambda image, uri=uri: image["serverBuilder"].update(uri=uri))
        assert "does not load the project" in the(examine_project(blank), "project-record").what
        assert fix_project(blank).left.findings == ()
        assert slide_inputs([blank])[0].source.path == tmp_path / "my slides/a.png"
    assert good["images"][0]["entryID"] == 1


# Data files


def test_broken_data_get_their_backup_back_and_stay_aside(project_copy: Callable[[str], Path]) -> None:
    folder = project_copy("v0.5.1")
    file = folder / "data/3/data.qpdata"
    good = file.read_bytes()
    settings = DoctorSettings(entries=("hierarchy",), only=("data-unreadable", "summary", "no-data"))
    file.write_bytes(good[:5000])
    finding = the(examine_project(folder, settings), "data-unreadable")
    assert finding.repair is None and "there is no backup" in finding.what and "do not open" in finding.remedy
    file.with_name("data.qpdata.bkp").write_bytes(good[:50])
    assert "data.qpdata.bkp fails" in the(examine_project(folder, settings), "data-unreadable").what
    file.with_name("data.qpdata.qpkit-backup").write_bytes(good)
    finding = the(examine_project(folder, settings), "data-unreadable")
    assert "data.qpdata.qpkit-backup reads, with 89 objects" in finding.what
    before = snapshot(folder)
    fixed = fix_project(folder, settings)
    assert file.read_bytes() == good and fixed.left.findings == ()
    assert file.with_name("data.qpdata.broken-1").read_bytes() == good[:5000]
    after = snapshot(folder)
    del after["data/3/data.qpdata"], after["data/3/data.qpdata.broken-1"], before["data/3/data.qpdata"]
    assert after == before
    file.unlink()  # killed between two renames
    assert "no data.qpdata" in the(examine_project(folder, settings), "data-unreadable").what
    assert fix_project(folder, settings).left.findings == () and file.read_bytes() == good
    file.with_name("data.qpdata.bkp").write_bytes(good)
    (note,) = examine_project(folder, DoctorSettings(entries=("3",), only=("backup-left",))).findings
    assert "last save may have failed" in note.what


def test_restored_data_are_mended_in_the_same_run(project_copy: Callable[[str], Path]) -> None:
    folder = project_copy("v0.7.0")
    file = folder / "data/1/data.qpdata"
    file.with_name("data.qpdata.bkp").write_bytes(file.read_bytes())
    file.write_bytes(b"")
    fixed = fix_project(folder, DoctorSettings(entries=("1",)))
    kinds = [finding.kind for finding in fixed.done]
    assert "data-unreadable" in kinds and kinds.index("invalid-shape") > kinds.index("data-unreadable")
    assert fix_project(folder, DoctorSettings(entries=("1",))).done == ()


def test_data_that_were_emptied_or_hold_the_unknown_are_left_to_people(blank: Path) -> None:
    entry = draw(blank, square(10, 10), Annotation(geometry=BOW, path_class=TUMOR))
    full = entry.files.data.read_bytes()
    entry.files.backup.write_bytes(full)
    entry.edit(lambda data: data.remove([0, 1]))
    assert "2 objects" in the(examine_project(blank), "data-emptied").what
    entry.files.data.write_bytes(full + b"\x70")
    report = examine_project(blank)
    assert the(report, "data-unknown").severity == "note"
    assert the(report, "invalid-shape").repair is None
    before = snapshot(blank)
    assert not [f for f in fix_project(blank).done if f.kind != "summary"]
    after = snapshot(blank)
    assert after["data/1/data.qpdata"] == before["data/1/data.qpdata"]


def test_what_lies_about_is_listed_and_only_the_dead_goes(blank: Path) -> None:
    draw(blank, square(10, 10))
    dead, living = blank / "data/1/.data.qpdata.99999.tmp", blank / f".project.qpproj.{os.getpid()}.tmp"
    theirs, foreign = blank / "project.qpproj.tmp", blank / "notes.tmp"
    for path in (dead, living, theirs, foreign):
        path.write_bytes(b"x")
        os.utime(path, (1e9, 1e9))
    os.utime(living)
    shutil.copytree(blank / "data/1", blank / "data/7", ignore=shutil.ignore_patterns("*.tmp"))
    (blank / "data/8").mkdir()
    (blank / "data/1/summary.json").write_text('{"hierarchy": {"nObjects": 8}, "mine": 1}')
    report = examine_project(blank)
    assert {Path(f.where).name: f.repair is not None for f in of_kind(report, "leftover")} == {
        dead.name: True,
        living.name: False,
        theirs.name: False,
    }
    assert "1 objects" in the(report, "orphan").what
    assert "counts 7 objects, the data file has 1" in the(report, "summary").what
    assert report.is_healthy
    fix_project(blank)
    assert not dead.exists() and living.exists() and theirs.exists() and foreign.exists()
    summary = json.loads((blank / "data/1/summary.json").read_text())
    assert summary["hierarchy"]["nObjects"] == 2 and summary["mine"] == 1


# Objects


def test_every_fault_of_shapes_is_found_and_mended_if_it_can_be(blank: Path) -> None:
    hole = shapely.Polygon(shapely.box(250, 150, 300, 200).exterior, [shapely.box(295, 170, 310, 180).exterior])
    drawn = [
        square(10, 10),
        Annotation(geometry=BOW, path_class=TUMOR, name="bow", locked=True, metadata={"a": "b"}),
        Annotation(geometry=hole, path_class=STROMA, measurements={"m": 1.5}),
        Annotation(geometry=shapely.LineString([(5, 5), (5, 5)]), path_class=TUMOR),
        Annotation(geometry=shapely.Polygon([(0, 0), (5, 5), (9, 9)]), path_class=TUMOR),
        Annotation(geometry=shapely.box(20, 100, 80, 100.3), path_class=TUMOR),
        Annotation(geometry=shapely.MultiPolygon([shapely.box(5, 200, 40, 240), shapely.box(60, 200, 60.5, 200.5)])),
        Annotation(geometry=shapely.box(1, 1, 1.5, 1.5), kind="detection"),
        square(-10, 250),
        square(500, 500),
        square(200, 10, plane=Plane(z=3)),
        Annotation(geometry=ellipse(20, 20, 30, 30), kind="cell", nucleus=BOW),
    ]
    before = draw(blank, *drawn).objects()
    report = examine_project(blank)
    counts = {f.kind: f.count for f in report.findings}
    assert counts == {
        "invalid-shape": 3, "flat-shape": 2, "sliver": 1, "fragments": 1, "outside": 1, "over-edge": 1, "off-plane": 1,
        "unclassified": 1,
    }  # fmt: skip
    assert "2 polygons and 1 nucleus" in the(report, "invalid-shape").what
    assert the(report, "invalid-shape").spots[0].text == "5,000 -> 5,000 px2"
    assert (the(report, "outside").spots[0].x, the(report, "over-edge").what) == (
        525.0,
        "1 annotation over the edge of the image, by 10.0 px at most",
    )
    fix_project(blank)
    after = open_project(blank).entries[0].objects()
    assert [shapely.is_valid(after[n].geometry) for n in (1, 2)] == [True, True]
    assert after[1].geometry.area == 5000 and after[11].nucleus is not None and after[11].nucleus.is_valid
    for n, (old, new) in enumerate(zip(before, after, strict=True)):
        kept = dataclasses.replace(new, geometry=old.geometry, shape=old.shape, nucleus=old.nucleus)
        assert repr(kept) == repr(old) and (n in (1, 2) or new.geometry.equals_exact(old.geometry, 0))


def test_copies_go_only_if_they_say_nothing_new(blank: Path) -> None:
    turned = shapely.Polygon(list(shapely.box(10, 10, 60, 60).exterior.coords)[1:])
    child = dataclasses.replace(square(20, 20, 5), parent=2, path_class=STROMA)
    drawn = [
        square(10, 10, name="first", measurements={"a": 1.0, "n": float("nan")}),
        Annotation(geometry=turned, path_class=TUMOR, measurements={"n": float("nan")}),
        square(10, 10),
        child,
        square(10, 10, name="other"),
        square(10, 10, plane=Plane(z=0, c=1)),
        square(10, 10, kind="detection"),
    ]
    entry = open_project(blank).entries[0]
    entry.edit(lambda data: data.add(drawn, nested=True))
    found = of_kind(examine_project(blank), "duplicate")
    assert [(finding.count, finding.repair is not None) for finding in found] == [(2, True), (1, False)]
    assert [f.kind for f in fix_project(blank, DoctorSettings(only=("duplicate",))).left.findings] == ["duplicate"]
    left = open_project(blank).entries[0].objects()
    assert [item.name for item in left] == ["first", None, "other", None, None]
    assert left[1].path_class == STROMA and left[1].parent is None


def test_repeated_ids_become_new_ones(blank: Path) -> None:
    entry = draw(blank, *(square(10 + 60 * n, 10) for n in range(4)))
    first, second, third, fourth = (str(item.id) for item in entry.objects())
    content = entry.files.data.read_bytes()
    content = content.replace(second.encode(), first.encode()).replace(third.encode(), first.encode())
    entry.files.data.write_bytes(content)
    finding = the(examine_project(blank), "object-id")
    assert (finding.count, finding.severity, run("doctor", blank)) == (2, "error", 1)
    assert run("doctor", blank, "--fix") == 0
    ids = [item.id for item in open_project(blank).entries[0].objects()]
    assert len(set(ids)) == 4 and ids[0] == first and ids[3] == fourth


def test_overlaps_of_classes_are_told_from_nesting(blank: Path) -> None:
    region = PathClass(("Region*",))
    draw(
        blank,
        square(0, 0, 100, path_class=STROMA),
        square(10, 10, 20),
        square(90, 50, 40),
        square(200, 0, 50, path_class=STROMA),
        square(200, 0, 50),
        square(250, 0, 20),  # only touches
        square(0, 0, 300, path_class=region),
        square(20, 60, 20, path_class=None),
        square(30, 70, 20, plane=Plane(z=0, t=1)),
    )
    settings = DoctorSettings(only=("overlap", "nested"))
    nested, overlap = sorted(examine_project(blank, settings).findings, key=lambda finding: finding.kind)
    assert nested.what == "1 annotation of 'Tumor' inside 'Stroma', 400 px2"
    assert overlap.what == "'Stroma' and 'Tumor' overlap 2 times, 2,900 px2, at most 100% of the smaller one"
    assert [spot.text for spot in overlap.spots] == ["400 px2, 25%", "2,500 px2, 100%"]


# Classes


def test_spellings_are_named_and_renamed_on_request(blank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = [square(10, 10), square(70, 10), square(130, 10, path_class=PathClass(("tumor",), -1))]
    drawn += [square(190, 10, path_class=PathClass(("tumor", "Positive"), -2))]
    drawn += [square(250, 10, path_class=PathClass(("Fat ",), -3)), square(310, 10, path_class=PathClass(("New",), -4))]
    draw(blank, *drawn)
    report = examine_project(blank)
    spelling = [f.what for f in of_kind(report, "class-spelling")]
    assert any("'Tumor' (2 objects in a.png, listed), 'tumor' (1 object" in text for text in spelling)
    assert any("'Fat'" in text and "'Fat '" in text for text in spelling)
    arguments = ("--rename-class", "tumor=Tumor", "--rename-class", "Fat =Fat")
    before = snapshot(blank)
    assert run("doctor", blank, *arguments) == 1 and snapshot(blank) == before
    assert run("doctor", blank, *arguments, "--fix") == 0
    objects = open_project(blank).entries[0].objects()
    assert Counter(item.class_name for item in objects) == {"Tumor": 3, "Tumor: Positive": 1, "Fat": 1, "New": 1}
    assert {item.path_class.color for item in objects if item.path_class and item.path_class.names == ("Tumor",)} == {
        TUMOR.color
    }
    assert [str(item) for item in open_project(blank).classes] == [
        "Tumor", "Stroma", "Tumor: Positive", "Fat", "New"
    ]  # fmt: skip
    once = snapshot(blank)
    assert run("doctor", blank, *arguments, "--fix") == 0 and snapshot(blank) == once
    capsys.readouterr()
    run("doctor", blank, "--rename-class", "tumro=Tumor", "--json")
    (note,) = json.loads(capsys.readouterr().out)["findings"]
    assert note["kind"] == "unused-option" and "'tumro'" in note["what"]


def test_a_class_is_renamed_in_some_images_and_stays_in_the_list(project_copy: Callable[[str], Path]) -> None:
    folder = project_copy("v0.6.0")
    listed = [str(item) for item in open_project(folder).classes]
    settings = DoctorSettings(rename=("Tumor=Lesion",), entries=("rois",), only=("class-rename",))
    assert [f.entry for f in fix_project(folder, settings).done] == [1]
    project = open_project(folder)
    assert [str(item) for item in project.classes] == [*listed, "Lesion"]
    assert any(item.class_name == "Tumor" for item in project.entry("classes").objects())
    assert not any(item.class_name == "Tumor" for item in project.entry("rois").objects())


def test_a_project_that_does_not_open_is_told_whatever_was_asked(project_copy: Callable[[str], Path]) -> None:
    folder = project_copy("v0.6.0")
    only = DoctorSettings(only=("data-unreadable",))
    (folder / "project.qpproj").write_bytes(b"{")
    before = snapshot(folder)
    assert the(examine_project(folder, only), "project-unreadable").repair is None
    assert fix_project(folder, only).done == () and snapshot(folder) == before
    assert fix_project(folder, DoctorSettings(only=("project-unreadable",))).left.findings == ()
    (folder / "classifiers/classes.json").write_bytes(b"{")
    finding = the(examine_project(folder, only), "project-unreadable")
    assert finding.where.endswith("classes.json") and "move it away" in finding.remedy and "backup" not in finding.what


def test_classes_that_are_not_listed_are_added(blank: Path) -> None:
    draw(
        blank, square(10, 10, path_class=PathClass(("Fat",), -3)), square(70, 10, path_class=PathClass(("Tumor", "B")))
    )
    (blank / "classifiers/classes.json").write_text('{"pathClasses": [{"name": "Tumor", "color": 1, "mine": 2}]}')
    finding = the(examine_project(blank), "class-unlisted")
    assert finding.what.endswith("Fat (1)") and finding.severity == "note"
    fix_project(blank)
    listed = json.loads((blank / "classifiers/classes.json").read_text())["pathClasses"]
    assert listed == [{"name": "Tumor", "color": 1, "mine": 2}, {"name": "Fat", "color": -3}]


# The command line


def test_json_is_one_document_and_entries_and_kinds_are_chosen(
    project_copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project_copy("v0.6.0")
    assert run("doctor", folder, "--json", "--entry", "rois", "--entry", "11", "--only", "invalid-shape") == 0
    record = json.loads(capsys.readouterr().out)
    assert [finding["entry"]["id"] for finding in record["findings"]] == [1, 11]
    assert set(record["findings"][0]) == {
        "kind", "severity", "entry", "what", "where", "remedy", "fix", "count", "objects",
    }  # fmt: skip
    assert (record["entries"], record["is_healthy"], "fixed" in record) == (2, True, False)
    assert run("doctor", folder, "--json", "--entry", "rois", "--only", "invalid-shape", "--fix") == 0
    record = json.loads(capsys.readouterr().out)
    assert [finding["kind"] for finding in record["fixed"]["done"]] == ["invalid-shape"]
    assert [Path(path).name for path in record["fixed"]["kept"]] == ["data.qpdata.qpkit-backup"]
    assert record["findings"] == []
    assert run("doctor", folder / "project.qpproj") == 1  # no um/px
    assert "no-mpp" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["P", "--relocate", "nonsense"],
        ["P", "--search", "nowhere"],
        ["P", "--rename-class", "a="],
        ["P", "--rename-class", "a=a: b"],
        ["P", "--rename-class", "a=b", "--rename-class", "b=a"],
        ["P", "--entry", "nobody"],
        ["P", "--only", "banana"],
        ["P", "--overwrite"],
        ["P/data"],
        ["P/none.qpproj"],
        ["P/a.geojson", "--only", "overlap"],
    ],
)
def test_bad_arguments_are_one_line(blank: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", *[item.replace("P", str(blank), 1) if item[0] == "P" else item for item in arguments]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_project_that_changes_meanwhile_is_not_written(blank: Path) -> None:
    entry = draw(blank, Annotation(geometry=BOW, path_class=TUMOR))
    later = QpData.parse(entry.files.data.read_bytes(), source="later")
    later.add([square(10, 10)])

    def save_in_qupath(plan: object) -> None:
        entry.files.data.write_bytes(later.to_bytes())

    with pytest.raises(ProjectError, match="close QuPath"):
        fix_project(blank, on_plan=save_in_qupath)
    assert entry.files.data.read_bytes() == later.to_bytes()


def test_twenty_thousand_cells_take_seconds(blank: Path) -> None:
    cells = [
        Annotation(geometry=shapely.Point(n % 390 + 5, n % 290 + 5).buffer(2 + n / 1e5), kind="cell", path_class=TUMOR)
        for n in range(20_000)
    ]
    draw(blank, *cells, Annotation(geometry=BOW, kind="detection"), cells[0])
    report = examine_project(blank)
    assert report.objects == 20_002
    assert {f.kind: f.count for f in report.findings} == {"invalid-shape": 1, "duplicate": 1}


def test_the_page_explains_every_kind_with_its_level() -> None:
    page = (DOCS / "doctor.md").read_text(encoding="utf-8").partition("\n## Project\n")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in page.splitlines() if line.startswith("| ")]
    told = {name: level for names, level in rows[1:] for name in names.split(", ")}
    assert told == dict(KINDS)
