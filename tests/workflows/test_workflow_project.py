"""qpkit project: made, filled and described on the command line, and what QuPath would find there."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from small_project import set_image_uris, small_project, write_slide

import qpkit
from command_line import run
from qpkit.errors import ConfigError, FormatError, OutputError, ProjectError
from qpkit.qupath import create_project, open_project
from qpkit.slides import open_slide
from qpkit.workflows.project import ImageSettings, add_images, read_metadata_table, write_metadata

SLIDES = (
    "openslide-testdata/CMU-1-Small-Region.svs",
    "2022-qupath-cell-detection/OS-1-detail.ome.tif",
    "histoprep/slide.jpeg",
)


def test_slides_of_all_kinds_become_entries_that_are_what_the_slides_are(shared: Path, tmp_path: Path) -> None:
    slides = [shared / "data/slides" / name for name in SLIDES]
    assert run("project", "create", tmp_path / "p", *slides, "--image-type", "he", "--metadata", "Patient=A") == 0
    project = open_project(tmp_path / "p")
    assert [entry.name for entry in project.entries] == [slide.name for slide in slides]
    for entry, path in zip(project.entries, slides, strict=True):
        with open_slide(entry.image_path()) as slide:
            assert entry.image_path() == path
            assert entry.image_size == (slide.info.width, slide.info.height)
            assert entry.mpp() == slide.info.mpp
            stored = [(x["downsample"], x["width"], x["height"]) for x in entry.server.metadata["levels"]]
            assert stored == slide.levels
        assert dict(entry.metadata) == {"Patient": "A"}
        assert entry.read().image_type == "BRIGHTFIELD_H_E"
        with Image.open(io.BytesIO(entry.files.thumbnail.read_bytes())) as picture:
            assert max(picture.size) == 1000 and picture.format == "JPEG"
        assert json.loads(entry.files.server.read_text())["builder"] == entry.server.record
    providers = [entry.server.provider or "" for entry in project.entries]
    assert [name.rsplit(".", 1)[1] for name in providers] == ["OpenslideServerBuilder"] + 2 * [
        "BioFormatsServerBuilder"
    ]


def test_a_slide_is_added_once_and_a_bad_one_keeps_no_other_out(shared: Path, tmp_path: Path) -> None:
    good, other = (shared / "data/slides" / name for name in SLIDES[:2])
    bad = shared / "data/slides/openslide-python/unopenable.tiff"
    project = create_project(tmp_path / "p")
    report = add_images(project, [good, good])
    assert [item.path for item in report.added] == [good] and report.known == ()
    before = (tmp_path / "p/project.qpproj").read_bytes()
    with pytest.raises(FormatError) as alone:
        open_slide(bad)
    with pytest.raises(FormatError) as refused:
        add_images(open_project(tmp_path / "p"), [bad])
    assert str(refused.value) == str(alone.value)
    assert (tmp_path / "p/project.qpproj").read_bytes() == before
    report = add_images(open_project(tmp_path / "p"), [bad, other])
    assert [item.path for item in report.added] == [other] and report.refused == {bad: str(alone.value)}
    assert len(open_project(tmp_path / "p").entries) == 2
    report = add_images(open_project(tmp_path / "p"), [good, other])
    assert (len(report.added), report.known) == (0, (good, other))
    assert [entry.has_data for entry in open_project(tmp_path / "p").entries] == [False, False]  # the type is not set
    with pytest.raises(ConfigError, match="--image-type 'banana'"):
        add_images(project, [], ImageSettings(image_type="banana"))
    with pytest.raises(OutputError, match="project already"):
        create_project(tmp_path / "p")


def test_folders_and_patterns_are_the_slides_in_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("slides/b.tif", "slides/a.TIF", "slides/more/c.ome.tif"):
        write_slide(tmp_path / name)
    (tmp_path / "slides/notes.txt").write_text("no slide")
    (tmp_path / "slides/broken.svs").write_bytes(b"no slide")
    assert run("project", "create", tmp_path / "p", tmp_path / "slides") == 2
    assert "NOT ADDED" in capsys.readouterr().err
    assert [entry.name for entry in open_project(tmp_path / "p").entries] == ["a.TIF", "b.tif", "c.ome.tif"]
    assert run("project", "create", tmp_path / "q", str(tmp_path / "slides/*.tif")) == 0
    assert [entry.name for entry in open_project(tmp_path / "q").entries] == ["b.tif"]
    assert run("project", "create", tmp_path / "r", str(tmp_path / "slides/*.ndpi")) == 1
    assert "there is no such file or folder" in capsys.readouterr().err


def test_what_a_file_says_of_its_objective_and_of_each_axis_stands_in_the_project(tmp_path: Path) -> None:
    xml = {
        "axes": "YXS",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeY": 0.502,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeYUnit": "µm",
    }
    pixels = np.full((128, 128, 3), 200, np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, tile=(64, 64), photometric="rgb", metadata=xml)
    text = tifffile.tiffcomment(tmp_path / "a.ome.tif")
    objective = (
        '<Instrument ID="Instrument:0"><Objective ID="Objective:1" NominalMagnification="40"/></Instrument><Image'
    )
    text = text.replace("<Image", objective, 1).replace("<Pixels", '<ObjectiveSettings ID="Objective:1"/><Pixels', 1)
    tifffile.tiffcomment(tmp_path / "a.ome.tif", text.encode())
    assert run("project", "create", tmp_path / "p", tmp_path / "a.ome.tif") == 0
    (entry,) = open_project(tmp_path / "p").entries
    calibration = entry.server.metadata["pixelCalibration"]
    assert entry.server.metadata["magnification"] == 40.0
    assert (calibration["pixelWidth"]["value"], calibration["pixelHeight"]["value"]) == (0.5, 0.502)


def test_aperios_magnification_is_quPaths(shared: Path, tmp_path: Path) -> None:
    report = add_images(create_project(tmp_path / "p"), [shared / "data/slides" / SLIDES[0]])
    assert len(report.added) == 1
    assert open_project(tmp_path / "p").entries[0].server.metadata["magnification"] == 20.0


@pytest.mark.parametrize("option", [["no.svs"], ["--image-type", "banana"], ["--mpp", "-1"], ["--mpp", "nan"]])
def test_a_project_that_cannot_have_its_slides_is_not_made(shared: Path, tmp_path: Path, option: list[str]) -> None:
    good = shared / "data/slides" / SLIDES[0]
    assert run("project", "create", tmp_path / "p", good, *option) == 1
    assert not (tmp_path / "p").exists()
    assert run("project", "create", tmp_path / "p", good) == 0


def test_uris_have_no_dots_and_a_link_is_its_file(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    shutil.copy(shared / "data/slides" / SLIDES[2], tmp_path / "slide.jpeg")
    (tmp_path / "link.jpeg").symlink_to(tmp_path / "slide.jpeg")
    monkeypatch.chdir(tmp_path / "a")
    images = [Path("../slide.jpeg"), Path("../a/../link.jpeg"), tmp_path / "slide.jpeg"]
    report = add_images(create_project(tmp_path / "p"), images)
    assert [item.path for item in report.added] == [tmp_path / "slide.jpeg"]
    (entry,) = open_project(tmp_path / "p").entries
    assert entry.server.innermost.uri == (tmp_path / "slide.jpeg").as_uri()


@pytest.mark.parametrize("version", ["v0.2.3", "v0.5.1", "v0.7.0"])
def test_metadata_are_set_and_nothing_else_changes(project_copy: Callable[[str], Path], version: str) -> None:
    folder = project_copy(version)
    before = json.loads((folder / "project.qpproj").read_text())
    first, second = open_project(folder).entries[:2]
    assert run("project", "set-metadata", folder, "Split=train", "Patient=", "--entry", first.name) == 0
    after = json.loads((folder / "project.qpproj").read_text())
    metadata = dict(first.metadata)
    metadata.pop("Patient", None)
    before["images"][0]["metadata"] = {**metadata, "Split": "train"}
    assert after == before
    assert json.loads((folder / "project.qpproj.backup").read_text())["images"][0]["metadata"] == dict(first.metadata)
    assert write_metadata(open_project(folder), {str(second.id): {"a": "b"}, first.name: {"Split": "train"}}) == 1
    assert write_metadata(open_project(folder), {str(second.id): {"a": "b"}}) == 0
    with pytest.raises(ProjectError, match=r"'nobody' \(none\)"):
        write_metadata(open_project(folder), {"nobody": {"a": "b"}})
    with pytest.raises(ProjectError, match="named twice, by name and by id"):
        write_metadata(open_project(folder), {first.name: {"a": "b"}, str(first.id): {"a": "c"}})


def test_a_project_that_changed_meanwhile_is_not_overwritten(project_copy: Callable[[str], Path]) -> None:
    project = open_project(project_copy("v0.5.1"))
    text = project.path.read_text()
    project.path.write_text(text + " ")
    with pytest.raises(ProjectError, match="close QuPath"):
        write_metadata(project, {str(project.entries[0].id): {"a": "b"}})
    assert project.path.read_text() == text + " "


def test_a_table_sets_what_its_cells_say(study: Path, tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("image,Patient,Site\npatient_A.tif,7,\npatient_B.tif,8,Bern\n\n", encoding="utf-8-sig")
    assert run("project", "set-metadata", study, "--from-csv", table) == 0
    found = {entry.name: dict(entry.metadata) for entry in open_project(study).entries}
    assert found["patient_A.tif"]["Patient"] == "7" and "Site" not in found["patient_A.tif"]
    assert found["patient_B.tif"] | {"Patient": "8", "Site": "Bern"} == found["patient_B.tif"]
    for text in ("", "image\nx\n", "image,a\nx\n", "image,a\nx,1\nx,2\n", "image,\nx,1\n"):
        table.write_text(text)
        with pytest.raises(FormatError, match=r"patients\.csv"):
            read_metadata_table(table)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,a,b,a\nx,1,2,3\n", "column 'a' is there twice"),
        ("image,a\n\n\nx,1\n\nx,2\n", "line 6 names the entry 'x' again"),
        ("image,a\n\ny,1,2\n", "line 3 has 3 cells for 2 columns"),
        ("image;a\nx;1\n", "separated by commas"),
        ("image,a\nx,\udcfc\n", "CSV UTF-8"),
    ],
)
def test_a_bad_table_says_what_and_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FormatError, match=said):
        read_metadata_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "arguments",
    [
        ["set-metadata", "P"],
        ["set-metadata", "P", "novalue"],
        ["set-metadata", "P", "=x"],
        ["set-metadata", "P", "a=b", "--from-csv", "x.csv"],
        ["set-metadata", "nothing", "a=b"],
        ["add-images", "P", "nothing.svs"],
        ["create", "P"],
        ["create", "P/project.qpproj"],
    ],
)
def test_bad_arguments_are_one_line(study: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("project", *[item.replace("P", str(study)) if item[0] == "P" else item for item in arguments]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_wrapped_servers_get_their_new_uri_inside(project_copy: Callable[[str], Path]) -> None:
    project = open_project(project_copy("v0.5.1"))
    wrapped = next(entry for entry in project.entries if entry.server.builder is not None)
    assert set_image_uris(project, {wrapped.id: "file:///new%20place/he.tif"}) == 1
    again = open_project(project.path)
    found = next(entry for entry in again.entries if entry.id == wrapped.id)
    assert found.server.innermost.uri == "file:///new%20place/he.tif"
    assert found.server.type == wrapped.server.type and again.record["uri"] == project.record["uri"]
    here = {entry.id: "file:///x.tif" for entry in again.entries}
    set_image_uris(again, here)
    assert open_project(project.path).record["uri"] == project.path.absolute().as_uri()
    shutil.rmtree(project.folder)


def test_an_open_project_and_its_path_are_the_same_to_every_function(tmp_path: Path) -> None:
    projects = [small_project(tmp_path / name) for name in ("text", "open")]
    ways: list[Any] = [str(projects[0].path), projects[1]]
    settings = qpkit.ExportSettings(downsample=1, tile_size=64, store="none")
    found = []
    for project, place in zip(projects, ways, strict=True):
        assert qpkit.open_project(projects[1]) is projects[1]
        root = project.folder.parent
        exported = qpkit.export(place, root / "tiles", settings)
        change = qpkit.Change(class_name="Stroma")
        edited = qpkit.edit_objects(place, qpkit.Selection(classes=("Tumor",)), change)
        written = qpkit.write_metadata(place, {"a.tif": {"Site": "B"}})
        place = place if isinstance(place, str) else qpkit.open_project(project.path)
        handed = qpkit.hand_out(place, root / "readers", qpkit.HandOutSettings(readers=("Anna", "Bert")))
        slide = write_slide(root / "more" / "c.tif", seed=9)
        added = qpkit.add_images(place, slide)
        with pytest.raises(ProjectError, match="nothing was imported"):
            qpkit.review_project(place)
        found.append((exported.tiles_kept, [e.changed for e in edited], written, handed.slides, len(added.added)))
    assert found[0] == found[1]
