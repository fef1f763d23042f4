"""The doctor's parts one by one: what they find is there, and what they mend is found no more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from small_project import CLASSES, HEIGHT, STROMA, TUMOR, WIDTH, set_image_uris, small_project, write_slide

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.errors import ConfigError, QpkitError
from qpkit.qupath import Entry, Project, open_project
from qpkit.qupath.project.backups import QUPATH_BACKUP
from qpkit.qupath.project.class_list import add_classes
from qpkit.qupath.project.entry_files import BACKUP
from qpkit.qupath.project.images.relocation import parse_relocation
from qpkit.workflows.doctor.classes import (
    ClassUse,
    check_renames,
    class_findings,
    parse_rename,
    rename_findings,
    rename_listed,
    same_name,
)
from qpkit.workflows.doctor.data import broken_project, data_findings, folder_findings, record_findings
from qpkit.workflows.doctor.findings import KINDS, AddClasses, Delete, EditObjects, Finding, PutBack, SetUri
from qpkit.workflows.doctor.images import ImagePlaces, image_findings, image_places, present_path, stored_path
from qpkit.workflows.doctor.objects import counted, object_findings, spots


def kinds(findings: Sequence[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


def box(x: float, y: float = 10, width: float = 20, height: float = 20, **more: object) -> Annotation:
    return Annotation(geometry=shapely.box(x, y, x + width, y + height), path_class=CLASSES[0], **more)  # type: ignore[arg-type]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return small_project(tmp_path)


# Objects


def mended(objects: Sequence[Annotation], findings: Sequence[Finding]) -> list[Annotation]:
    """The objects after the repairs, as --fix makes them."""
    made = dict(enumerate(objects))
    gone: set[int] = set()
    for finding in findings:
        assert finding.repair is None or isinstance(finding.repair, EditObjects)
        if finding.repair is not None:
            for number, change in finding.repair.change.items():
                made[number] = change(made[number])
            gone |= finding.repair.remove
    return [item for number, item in made.items() if number not in gone]


shapes = st.sampled_from(
    [
        shapely.box(10, 10, 40, 40),
        shapely.box(20, 20, 30, 30),
        shapely.Polygon([(50, 50), (90, 90), (90, 50), (50, 90)]),
        shapely.Polygon(),
        shapely.Polygon([(5, 5), (8, 5), (5, 5)]),
        shapely.box(10, 10, 10.4, 90),
        shapely.box(-500, -500, -400, -400),
        shapely.box(300, 200, 400, 300),
        shapely.Point(3, 3),
    ]
)
objects = st.builds(
    lambda geometry, name, identity, kind, z: Annotation(
        geometry=geometry, path_class=None if name is None else PathClass((name,)), id=identity, kind=kind,
        plane=Plane(z=z),
    ),
    shapes,
    st.sampled_from(["Tumor", "Stroma", None]),
    st.sampled_from(["11111111-2222-3333-4444-555555555555", None]) | st.uuids().map(str),
    st.sampled_from(["annotation", "detection"]),
    st.sampled_from([0, 0, 3]),
)  # fmt: skip


@given(st.lists(objects, max_size=7))
@settings(max_examples=40)
def test_what_was_mended_needs_no_mending(tmp_path_factory: pytest.TempPathFactory, drawn: list[Annotation]) -> None:
    entry = entry_for_objects(tmp_path_factory)
    found = object_findings(entry, drawn)
    assert all(finding.kind in KINDS and finding.count >= 1 for finding in found)
    made = mended(drawn, found)
    again = object_findings(entry, made)
    if any(finding.kind == "duplicate" for finding in again):  # mended shapes may be copies of others now
        made = mended(made, again)
        again = object_findings(entry, made)
    assert [finding for finding in again if finding.repair is not None] == []
    ids = [item.id for item in made if item.id is not None]
    assert len(ids) == len(set(ids))
    unclassified = sum(f.count for f in found if f.kind == "unclassified")
    assert unclassified == sum(
        a.path_class is None and a.kind == "annotation" and shapely.get_dimensions(a.geometry) == 2 for a in drawn
    )
    assert sum(f.count for f in found if f.kind == "no-shape") == sum(a.geometry.is_empty for a in drawn)
    assert sum(f.count for f in found if f.kind == "off-plane") == sum(a.plane.z == 3 for a in drawn)


_ENTRIES: list[Entry] = []


def entry_for_objects(factory: pytest.TempPathFactory) -> Entry:
    """One entry for many examples; its files are not looked at."""
    if not _ENTRIES:
        _ENTRIES.append(small_project(factory.mktemp("doctor"), [(TUMOR,)]).entries[0])
    return _ENTRIES[0]


@pytest.mark.parametrize(
    ("drawn", "kind", "count"),
    [
        ([box(10), box(10)], "duplicate", 1),
        ([box(10), box(10, name="other")], "duplicate", 1),
        ([box(10, id="a"), box(50, id="a")], "object-id", 1),
        ([box(-900), box(WIDTH + 9)], "outside", 2),
        ([box(WIDTH - 5)], "over-edge", 1),
        ([box(10, plane=Plane(t=1))], "off-plane", 1),
        ([box(10, width=0.2)], "sliver", 1),
        ([box(10), replace(box(20), path_class=CLASSES[1])], "overlap", 1),
        ([box(10, width=60, height=60), replace(box(20, 20), path_class=CLASSES[1])], "nested", 1),
    ],
)
def test_each_fault_of_objects_has_its_kind(project: Project, drawn: list[Annotation], kind: str, count: int) -> None:
    (finding,) = object_findings(project.entries[0], drawn)
    assert (finding.kind, finding.count) == (kind, count)


def test_spots_are_the_first_few_and_numbers_have_their_plural() -> None:
    drawn = [box(10 * k, id=str(k)) for k in range(9)]
    found = spots(drawn, range(8), {1: "text"})
    assert [(spot.id, spot.x, spot.y, spot.text) for spot in found[:2]] == [
        ("0", 10.0, 20.0, ""),
        ("1", 20.0, 20.0, "text"),
    ]
    assert len(found) == 5
    assert spots([Annotation(geometry=shapely.Polygon())], [0])[0].x is None
    assert [counted(n, "entry", "entries") for n in (0, 1, 1200)] == ["0 entries", "1 entry", "1,200 entries"]
    assert counted(2, "time") == "2 times"


# Classes

name = st.text("aA bé", min_size=1, max_size=4).filter(str.strip)


@given(name, name)
def test_names_are_alike_whatever_their_case_and_blanks(one: str, other: str) -> None:
    assert same_name(same_name(one)) == same_name(one) == same_name(f" {one.upper()} ")
    plain = ["".join(part.casefold().split()) for part in (one, other)]
    assert (same_name(one) == same_name(other)) == (plain[0] == plain[1])


def test_names_that_differ_by_a_hair_are_one_finding_and_new_ones_are_listed(tmp_path: Path) -> None:
    odd = [replace(TUMOR, path_class=PathClass((text,))) for text in ("tumor", "Tumor ", "Nerve")]
    project = small_project(tmp_path, [(TUMOR, *odd), (odd[2],)])
    add_classes(project.folder, [PathClass(("Tumor",))])
    use = ClassUse()
    for entry in project.entries:
        use.add(entry, entry.objects())
    assert use.counts == {"Tumor": 1, "tumor": 1, "Tumor ": 1, "Nerve": 2} and use.entries["Nerve"] == [
        "a.tif",
        "b.tif",
    ]
    listed = replace(project, classes=(PathClass(("Tumor",)), PathClass(("Stroma",))))
    spelling, unlisted = class_findings(listed, use)
    assert (spelling.kind, spelling.count, spelling.repair) == ("class-spelling", 3, None)
    assert '--rename-class "tumor=Tumor"' in spelling.remedy and '"Tumor=' not in spelling.remedy
    assert (unlisted.kind, unlisted.repair) == ("class-unlisted", AddClasses((PathClass(("Nerve",)),)))
    assert class_findings(replace(listed, classes=(*listed.classes, PathClass(("Nerve",)))), use) == [spelling]


def test_a_rename_gives_every_object_the_new_class_and_then_fits_nothing(project: Project) -> None:
    rename = parse_rename("Tumor=Cancer: Invasive", [PathClass(("Cancer", "Invasive"), -7)])
    drawn = [
        TUMOR,
        STROMA,
        replace(TUMOR, path_class=PathClass(("Tumor", "Positive"), -9)),
        replace(TUMOR, path_class=None),
    ]
    (finding,) = rename_findings(drawn, [rename])
    assert finding.count == 2
    made = mended(drawn, [finding])
    assert [item.path_class for item in made] == [
        PathClass(("Cancer", "Invasive"), -7),
        STROMA.path_class,
        PathClass(("Cancer", "Invasive", "Positive"), -9),
        None,
    ]
    assert rename_findings(made, [rename]) == []
    (listed,) = rename_listed(project, [rename], ClassUse(), entries=project.entries)
    assert (listed.kind, listed.count) == ("class-rename", 1)
    assert rename_listed(project, [rename], ClassUse(), entries=project.entries[:1]) == []
    unknown = rename_listed(project, [parse_rename("Moon=Sun")], ClassUse(), entries=project.entries)
    assert kinds(unknown) == ["unused-option"] and "nothing is called 'Moon'" in unknown[0].what


@pytest.mark.parametrize("text", ["Tumor", "=Tumor", "Tumor=", " =x", "Tumor= : "])
def test_a_rename_without_two_names_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="has to be OLD=NEW, two class names"):
        check_renames([text])


def test_renames_in_a_chain_are_refused_and_side_by_side_they_are_not() -> None:
    check_renames(["a=b", "c=d", "e=b", "f=F"])
    for texts in (["a=b", "b=c"], ["a=a: b"], ["b=c", "x=b"]):
        with pytest.raises(ConfigError, match="would be renamed again"):
            check_renames(texts)


# Data


def test_a_data_file_that_does_not_read_is_replaced_by_the_best_backup(project: Project) -> None:
    entry = project.entries[0]
    good = entry.files.data.read_bytes()
    found, data = data_findings(entry)
    assert found == [] and data is not None and len(data.objects()) == 2
    entry.files.data.write_bytes(good[:-50])
    (finding,), data = data_findings(entry)
    assert (finding.kind, finding.repair, data) == ("data-unreadable", None, None)
    assert "there is no backup" in finding.what and "at byte" in finding.what
    (entry.files.folder / BACKUP).write_bytes(good)
    (finding,), _ = data_findings(open_project(project.path).entries[0])
    assert finding.repair == PutBack(entry.files.data, entry.files.folder / BACKUP)
    entry.files.data.unlink()
    (finding,), _ = data_findings(open_project(project.path).entries[0])
    assert finding.repair is not None and "no data.qpdata" in finding.what
    (entry.files.folder / BACKUP).unlink()
    (finding,), _ = data_findings(open_project(project.path).entries[0])
    assert finding.kind == "no-data"


def test_counts_beside_a_data_file_and_a_backup_of_a_failed_save_are_told(project: Project) -> None:
    entry = project.entries[0]
    good = entry.files.data.read_bytes()
    summary = json.loads(entry.files.summary.read_text())
    summary["hierarchy"]["nObjects"] = 9
    entry.files.summary.write_text(json.dumps(summary))
    (entry.files.folder / QUPATH_BACKUP).write_bytes(good)
    found, _ = data_findings(entry)
    assert sorted(kinds(found)) == ["backup-left", "summary"]
    assert "counts 8 objects, the data file has 2" in next(f.what for f in found if f.kind == "summary")
    entry.files.summary.write_text("{}")
    entry.edit(lambda data: data.remove([0, 1]))
    (finding,) = [f for f in data_findings(open_project(project.path).entries[0])[0] if f.kind != "summary"]
    assert finding.kind == "data-emptied" and f"{QUPATH_BACKUP} reads, with 2 objects" in finding.what


def test_what_lies_around_in_a_project_is_told(project: Project) -> None:
    assert folder_findings(project, now=0.0) == record_findings(project) == []
    ours = project.folder / ".project.qpproj.1.tmp"
    theirs = project.folder / "project.qpproj.tmp"
    orphan = project.folder / "data" / "77"
    orphan.mkdir()
    (orphan / "data.qpdata").write_bytes(project.entries[0].files.data.read_bytes())
    for path in (ours, theirs):
        path.write_bytes(b"x")
    age = ours.stat().st_mtime + 4000
    found = folder_findings(project, now=age)
    assert sorted(kinds(found)) == ["leftover", "leftover", "orphan"]
    assert [f.repair for f in found if f.repair] == [Delete(ours)]
    assert "2 objects" in next(f.what for f in found if f.kind == "orphan")
    assert [f.repair for f in folder_findings(project, now=age - 3990)] == [None, None, None]


def test_a_project_that_does_not_open_gets_its_backup_only_if_nothing_of_it_is_left(project: Project) -> None:
    def fault() -> Finding:
        with pytest.raises(QpkitError) as caught:
            open_project(project.path)
        (finding,) = broken_project(project.path, caught.value)
        return finding

    whole = json.loads(project.path.read_text())
    backup = project.path.with_name("project.qpproj.backup")
    project.path.write_text("{")
    assert fault().repair == PutBack(project.path, backup)
    backup.unlink()
    assert (fault().repair, fault().remedy) == (None, "there is no backup of it")
    whole["images"][1]["entryID"] = whole["images"][0]["entryID"]
    project.path.write_text(json.dumps(whole))
    assert (fault().kind, fault().count) == ("entry-id", 2)
    (project.folder / "classifiers/classes.json").write_text("[")
    whole["images"][1]["entryID"] = 2
    project.path.write_text(json.dumps(whole))
    assert "mend the class list" in fault().remedy


# Images


def examined(project: Project, places: ImagePlaces | None = None) -> list[Finding]:
    entry = open_project(project.path).entries[0]
    return image_findings(entry, places or ImagePlaces())


def test_an_image_that_is_where_the_project_says_is_fine(project: Project) -> None:
    entry = project.entries[0]
    assert examined(project) == []
    assert stored_path(entry) == present_path(entry) == project.folder.parent / "slides" / "a.tif"


def test_a_missing_image_is_found_by_its_name_and_size(project: Project, tmp_path: Path) -> None:
    slide = project.folder.parent / "slides" / "a.tif"
    new = tmp_path / "elsewhere" / "a.tif"
    new.parent.mkdir()
    slide.rename(new)
    assert kinds(examined(project)) == ["image-missing"]
    entries = open_project(project.path).entries
    (finding,) = examined(project, image_places(entries, [], [tmp_path / "elsewhere"]))
    assert (finding.kind, finding.repair) == ("image-missing", SetUri(new.as_uri()))
    write_slide(tmp_path / "elsewhere" / "more" / "a.tif", seed=9)
    (finding,) = examined(project, image_places(entries, [], [tmp_path / "elsewhere"]))
    assert finding.repair is None and "2 files have its name and size" in finding.what
    rule = parse_relocation(f"{slide.parent}={new.parent}")
    (finding,) = examined(project, ImagePlaces([rule]))
    assert isinstance(finding.repair, SetUri) and finding.kind == "image-missing"
    set_image_uris(open_project(project.path), {1: finding.repair.uri})
    assert examined(project) == []


def test_another_image_of_that_name_is_not_taken(project: Project, tmp_path: Path) -> None:
    slide = project.folder.parent / "slides" / "a.tif"
    slide.unlink()
    write_slide(tmp_path / "elsewhere" / "a.tif", width=WIDTH - 64, height=HEIGHT)
    entries = open_project(project.path).entries
    (finding,) = examined(project, image_places(entries, [], [tmp_path / "elsewhere"]))
    assert finding.repair is None and f"is {WIDTH - 64} x {HEIGHT} px, but {WIDTH} x {HEIGHT} in QuPath" in finding.what
    write_slide(slide, width=WIDTH - 64)
    assert kinds(examined(project)) == ["image-size"]
    slide.write_bytes(b"no slide")
    assert kinds(examined(project)) == ["image-unreadable"]


@pytest.mark.parametrize(("mpp", "expected"), [(0.5, []), (0.502, []), (0.25, ["mpp-differs"])])
def test_pixel_sizes_of_project_and_file_are_compared(project: Project, mpp: float, expected: list[str]) -> None:
    write_slide(project.folder.parent / "slides" / "a.tif", mpp=mpp)
    assert kinds(examined(project)) == expected


def test_an_image_that_moved_along_with_the_project_is_told_with_its_new_place(tmp_path: Path) -> None:
    small_project(tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "project").rename(moved / "project")
    (tmp_path / "slides").rename(moved / "slides")
    project = open_project(moved / "project")
    (finding,) = examined(project)
    assert finding.kind == "image-moved" and isinstance(finding.repair, SetUri)
    set_image_uris(project, {1: finding.repair.uri})
    assert examined(project) == []
