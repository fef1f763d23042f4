"""A run as one ONNX file: the same answers, and no torch to run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from tiny_tiles import MakeTiles, paint, tiny_recipe

import command_line
from qpkit.errors import ConfigError, FormatError
from qpkit.predictions.store import read_predictions
from qpkit.slides import SlideSource
from qpkit_train.inference.predict import predict
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.loop import fit

pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

from qpkit_train.inference.running import onnx_export as exporting
from qpkit_train.inference.running.onnx_export import TOLERANCE, export_onnx
from qpkit_train.inference.running.onnx_model import OnnxModel

WITHOUT_TORCH = """
import sys
class Barrier:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "lightning_fabric", "segmentation_models_pytorch", "timm"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Barrier())
from qpkit.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    mask = np.zeros((640, 700), np.uint8)
    mask[100:300, 100:300], mask[400:500, 300:600] = 1, 3
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    tifffile.imwrite(path, paint(mask, rng), tile=(256, 256))
    return path


@pytest.fixture
def run(make_tiles: MakeTiles, tmp_path: Path) -> Path:
    fit(make_tiles(), tmp_path / "run", tiny_recipe())
    return tmp_path / "run"


def rasters(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    (row,) = read_predictions(folder).slides
    with rasterio.open(folder / row.labels) as labels, rasterio.open(folder / str(row.probabilities)) as probabilities:
        return labels.read(1), probabilities.read()


@pytest.mark.usefixtures("on_cpu")
def test_the_file_gives_the_runs_rasters_without_torch(run: Path, slide: Path, tmp_path: Path) -> None:
    report = export_onnx(run, tmp_path / "model.onnx")
    assert report.difference <= TOLERANCE and report.megabytes > 0.1
    source = SlideSource(name=slide.name, path=slide, mpp=0.25)
    predict(run, [source], tmp_path / "torch", PredictSettings(probabilities=True, only_tissue=False))
    arguments = ["predict", tmp_path / "model.onnx", slide, "-o", tmp_path / "onnx", "--slide-mpp", "0.25",
                 "--probabilities", "--everything", "--halo", "64", "--tile-size", "512"]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (labels, probabilities), (expected, sure) = rasters(tmp_path / "onnx"), rasters(tmp_path / "torch")
    assert abs(probabilities.astype(int) - sure).max() <= 1
    differ = labels != expected
    assert differ.mean() < 1e-3
    top = np.sort(sure, axis=0)[-2:]
    assert (top[1] - top[0])[differ].max(initial=0) <= 1  # only where two classes are as likely
    ours, theirs = read_predictions(tmp_path / "onnx"), read_predictions(tmp_path / "torch")
    assert (ours.run, ours.model, ours.label_map) == (theirs.run, theirs.model, theirs.label_map)


def test_the_number_of_reading_threads_does_not_change_a_byte(run: Path, slide: Path, tmp_path: Path) -> None:
    export_onnx(run, tmp_path / "model.onnx")
    for name, readers in (("a", 1), ("b", 3)):
        how = PredictSettings(probabilities=True, tile_px=128, halo_px=32, readers=readers, blend="linear")
        source = SlideSource(name="s", path=slide, mpp=0.5)
        predict(tmp_path / "model.onnx", [source], tmp_path / name, how)
    for raster in ("s.labels.tif", "s.probabilities.tif"):
        assert (tmp_path / "a" / raster).read_bytes() == (tmp_path / "b" / raster).read_bytes()


def test_with_torch_gone_a_run_folder_says_what_to_install(run: Path, slide: Path, tmp_path: Path) -> None:
    arguments = ["predict", run, slide, "-o", tmp_path / "out", "--slide-mpp", "0.25"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 1 and "qpkit[train]" in done.stderr and "Traceback" not in done.stderr


def test_info_says_what_an_exported_model_is(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_onnx(run, tmp_path / "model.onnx")
    capsys.readouterr()
    shown = []
    for path in (run, tmp_path / "model.onnx"):
        assert command_line.run("info", path, "--json") == 0
        shown.append(json.loads(capsys.readouterr().out))
    of_run, of_model = shown
    assert (of_model["kind"], of_model["run"], of_model["um/px"]) == ("model", of_run["id"], of_run["mpp"])
    assert [row["class"] for row in of_model["rows"]] == [row["name"] for row in of_run["rows"]]
    assert command_line.run("info", tmp_path / "gone.onnx") == 1
    assert "no such model" in capsys.readouterr().err


def test_a_file_that_does_not_agree_is_not_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", 0.0)
    with pytest.raises(ConfigError, match="differ by"):
        export_onnx(run, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_files_that_are_no_models_of_qpkit_are_named(run: Path, tmp_path: Path) -> None:
    import onnx

    with pytest.raises(FormatError, match="no such model"):
        OnnxModel(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="cannot be opened"):
        OnnxModel(tmp_path / "bad.onnx")
    export_onnx(run, tmp_path / "model.onnx")
    foreign = onnx.load(tmp_path / "model.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(FormatError, match="not a model that qpkit export-model wrote"):
        OnnxModel(tmp_path / "foreign.onnx")
    with pytest.raises(FormatError, match=r"run\.json"):
        export_onnx(tmp_path, tmp_path / "other.onnx")
