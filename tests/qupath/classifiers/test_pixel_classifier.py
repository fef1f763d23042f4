"""The JSON of a pixel classifier, and what a project looks like before and after; no network, no torch."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest

from qpkit.core.annotation import PathClass, argb
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import ConfigError, OutputError
from qpkit.qupath import create_project, open_project
from qpkit.qupath.classifiers import in_project
from qpkit.qupath.classifiers.fields import FIELDS, faults
from qpkit.qupath.classifiers.in_project import SCRIPT, put_pixel_classifier
from qpkit.qupath.classifiers.pixel_classifier import IGNORE, PixelClassifier, classes_of_channels
from qpkit.qupath.classifiers.settings import ClassifierSettings
from qpkit.qupath.project.project import Project

TUMOR = PathClass(("Tumor",), argb(200, 0, 0))
ONE = PixelClassifier(
    label="unet 1", classes=(IGNORE, TUMOR, PathClass(("Tumor", "Edge"), argb(1, 2, 3))), pixel_size=0.5, unit="um",
    input_px=512, padding_px=64,
)  # fmt: skip

WRITTEN_BY_QUPATH: dict[str, Any] = {
    "pixel_classifier_type": "OpenCVPixelClassifier",
    "metadata": {
        "inputPadding": int,
        "inputResolution": {
            "pixelWidth": {"value": float, "unit": ("\N{MICRO SIGN}m", "px")},
            "pixelHeight": {"value": float, "unit": ("\N{MICRO SIGN}m", "px")},
            "zSpacing": {"value": 1.0, "unit": "z-slice"},
            "timeUnit": "SECONDS",
            "timepoints": [],
        },
        "inputWidth": int,
        "inputHeight": int,
        "inputNumChannels": 3,
        "outputType": ("CLASSIFICATION", "PROBABILITY"),
        "outputChannels": [],
        "classificationLabels": dict,
    },
    "op": {"type": "data.op.channels", "colorTransforms": list, "op": {"type": "op.core.sequential", "ops": list}},
}
"""What is alike in eight pixel classifiers that QuPath wrote, before and from 0.4, found in public scripts: keys,
their order, and values or types. None of them runs a network; those fields are from the source."""

PUBLIC_NETWORK_OP = ("type", "model", "inputWidth", "inputHeight", "outputNames", "padding")
"""Keys of "op.ml.opencv-dnn" in a public script that writes such a file by hand, for DJL, as FLOAT32 PROBABILITY."""


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def assert_like(made: Any, form: Any) -> None:
    if isinstance(form, dict):
        assert list(made) == [key for key in made if key in form or key == "outputPixelType"], (
            "a key that QuPath never wrote"
        )
        assert [key for key in made if key in form] == list(form), "in QuPath's order"
        for key, inner in form.items():
            assert_like(made[key], inner)
    elif isinstance(form, type):
        assert isinstance(made, form)
    elif isinstance(form, tuple):
        assert made in form
    else:
        assert made == form


@pytest.fixture
def project(tmp_path: Path) -> Project:
    create_project(tmp_path / "project")
    (tmp_path / "project" / "notes.txt").write_text("mine")
    return open_project(tmp_path / "project")


def test_the_json_has_the_form_of_those_that_qupath_wrote() -> None:
    record = ONE.record(PurePosixPath("/p/x.onnx"))
    assert_like(record, WRITTEN_BY_QUPATH)
    (network,) = record["op"]["op"]["ops"]
    assert tuple(network) == PUBLIC_NETWORK_OP
    assert [channel["channelName"] for channel in record["op"]["colorTransforms"]] == ["Red", "Green", "Blue"]


def test_every_field_is_one_of_qupaths_classes_and_every_needed_one_is_there() -> None:
    record = json.loads(json.dumps(ONE.record(PureWindowsPath("C:/a b/x.onnx"))))
    assert not list(faults(record))
    network = record["op"]["op"]["ops"][0]
    assert network["model"]["pathModel"] == "file:///C:/a%20b/x.onnx"
    assert network["model"]["scale"] == 1.0  # 0.0 where it is missing, and every pixel would be black
    assert network["padding"] == {"x1": 64, "x2": 64, "y1": 64, "y2": 64}
    assert record["metadata"]["inputPadding"] == 64 and record["metadata"]["inputWidth"] == network["inputWidth"] == 512
    assert record["metadata"]["classificationLabels"] == {
        "0": {"name": "Ignore*", "color": [180, 180, 180]},
        "1": {"name": "Tumor", "color": [200, 0, 0]},
        "2": {"names": ["Tumor", "Edge"], "color": [1, 2, 3]},
    }


def test_what_qupath_would_not_read_is_named() -> None:
    record = ONE.record(PurePosixPath("/p/x.onnx"))
    del record["op"]["op"]["ops"][0]["outputNames"], record["op"]["op"]["ops"][0]["model"]["scale"]
    record["metadata"]["tiles"], record["op"]["type"] = 1, "op"
    found = "; ".join(faults(record))
    for part in ("lacks outputNames", "lacks scale", "has no tiles", "type is not 'data.op.channels'"):
        assert part in found
    assert list(faults([])) == ["classifier is no object"]
    assert {inner for java in FIELDS.values() for inner in (java.inside or {}).values()} == set(FIELDS) - {"classifier"}


def test_channels_are_the_values_of_the_map_and_the_background_is_ignored() -> None:
    labels = LabelMap(
        classes=(LabelClass("Tumor: Edge", 7, ("Edge",)), LabelClass("Lesion", 2, ("Lesion",))), background=4
    )
    lesion, ground, edge = classes_of_channels(labels, [PathClass(("Edge",), argb(9, 8, 7))])
    assert (lesion.names, edge.names, edge.rgb) == (("Lesion",), ("Tumor", "Edge"), (9, 8, 7))
    assert ground == IGNORE and lesion.rgb is not None


def test_a_project_gets_three_files_and_no_other_byte_changes(project: Project) -> None:
    before = files_of(project.folder)
    put = put_pixel_classifier(project, "my unet", ONE, b"network")
    after = files_of(project.folder)
    new = {name: after.pop(name) for name in list(after) if name not in before}
    assert after == before
    folder = "classifiers/pixel_classifiers"
    (model,) = (name for name in new if name.endswith(".onnx"))
    assert set(new) == {f"{folder}/my unet.json", model, "scripts/qpkit-pixel-classifiers.groovy"}
    assert new[model] == b"network" and b"DnnModels" in new["scripts/qpkit-pixel-classifiers.groovy"]
    assert json.loads(put.json.read_bytes()) == ONE.record(put.model) and put.model.is_file() and not put.unchanged


def test_again_changes_nothing_and_another_one_needs_overwrite(project: Project) -> None:
    put_pixel_classifier(project, "unet", ONE, b"network")
    first = files_of(project.folder)
    assert put_pixel_classifier(project, "unet", ONE, b"network").unchanged
    assert files_of(project.folder) == first
    with pytest.raises(OutputError, match=r"is there already; choose another --name or pass --overwrite"):
        put_pixel_classifier(project, "unet", ONE, b"other")
    with pytest.raises(OutputError, match="is the same name to QuPath"):
        put_pixel_classifier(project, "UNet", ONE, b"network", overwrite=True)
    assert files_of(project.folder) == first
    put = put_pixel_classifier(project, "unet", ONE, b"other", overwrite=True)
    assert [path.name for path in put.json.parent.glob("*.onnx")] == [put.model.name]
    put_pixel_classifier(project, "unet-2", ONE, b"network")
    assert len(list(put.json.parent.iterdir())) == 4


def test_a_script_of_somebody_elses_stays_and_is_told(project: Project) -> None:
    script = project.folder / "scripts" / "qpkit-pixel-classifiers.groovy"
    script.parent.mkdir()
    script.write_text("mine")
    put = put_pixel_classifier(project, "unet", ONE, b"network")
    assert script.read_text() == "mine" and "was left as it is" in put.notes[0]
    assert SCRIPT.isascii() and SCRIPT.count(b"\n") == 3


@pytest.mark.parametrize("number", [1, 2, 3])
def test_where_writing_fails_nothing_is_left(project: Project, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    calls = []

    def failing(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == number:
            raise OutputError("the disk is full")
        path.write_bytes(content)

    before = sorted(project.folder.rglob("*"))
    monkeypatch.setattr(in_project, "replace_file", failing)
    with pytest.raises(OutputError, match="full"):
        put_pixel_classifier(project, "unet", ONE, b"network")
    assert sorted(project.folder.rglob("*")) == before


def test_where_the_folder_cannot_be_made_nothing_is_left(project: Project) -> None:
    (project.folder / "scripts").write_text("a file")
    before = sorted(project.folder.rglob("*"))
    with pytest.raises(OutputError, match="cannot be made"):
        put_pixel_classifier(project, "unet", ONE, b"network")
    assert sorted(project.folder.rglob("*")) == before


def test_settings_that_do_not_go_together_are_one_line() -> None:
    assert ClassifierSettings().padding == 64 and ClassifierSettings(padding_px=0).padding == 0
    for said in (
        {"input_px": 500},
        {"input_px": 32},
        {"padding_px": 256},
        {"name": "a/b"},
        {"name": "."},
        {"name": "x" * 101},
    ):
        with pytest.raises(ConfigError) as caught:
            ClassifierSettings(**said)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 260
