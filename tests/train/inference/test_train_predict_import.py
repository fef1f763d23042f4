"""Predictions that go into their project in the same command."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from small_project import HEIGHT, STROMA, TUMOR, WIDTH, small_project
from tiny_tiles import LABELS, paint

from command_line import run as qpkit
from qpkit.errors import FormatError
from qpkit.predictions import read_predictions
from qpkit.qupath import open_project
from qpkit.workflows.imports import as_they_come
from qpkit_train.inference.running.onnx_model import INPUT, KEY, OUTPUT, card_to_text
from qpkit_train.models.card import ModelCard

HOW = ["--tile-size", "64", "--halo", "32", "--probabilities", "--everything"]


CARD = ModelCard(
    run="bright-1", name="bright", where="", labels=LABELS, mpp=0.5, downsample=None, trained={}, versions={}
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright is Lesion, as surely as it is bright; nothing is Other."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
    numbers = {"max": np.float32(255), "zero": np.float32(0), "one": np.float32(1)}
    lists = {"start": np.array([0]), "end": np.array([1]), "axis": np.array([1])}
    make, sides = onnx.helper, ("n", "h", "w")
    nodes = [
        make.make_node("Slice", [INPUT, "start", "end", "axis"], ["red"]),
        make.make_node("Div", ["red", "max"], ["bright"]),
        make.make_node("Sub", ["one", "bright"], ["dark"]),
        make.make_node("Mul", ["bright", "zero"], ["never"]),
        make.make_node("Concat", ["dark", "bright", "never"], [OUTPUT], axis=1),
    ]
    shapes = [
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [sides[0], 3, *sides[1:]]) for name in (INPUT, OUTPUT)
    ]
    known = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in (numbers | lists).items()]
    graph = make.make_graph(nodes, "bright", shapes[:1], shapes[1:], known)
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    make.set_model_props(made, {KEY: card_to_text(CARD)})
    path = tmp_path_factory.mktemp("model") / "bright.onnx"
    onnx.save(made, path)
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    small_project(tmp_path / "study", ((TUMOR, STROMA), (), (TUMOR,)))
    rng = np.random.default_rng(0)
    for path in sorted((tmp_path / "study/slides").iterdir()):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for _ in range(12):
            row, col = rng.integers(0, HEIGHT - 40), rng.integers(0, WIDTH - 40)
            mask[row : row + 24, col : col + 30] = rng.choice([1, 3])
        tifffile.imwrite(path, paint(mask, rng), tile=(64, 64), photometric="rgb")
    return tmp_path / "study/project"


def objects(project: Path) -> list[list[object]]:
    entries = open_project(project).entries
    return [[o.comparable() for o in entry.objects()] if entry.has_data else [] for entry in entries]


def test_it_is_what_an_import_afterwards_makes(model: Path, study: Path, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "study", tmp_path / "other")
    other = tmp_path / "other/project"
    how = ["--min-area-um2", "5", "--map", "Lesion=Lesion: Predicted"]
    assert qpkit("predict", model, study, "-o", tmp_path / "out", *HOW, "--import", *how) == 0
    assert qpkit("predict", model, other, "-o", tmp_path / "then", *HOW) == 0
    assert qpkit("import-predictions", tmp_path / "then", other, *how) == 0
    found = objects(study)
    assert found == objects(other) and sum(map(len, found)) > 3
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    assert qpkit("import-predictions", tmp_path / "out", study, *how) == 0
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


def test_what_cannot_be_imported_is_said_before_anything_is_predicted(
    model: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = objects(study)
    slide = next((tmp_path / "study/slides").iterdir())
    for paths, options, said in (
        ([study], ["--import", "--map", "Lesoin=x"], "did you mean 'Lesion'"),
        ([study], ["--import", "--parent", "Stroma"], "has no such annotation"),
        ([study], ["--import", "--shard", "1/2"], "do not go with --import"),
        ([study], ["--import", "--dry-run"], "do not go with --import"),
        ([study, slide], ["--import"], "exactly one QuPath project"),
        ([slide], ["--import"], "exactly one QuPath project"),
        ([study], ["--min-area-um2", "5"], "go with --import"),
    ):
        assert qpkit("predict", model, *paths, "-o", tmp_path / "out", *HOW, *options) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert not list(tmp_path.glob("out*")) and objects(study) == before


def test_a_slide_that_cannot_be_put_there_loses_no_prediction(
    model: Path, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = as_they_come.import_predictions

    def fails_once(predictions: object, *given: object) -> object:
        if predictions.slides[0].name == "b.tif":  # type: ignore[attr-defined]
            raise FormatError("b.tif: changed in QuPath meanwhile")
        return real(predictions, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(as_they_come, "import_predictions", fails_once)
    assert qpkit("predict", model, study, "-o", tmp_path / "out", *HOW, "--import") == 1
    said = capsys.readouterr().err
    assert "not imported: b.tif: changed in QuPath meanwhile" in said
    assert f"not in the project: b.tif; try again with: qpkit import-predictions {tmp_path / 'out'} {study}" in said
    assert len(read_predictions(tmp_path / "out").slides) == 3
    assert [len(found) > 1 for found in objects(study)] == [True, False, True]
    monkeypatch.undo()
    assert qpkit("import-predictions", tmp_path / "out", study) == 0
    assert all(objects(study))
