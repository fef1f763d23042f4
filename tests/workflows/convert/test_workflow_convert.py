from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import shapely
from PIL import Image
from qupath_files import comparable

from qpkit.cli import main
from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.geometry import mend
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.pixel_size import PixelSize
from qpkit.errors import ConfigError, FormatError, OutputError, ProjectError
from qpkit.formats.registry import named
from qpkit.formats.shared.dicom_slides import MADE_UP, slide_of
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.label_table import sidecar
from qpkit.predictions import PredictionSet, SlidePrediction, create_raster, write_predictions
from qpkit.qupath import QpData, open_project, read_geojson, write_geojson
from qpkit.qupath.project.edits import write_project
from qpkit.workflows.convert.convert import INFO_NAME, NO_FILE, NOT_MADE, PREDICTIONS, convert
from qpkit.workflows.convert.formats import ALL_FORMATS
from qpkit.workflows.convert.project import THERE, slide_facts
from qpkit.workflows.convert.qupath_shapes import split
from qpkit.workflows.convert.settings import ConvertSettings

TUMOR = PathClass(("Tumor",), argb(200, 0, 0))
OBJECTS = [
    Annotation(geometry=shapely.box(10, 10, 60, 50), shape="rectangle", path_class=TUMOR, name="one"),
    Annotation(geometry=shapely.Polygon([(0, 0), (9, 0), (5, 9)]), shape="polygon", path_class=TUMOR),
]
FILES = [
    "asap",
    "imagescope",
    "halo",
    "ndpa",
    "coco",
    "darwin",
    "gpkg",
    "parquet",
    "shapefile",
    "geojson",
    "qpdata",
    "dicom-ann",
]
FACTS = {"size": (200, 100), "mpp": 0.25, "centre_nm": (0.0, 0.0)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "slide.geojson"
    write_geojson(path, OBJECTS)
    return path


def settings(**stated: object) -> ConvertSettings:
    return ConvertSettings(**{**FACTS, **stated})  # type: ignore[arg-type]  # a test's shorthand


@pytest.mark.parametrize("name", FILES)
def test_every_format_leads_to_every_other(name: str, source: Path, tmp_path: Path) -> None:
    target = tmp_path / f"there{named(name, ALL_FORMATS).suffixes[0]}"
    report = convert(source, target, settings(target_format=name))
    assert [i.objects for i in report.images] == [{"Tumor": 2}]
    again = convert(target, tmp_path / "back.geojson", settings())
    assert (report.target_format, again.source_format) == (name, name)
    assert [o.geometry.bounds for o in read_geojson(tmp_path / "back.geojson")] == [
        pytest.approx(o.geometry.bounds, abs=0.01) for o in OBJECTS
    ]


@pytest.mark.parametrize("version", ["0.2.3", "0.5.1", "0.7.0"])
@pytest.mark.parametrize("name", [*FILES, "labels"])
def test_projects_of_qupath_with_every_kind_of_object_convert(
    name: str, version: str, shared: Path, tmp_path: Path
) -> None:
    project = shared / "fixtures" / "qupath" / f"v{version}" / "project"
    target = tmp_path / "out"
    report = convert(project, target, settings(target_format=name))
    entries = open_project(project).entries
    assert len(report.images) == len(entries)
    assert (target / INFO_NAME).is_file()
    assert sum(sum(i.objects.values()) for i in report.images) == sum(len(e.objects()) for e in entries)
    for number, file in enumerate({i.target for i in report.images} - {NOT_MADE}):
        back = settings(target_format="coco", segmentation="polygon")
        assert convert(Path(file), tmp_path / f"back {number}", back).images


@pytest.mark.parametrize(("name", "share"), [("asap", 1e-9), ("imagescope", 1e-9), ("darwin", 1e-9), ("halo", 0.02)])
def test_real_annotations_keep_their_area_there_and_back(
    name: str, share: float, composed: Path, tmp_path: Path
) -> None:
    project = open_project(composed / "qupath-0.7.0")
    report = convert(project.path, tmp_path / "out", settings(target_format=name))
    for entry, image in zip(project.entries, report.images, strict=True):
        (found,) = named(name, ALL_FORMATS).read(Path(image.target), ImageFacts(), Choices())
        before, after = areas(entry.objects()), areas(found.objects)
        assert after == {key: pytest.approx(area, rel=share) for key, area in before.items()}


def areas(objects: object) -> dict[str, float]:
    total: Counter[str] = Counter()
    for item in objects:  # type: ignore[attr-defined]  # any sequence of annotations
        total[str(item.class_name)] += mend(item.geometry)[0].area
    return {key: area for key, area in total.items() if area}


def test_a_project_becomes_one_coco_and_a_folder_of_others(study: Path, tmp_path: Path) -> None:
    entries = open_project(study).entries
    report = convert(study, tmp_path / "all.json", ConvertSettings(target_format="coco", segmentation="polygon"))
    document = json.loads((tmp_path / "all.json").read_text())
    assert [image["file_name"] for image in document["images"]] == [e.name for e in entries]
    assert len({i.target for i in report.images}) == 1
    convert(study, tmp_path / "folder", ConvertSettings(target_format="coco", segmentation="polygon"))
    assert (tmp_path / "folder" / "annotations.json").is_file()
    convert(study, tmp_path / "halo", ConvertSettings(target_format="halo"))
    assert len(list((tmp_path / "halo").glob("*.annotations"))) == len(entries)
    with pytest.raises(ConfigError, match="give a folder"):
        convert(study, tmp_path / "one.annotations", ConvertSettings())
    convert(study, tmp_path / "one.annotations", ConvertSettings(entries=(entries[0].name,)))
    with pytest.raises(ProjectError, match="no entry 'nobody'"):
        convert(study, tmp_path / "two.annotations", ConvertSettings(entries=("nobody",)))


@pytest.mark.parametrize("target", ["geojson", "halo", "gpkg"])
def test_a_folder_of_files_finds_entries_whose_names_are_no_file_names(
    target: str, study: Path, tmp_path: Path
) -> None:
    project = open_project(study)
    odd = ["P1 [core A] biopsy.svs", "P1 [core B] biopsy.svs", "Schäfer (2).tif", "#4"]
    images = [{**image, "imageName": name} for image, name in zip(project.record["images"], odd, strict=True)]
    write_project(project, {**project.record, "images": images})
    convert(study, tmp_path / "files", ConvertSettings(target_format=target))
    empty = open_project(shutil.copytree(study if study.is_dir() else study.parent, tmp_path / "empty"))
    for entry in empty.entries:
        entry.replace_objects(remove={n for n, _ in enumerate(entry.objects())}, add=())
    convert(tmp_path / "files", empty.path, ConvertSettings())
    for entry, there in zip(open_project(study).entries, open_project(empty.path).entries, strict=True):
        before, after = areas(entry.objects()), areas(there.objects())
        assert after == {key: pytest.approx(area, rel=0.01) for key, area in before.items()}


def test_images_of_one_darwin_item_come_into_the_entries_of_their_names(study: Path, tmp_path: Path) -> None:
    entries = open_project(study).entries
    convert(study, tmp_path / "case.json", ConvertSettings(target_format="darwin"))
    item = json.loads((tmp_path / "case.json").read_text())["item"]
    assert [slot["source_files"][0]["file_name"] for slot in item["slots"]] == [e.name for e in entries]
    report = convert(tmp_path / "case.json", study, ConvertSettings())
    assert [i.target for i in report.images] == [f"{open_project(study).path}: {e.name}" for e in entries]
    assert report.losses[THERE] == sum(sum(i.objects.values()) for i in report.images)
    convert(study, tmp_path / "folder", ConvertSettings(target_format="darwin"))
    assert len(list((tmp_path / "folder").glob("*.json"))) == len(entries) + 1  # and convert.json


def test_um_per_px_of_each_axis_are_stated_once(source: Path, tmp_path: Path) -> None:
    stated = {"size": (200, 100), "centre_nm": (0.0, 0.0), "mpp_xy": PixelSize(0.25, 0.5)}
    convert(source, tmp_path / "a.ndpa", settings(mpp=None, **stated))
    convert(tmp_path / "a.ndpa", tmp_path / "b.geojson", settings(mpp=None, **stated))
    assert [o.geometry.bounds for o in read_geojson(tmp_path / "b.geojson")] == [o.geometry.bounds for o in OBJECTS]
    convert(tmp_path / "a.ndpa", tmp_path / "c.geojson", settings())
    assert read_geojson(tmp_path / "c.geojson")[0].geometry.bounds == (10, -30, 60, 50)
    with pytest.raises(ConfigError, match="exclude each other"):
        settings(mpp=0.25, mpp_xy=PixelSize(0.25, 0.5))


@pytest.mark.parametrize("said", ["0.25", "0.25,0", "0.25,nan", "a,b"])
def test_bad_um_per_px_are_one_clear_line(
    source: Path, tmp_path: Path, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "convert", source, tmp_path / "a.ndpa", "--size", "9x9", "--mpp-xy", said)
    assert (code, err.count("\n")) == (1, 1)
    assert f"--mpp-xy '{said}': has to be" in err
    assert len(err) < 200
    assert not (tmp_path / "a.ndpa").exists()


def test_objects_come_into_the_entry_of_their_image_once(study: Path, tmp_path: Path) -> None:
    entry = open_project(study).entries[0]
    before = len(entry.objects())
    source = tmp_path / f"{Path(entry.name).stem}.geojson"
    write_geojson(source, OBJECTS)
    first = convert(source, study, ConvertSettings())
    assert first.target_format == "project"
    assert len(open_project(study).entries[0].objects()) == before + 2
    second = convert(source, study, ConvertSettings())
    assert second.losses == {THERE: 2}
    assert len(open_project(study).entries[0].objects()) == before + 2


def test_a_hierarchy_survives_in_a_project_and_children_find_parents_that_are_there(
    study: Path, tmp_path: Path
) -> None:
    entry = open_project(study).entries[0]
    before = len(entry.objects())
    inner = replace(OBJECTS[1], parent=0, name="inner")
    later = [replace(OBJECTS[0], name="late child", parent=1), replace(OBJECTS[1], name="late grandchild", parent=2)]
    other = [replace(OBJECTS[0], name="second"), replace(OBJECTS[1], name="its child", parent=4)]
    for number, objects in enumerate([[OBJECTS[0], inner], [OBJECTS[0], inner, *later, *other]]):
        made = tmp_path / str(number) / f"{Path(entry.name).stem}.qpdata"
        made.parent.mkdir()
        named("qpdata", ALL_FORMATS).write(made, [Drawing(objects=tuple(objects))], Choices())
        assert convert(made, study, ConvertSettings()).losses == ({THERE: 2} if number else {})
        assert convert(made, study, ConvertSettings()).losses == {THERE: len(objects)}
    found = open_project(study).entries[0].objects()
    assert len(found) == before + 6
    above = {o.name: None if o.parent is None else found[o.parent].name for o in found}
    ours = {name: above[name] for name in ("one", "inner", "late child", "late grandchild", "second", "its child")}
    assert ours == {
        "one": None,
        "inner": "one",
        "late child": "inner",
        "late grandchild": "late child",
        "second": None,
        "its child": "second",
    }


@pytest.mark.parametrize("entry", ["rois", "odd", "tma"])
def test_real_entries_take_new_objects_and_their_own_only_once(
    project_copy: Callable[[str], Path], source: Path, tmp_path: Path, entry: str
) -> None:
    """QuPath's entries hold polygons of a single corner and objects without a shape."""
    folder = project_copy("v0.5.1")
    before = open_project(folder).entry(entry).objects()
    assert convert(source, folder, ConvertSettings(entries=(entry,))).losses.get(THERE) is None
    assert convert(source, folder, ConvertSettings(entries=(entry,))).losses[THERE] == len(OBJECTS)
    own = convert(folder, folder, ConvertSettings(entries=(entry,)))
    assert own.losses[THERE] == len(before) + len(OBJECTS)
    after = open_project(folder).entry(entry).objects()
    assert [comparable(item, parent=True) for item in after[: len(before)]] == [
        comparable(item, parent=True) for item in before
    ]


def test_objects_of_no_entry_or_another_size_are_refused(study: Path, source: Path) -> None:
    with pytest.raises(ProjectError, match="--entry"):
        convert(source, study, ConvertSettings())
    name = open_project(study).entries[1].name
    with pytest.raises(FormatError, match="would not fit"):
        convert(source, study, settings(entries=(name,)))
    convert(source, study, ConvertSettings(entries=(name,)))
    for target, entries in ((study, (name, "1")), (study / "new.geojson", (name,))):
        with pytest.raises(ConfigError, match="--entry chooses"):
            convert(source, target, ConvertSettings(entries=entries))
    assert any(o.name == "one" for o in open_project(study).entries[1].objects())


def test_entries_are_chosen_by_their_metadata(study: Path, source: Path, tmp_path: Path) -> None:
    project = open_project(study)
    wanted = [entry.name for entry in project.entries if entry.metadata["Split"] == "train"]
    report = convert(study, tmp_path / "out", ConvertSettings(target_format="asap", where={"Split": "tr*"}))
    assert [image.image for image in report.images] == wanted and 1 < len(wanted) < len(project.entries)
    one = ConvertSettings(target_format="asap", entries=(wanted[0],), where={"Split": "train"})
    assert [image.image for image in convert(study, tmp_path / "one.xml", one).images] == wanted[:1]
    with pytest.raises(ProjectError, match="--where Split=x"):
        convert(study, tmp_path / "x", ConvertSettings(target_format="asap", where={"Split": "x"}))
    with pytest.raises(ConfigError, match="--where chooses"):
        convert(source, study, ConvertSettings(where={"Split": "train"}))
    assert not (tmp_path / "x").exists()


def test_a_hierarchy_survives_in_qpdata(tmp_path: Path) -> None:
    mixed = shapely.GeometryCollection([shapely.Point(1, 1), shapely.box(0, 0, 2, 2)])
    objects = [
        Annotation(geometry=mixed, path_class=TUMOR),
        replace(OBJECTS[0], parent=0),
        replace(OBJECTS[1], parent=1),
    ]
    assert [o.parent for o in split(objects)] == [None, None, 0, 2]
    target = tmp_path / "a.qpdata"
    losses = named("qpdata", ALL_FORMATS).write(target, [Drawing(objects=tuple(objects))], Choices())
    assert losses == {"objects of mixed shapes split into their parts": 1}
    found = QpData.parse(target.read_bytes(), source="a").objects()
    above = {o.geometry.bounds: None if o.parent is None else found[o.parent].geometry.bounds for o in found}
    point, box = (1, 1, 1, 1), OBJECTS[0].geometry.bounds
    assert above == {point: None, (0, 0, 2, 2): None, box: point, OBJECTS[1].geometry.bounds: box}


def test_objects_of_mixed_shapes_that_a_project_gets_in_parts_are_counted_once(study: Path, tmp_path: Path) -> None:
    name = open_project(study).entries[0].name
    mixed = shapely.GeometryCollection([shapely.Point(1, 1), shapely.box(0, 0, 2, 2)])
    source = tmp_path / f"{Path(name).stem}.gpkg"
    drawing = Drawing(objects=(Annotation(geometry=mixed, path_class=TUMOR),))
    named("gpkg", ALL_FORMATS).write(source, [drawing], Choices())
    first = convert(source, study, ConvertSettings())
    assert first.losses == {"objects of mixed shapes split into their parts": 1}
    assert convert(source, study, ConvertSettings()).losses == {THERE: 2}


def test_nothing_is_overwritten_unasked_and_qpdata_never(source: Path, tmp_path: Path) -> None:
    for target in (tmp_path / "a.gpkg", tmp_path / "a.png"):
        convert(source, target, settings())
        old = target.read_bytes()
        with pytest.raises(OutputError, match="--overwrite"):
            convert(source, target, settings())
        assert target.read_bytes() == old
        convert(source, target, settings(overwrite=True))
    convert(source, tmp_path / "a.qpdata", settings())
    with pytest.raises(OutputError, match="never replaced"):
        convert(source, tmp_path / "a.qpdata", settings(overwrite=True))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("mine")
    with pytest.raises(OutputError):
        convert(source, tmp_path / "mine", settings(target_format="halo", overwrite=True))
    assert (tmp_path / "mine" / "precious.txt").read_text() == "mine"


def test_a_failure_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError):
        convert(source, tmp_path / "a.ndpa", ConvertSettings())
    with pytest.raises(ConfigError):
        convert(source, tmp_path / "folder", ConvertSettings(target_format="ndpa"))
    with pytest.raises(ProjectError):
        convert(tmp_path / "gone.xml", tmp_path / "b.gpkg", ConvertSettings())
    with pytest.raises(OutputError):
        convert(source, tmp_path / "no" / "folder" / "b.gpkg", ConvertSettings())
    assert sorted(tmp_path.iterdir()) == before


def test_a_label_image_of_a_slide_goes_there_and_back(composed: Path, tmp_path: Path) -> None:
    report = convert(
        composed / "qupath-0.7.0", tmp_path / "masks", ConvertSettings(target_format="labels", downsample=4.0)
    )
    for image in report.images:
        back = tmp_path / "back.gpkg"
        convert(Path(image.target), back, ConvertSettings(overwrite=True))
        again = tmp_path / "again.png"
        labels = sidecar(Path(image.target))
        same = ConvertSettings(downsample=4.0, size=_size(Path(image.target)), labels=labels, overwrite=True)
        convert(back, again, same)
        first, second = (np.asarray(Image.open(p)) for p in (image.target, again))
        shown = (first != 255) & (first != 0)
        assert shown.any()
        assert np.array_equal(first[shown], second[shown])


def test_what_a_label_table_holds_beside_classes_is_noted(tmp_path: Path) -> None:
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "mask.png")
    (tmp_path / "codes.csv").write_text("label,value,is_roi\ntumor,1,1\nstroma,2,\n")
    settings = ConvertSettings(labels=tmp_path / "codes.csv", offset=(0.0, 0.0), downsample=1.0)
    report = convert(tmp_path / "mask.png", tmp_path / "a.geojson", settings)
    assert report.notes == {"fields not read (labels/is_roi)": 1}


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.width * 4, image.height * 4


def test_a_hamamatsu_slide_says_where_it_lies_on_the_glass(shared: Path, source: Path, tmp_path: Path) -> None:
    slide = shared / "data" / "slides" / "slideio-tutorial" / "test3-TRITC 2 (560).ndpi"
    facts = slide_facts(slide)
    with openslide.OpenSlide(slide) as opened:
        assert (facts.width, facts.height) == opened.dimensions
        assert facts.centre_nm == (12538720.0, -96063.0)
    convert(source, tmp_path / "a.ndpa", ConvertSettings(image=slide))
    convert(tmp_path / "a.ndpa", tmp_path / "b.geojson", ConvertSettings(image=slide))
    for found, drawn in zip(read_geojson(tmp_path / "b.geojson"), OBJECTS, strict=True):
        assert found.geometry.bounds == pytest.approx(drawn.geometry.bounds, abs=0.01)


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_the_command_shows_what_was_lost_and_ends_well(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "convert", source, tmp_path / "a.annotations")
    assert code == 0
    assert "Tumor 2" in out
    assert "lost: names left out: 1" in err
    code, out, _ = run(capsys, "convert", tmp_path / "a.annotations", tmp_path / "a.gpkg", "--json")
    shown = json.loads(out)
    assert (code, shown["from"], shown["to"], shown["losses"], shown["notes"]) == (0, "halo", "gpkg", {}, {})
    code, out, _ = run(capsys, "convert", "--list")
    assert code == 0
    assert all(item.name in out for item in ALL_FORMATS)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a.xml"], "--to NAME"),
        (["a.doc"], "--to NAME"),
        (["a.gpkg", "--to", "word"], "no format is called 'word'"),
        (["a.gpkg", "--size", "3"], "--size"),
        (["a.gpkg", "--size", "0x3"], "--size"),
        (["a.gpkg", "--offset", "3"], "--offset"),
        (["a.gpkg", "--mpp", "-1"], "--mpp"),
        (["a.gpkg", "--downsample", "nan"], "--downsample"),
        (["a.json", "--to", "coco", "--segmentation", "dots"], "--segmentation"),
        (["a.png"], "--size"),
        (["a.gpkg", "--labels", "gone.toml"], "gone.toml"),
        (["a.gpkg", "--image", "gone.svs"], "gone.svs"),
        (["a.gpkg", "--from", "asap"], "not well-formed XML"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_1(
    args: list[str], message: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "convert", source, tmp_path / args[0], *args[1:])
    assert code == 1
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / args[0]).exists()


def test_a_and_b_are_needed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "convert", tmp_path)[0] == 2


def test_many_entries_of_one_name_get_files_of_their_own(study: Path, tmp_path: Path) -> None:
    file = study / "project.qpproj"
    record = json.loads(file.read_text())
    for image in record["images"]:
        image["imageName"] = "same"
    file.write_text(json.dumps(record))
    report = convert(study, tmp_path / "out", ConvertSettings(target_format="gpkg"))
    assert len({i.target for i in report.images}) == len(record["images"])


@pytest.mark.parametrize("downsample", [1.0, 2.0, 3.7])
def test_predictions_come_back_pixel_for_pixel_from_formats_of_pixels(tmp_path: Path, downsample: float) -> None:
    hd = pytest.importorskip("highdicom", reason="pip install 'qpkit[dicom]'")
    made = predictions_made_up(tmp_path / "made", downsample)
    for name in ("labels", "dicom-seg", "dicom-ann", "ome-zarr"):
        report = convert(tmp_path / "made", tmp_path / name, ConvertSettings(target_format=name))
        assert (report.source_format, [i.image for i in report.images]) == (PREDICTIONS, ["a.svs", "empty.svs"])
        assert report.losses.get(NO_FILE, 0) == name.startswith("dicom")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "labels" / "a.svs.png")), made)
    seg = hd.seg.segread(tmp_path / "dicom-seg" / "a.svs.dcm")
    for number in seg.segment_numbers:
        value = {"Tumor": 2, "Stroma": 5}[seg.get_segment_description(number).segment_label]
        assert np.array_equal(seg.get_total_pixel_matrix(segment_numbers=[number])[..., 0], made == value)
        assert seg.get_segment_description(number).algorithm_type.value == "AUTOMATIC"
    groups = hd.ann.annread(tmp_path / "dicom-ann" / "a.svs.dcm").get_annotation_groups()
    assert {(g.label, g.algorithm_type.value) for g in groups} == {("Tumor", "AUTOMATIC"), ("Stroma", "AUTOMATIC")}
    zarr = pytest.importorskip("zarr", reason="pip install 'qpkit[zarr]'")
    assert np.array_equal(zarr.open_group(tmp_path / "ome-zarr" / "a.svs.ome.zarr", mode="r")["labels/classes/0"], made)
    # A folder that convert made is a source.
    for name, there in (("dicom-seg", ["a.svs"]), ("ome-zarr", ["a.svs", "empty.svs"])):
        stated = ConvertSettings(target_format="geojson", mpp=0.25)
        again = convert(tmp_path / name, tmp_path / f"again {name}", stated)
        assert [i.image for i in again.images] == there


def predictions_made_up(root: Path, downsample: float) -> np.ndarray:
    labels = LabelMap(
        classes=(LabelClass("Tumor", 2, ("T", "NOS"), argb(255, 0, 0)), LabelClass("Stroma", 5, ("*",))), ignore=9
    )
    mask = np.kron(np.random.default_rng(0).choice([0, 0, 2, 5], (30, 40)).astype(np.uint8), np.ones((3, 3), np.uint8))
    height, width = mask.shape
    root.mkdir()
    slides = []
    for name, pixels in (("a.svs", mask), ("empty.svs", mask * 0)):
        size = {"width": width, "height": height, "downsample": downsample, "mpp": 0.25 * downsample}
        with create_raster(root / f"{name}.tif", **size) as raster:
            raster.write(pixels, x=0, y=0)
        size |= {"width": int(width * downsample), "height": int(height * downsample)}
        slides.append(SlidePrediction(name=name, image="/gone.svs", labels=f"{name}.tif", **size))
    write_predictions(PredictionSet(root=root, run="r1", model="unet", label_map=labels, slides=tuple(slides), info={}))
    return mask


def test_predictions_are_not_converted_into_a_project(study: Path, tmp_path: Path) -> None:
    predictions_made_up(tmp_path / "made", 1.0)
    with pytest.raises(ConfigError, match="qpkit import-predictions"):
        convert(tmp_path / "made", study, ConvertSettings())
    with pytest.raises(ConfigError, match=r"no slide b\.svs"):
        convert(tmp_path / "made", tmp_path / "out", ConvertSettings(target_format="labels", entries=("b.svs",)))


def test_annotations_of_a_dicom_slide_refer_to_it(shared: Path, tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom", reason="pip install 'qpkit[dicom]'")
    wsidicom = pytest.importorskip("wsidicom", reason="pip install wsidicom")
    slide = shared / "data" / "slides" / "napari-wsi" / "CMU-1-Small-Region-dicom"
    write_geojson(tmp_path / "a.geojson", OBJECTS)
    for name, factor in (("dicom-ann", None), ("dicom-seg", 4.0)):
        stated = ConvertSettings(target_format=name, image=slide, downsample=factor)
        assert MADE_UP not in convert(tmp_path / "a.geojson", tmp_path / f"{name}.dcm", stated).losses
    folder = tmp_path / "slide"
    shutil.copytree(slide, folder)
    shutil.copy(tmp_path / "dicom-ann.dcm", folder)
    with wsidicom.WsiDicom.open(folder) as opened:
        assert [group.label for item in opened.annotations for group in item.groups] == ["Tumor"]
    source = slide_of(slide_facts(slide)).dataset
    seg = hd.seg.segread(tmp_path / "dicom-seg.dcm")
    assert (seg.FrameOfReferenceUID, seg.StudyInstanceUID) == (source.FrameOfReferenceUID, source.StudyInstanceUID)
    middle = hd.spatial.ImageToReferenceTransformer(  # of the first pixel: 1.5 px from that of the slide's
        *geometry_of(source)
    )(np.array([[2.0, 2.0]]))
    assert middle[0] == pytest.approx(geometry_of(seg)[0], abs=1e-6)


def geometry_of(dataset: Any) -> tuple[Any, ...]:
    """Position, orientation and pixel spacing as highdicom takes them."""
    origin = dataset.TotalPixelMatrixOriginSequence[0]
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    return (
        (float(origin.XOffsetInSlideCoordinateSystem), float(origin.YOffsetInSlideCoordinateSystem), 0.0),
        tuple(float(value) for value in dataset.ImageOrientationSlide),
        tuple(float(value) for value in measures.PixelSpacing),
    )
