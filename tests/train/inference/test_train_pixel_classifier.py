"""A run as a pixel classifier of QuPath: what QuPath does with the files, done here, gives what qpkit predict gives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from numpy.typing import NDArray
from tiny_tiles import HOOKNET, MakeTiles, paint, tiny_recipe

import command_line
import qpkit
from qpkit.errors import MissingExtraError
from qpkit.predictions.store import read_predictions
from qpkit.qupath import create_project
from qpkit.qupath.classifiers.fields import faults
from qpkit.qupath.project.images.uris import file_path
from qpkit.slides import SlideSource
from qpkit_train.inference.predict import predict
from qpkit_train.inference.settings import PredictSettings
from qpkit_train.loop import fit

pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
pytest.importorskip("cv2", reason="OpenCV is not installed (extra: qupath)")

import cv2

from qpkit_train.inference.running import opencv_export
from qpkit_train.inference.running.onnx_export import TOLERANCE

Rgb = NDArray[np.uint8]


class QuPath:
    """What QuPath 0.4 to 0.7 does with a pixel classifier on a slide whose um/px are the classifier's.

    Source: qupath.lib.classifiers.pixel.PixelClassificationImageServer (size of tiles), ServerTools.getPaddedRequest,
    qupath.opencv.ops.ImageOps (ChannelImageDataOp, DnnOp), OpenCVTools.applyTiled and ContourTracing (the likeliest
    class).
    """

    def __init__(self, classifier: Path) -> None:
        self.record = json.loads(classifier.read_text("utf-8"))
        assert not list(faults(self.record))
        (self.op,) = self.record["op"]["op"]["ops"]
        model = file_path(self.op["model"]["pathModel"])
        assert model is not None
        self.network = cv2.dnn.readNetFromONNX(str(model))
        self.side, self.pad = self.op["inputWidth"], self.op["padding"]["x1"]
        self.step = self.record["metadata"]["inputWidth"] - 2 * self.record["metadata"]["inputPadding"]

    def labels(self, slide: Rgb) -> NDArray[np.intp]:
        """(h, w) channel of each pixel of a (h, w, 3) slide."""
        height, width = slide.shape[:2]
        found = np.zeros((height, width), np.intp)
        for top in range(0, height, self.step):
            for left in range(0, width, self.step):
                bottom, right = min(top + self.step, height), min(left + self.step, width)
                probabilities = self._padded(self._request(slide, top, left, bottom, right))
                core = probabilities[:, self.pad : -self.pad or None, self.pad : -self.pad or None]
                found[top:bottom, left:right] = core.argmax(axis=0)
        return found

    def _request(self, slide: Rgb, top: int, left: int, bottom: int, right: int) -> NDArray[np.float32]:
        """A tile and its padding; pixels beyond the slide repeat the last ones."""
        rows = np.arange(top - self.pad, bottom + self.pad).clip(0, slide.shape[0] - 1)
        cols = np.arange(left - self.pad, right + self.pad).clip(0, slide.shape[1] - 1)
        return slide[np.ix_(rows, cols)].astype(np.float32)

    def _padded(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities; what is smaller than the network's input is mirrored around its middle, as by applyTiled."""
        height, width = pixels.shape[:2]
        top, left = (self.side - height) // 2, (self.side - width) // 2
        bottom, right = self.side - height - top, self.side - width - left
        whole = cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_REFLECT)
        self.network.setInput(cv2.dnn.blobFromImage(whole * self.op["model"]["scale"]))
        (name,) = self.network.getUnconnectedOutLayersNames()
        found: NDArray[np.float32] = self.network.forward(name)[0]
        return found[:, top : top + height, left : left + width]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_tiles import square_mask, write_tiles

    folder, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(1)
    masks = [(split, square_mask(rng, value)) for split in ("train", "val") for value in (1, 3, 1, 3)]
    fit(write_tiles(folder / "tiles", masks), folder / "run", tiny_recipe())
    return folder / "run"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    create_project(tmp_path / "project")
    return tmp_path / "project" / "project.qpproj"


@pytest.fixture(scope="module")
def slide() -> Rgb:
    mask = np.zeros((640, 700), np.uint8)
    mask[100:300, 100:300], mask[400:500, 300:600] = 1, 3
    picture = paint(mask, np.random.default_rng(0))
    inside = np.zeros(mask.shape, bool)
    inside[48:-48, 48:-48] = True
    picture[~inside] = 255  # glass: beyond the slide's edge QuPath repeats it, and qpkit sees white
    return picture


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def both(run: Path, classifier: Path, path: Path, pixels: Rgb, out: Path) -> tuple[NDArray[Any], ...]:
    """(h, w) values that QuPath and qpkit predict give, and where two classes are as likely to 1/255.

    The slide is taken for one of the model's um/px, so that neither resamples it.
    """
    qupath = QuPath(classifier)
    how = PredictSettings(tile_px=qupath.step, halo_px=qupath.pad, only_tissue=False, probabilities=True)
    predict(run, [SlideSource(name="s", path=path, mpp=0.5)], out / "predictions", how)
    (row,) = read_predictions(out / "predictions").slides
    with rasterio.open(out / "predictions" / row.labels) as raster:
        expected = raster.read(1)
    with rasterio.open(out / "predictions" / str(row.probabilities)) as raster:
        top = np.sort(raster.read().astype(int), axis=0)[-2:]
    return np.array([0, 1, 3])[qupath.labels(pixels)], expected, top[1] - top[0] <= 1


@pytest.mark.usefixtures("on_cpu")
def test_what_qupath_makes_of_it_is_what_qpkit_predicts(
    run: Path, project: Path, slide: Rgb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(project.parent)
    arguments = ("export-model", run, "--for", "qupath", project, "--name", "unet", "--input-px", 256, "--padding", 32)
    assert command_line.run(*arguments) == 0
    said = capsys.readouterr().err
    for part in ("Load pixel classifier > unet", "Project scripts > qpkit-pixel-classifiers", "Ignore*, Lesion, Other",
                 "0.5 um/px", "in QuPath 0.4 or later", "192 x 192 px at a time", "thresholds"):  # fmt: skip
        assert part in said.replace("\n", " "), part
    after = files_of(project.parent)
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 3
    classifier = project.parent / "classifiers" / "pixel_classifiers" / "unet.json"
    tifffile.imwrite(tmp_path / "slide.tif", slide, tile=(256, 256))
    found, expected, as_likely = both(run, classifier, tmp_path / "slide.tif", slide, tmp_path)
    assert set(np.unique(expected)) == {0, 1, 3}
    differ = found != expected
    inside = differ[192:576, 192:576]  # of tiles that have all their padding on the slide
    assert as_likely[192:576, 192:576][inside].all()
    assert inside.mean() < 1e-3 and differ[:576, :576].mean() < 1e-3
    assert differ.mean() < 0.02  # tiles that the slide's edge cuts are mirrored around their padding
    assert command_line.run(*arguments) == 0
    assert "was there already" in capsys.readouterr().err.replace("\n", " ") and files_of(project.parent) == after


@pytest.mark.usefixtures("on_cpu")
def test_real_tissue_has_the_same_labels(run: Path, project: Path, shared: Path, tmp_path: Path) -> None:
    path = shared / "data/slides/openslide-testdata/CMU-1-Small-Region.svs"
    pixels = np.ascontiguousarray(tifffile.imread(path)[:1024, :1280])
    report = qpkit.export_pixel_classifier(run, project, qpkit.ClassifierSettings(input_px=320, padding_px=32))
    tifffile.imwrite(tmp_path / "tissue.tif", pixels, tile=(256, 256))
    found, expected, as_likely = both(run, report.json, tmp_path / "tissue.tif", pixels, tmp_path)
    differ = (found != expected)[256:768, 256:1024]
    assert len(np.unique(expected)) > 1 and as_likely[256:768, 256:1024][differ].all() and differ.mean() < 1e-3


def test_from_python_with_all_defaults(run: Path, project: Path) -> None:
    report = qpkit.export_pixel_classifier(run, project.parent)
    assert report.name == report.run == report.json.stem and report.classes == ("Ignore*", "Lesion", "Other")
    assert report.difference <= TOLERANCE and report.opencv == cv2.__version__ and report.qupath == "0.4"
    record = json.loads(report.json.read_text("utf-8"))
    assert record["metadata"]["inputWidth"] == 512 and record["metadata"]["inputPadding"] == 64
    assert record["metadata"]["inputResolution"]["pixelWidth"] == {"value": 0.5, "unit": "\N{MICRO SIGN}m"}


def test_a_model_of_a_downsample_says_so_in_px(run: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = opencv_export.load_run

    def other(path: Path, **changes: Any) -> Any:
        from dataclasses import replace

        return replace(opened(path), mpp=None, downsample=4.0)

    monkeypatch.setattr(opencv_export, "load_run", other)
    report = qpkit.export_pixel_classifier(run, project, qpkit.ClassifierSettings(input_px=64))
    record = json.loads(report.json.read_text("utf-8"))
    assert record["metadata"]["inputResolution"]["pixelWidth"] == {"value": 4.0, "unit": "px"}
    assert report.pixel_size == "downsample 4"


def refused(arguments: tuple[object, ...], project: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said where a command ends with 1, in one line, and leaves the project as it is."""
    before = sorted(project.parent.rglob("*"))
    capsys.readouterr()
    assert command_line.run("export-model", *arguments) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and sorted(project.parent.rglob("*")) == before
    text = " ".join(said.split())
    for folder in (project.parents[1], *(Path(str(item)).parent for item in arguments if isinstance(item, Path))):
        text = text.replace(f"{folder}/", "")
    assert len(text) < 200, text
    return text


def test_what_does_not_go_together_is_refused(run: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "goes with a project" in refused((run, "--for", "qupath"), project, capsys)
    assert "without -o" in refused((run, "--for", "qupath", project, "-o", "x.onnx"), project, capsys)
    assert "with --for qupath" in refused((run, project), project, capsys)
    assert "with --for qupath" in refused((run, "-o", "x.onnx", "--name", "a"), project, capsys)
    assert "say -o model.onnx" in refused((run,), project, capsys)
    assert "multiple of 32" in refused((run, "--for", "qupath", project, "--input-px", "100"), project, capsys)
    assert "no such project" in refused((run, "--for", "qupath", project.parent / "no.qpproj"), project, capsys)
    assert "run.json" in refused((project.parent, "--for", "qupath", project), project, capsys)


def test_a_network_that_opencv_cannot_run_is_refused(
    run: Path, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (run, "--for", "qupath", project, "--input-px", "64")
    with monkeypatch.context() as patch:
        patch.setattr(opencv_export, "TOLERANCE", -1.0)
        assert "probabilities are off by" in refused(asked, project, capsys)

    def failing(*_: object) -> None:
        raise cv2.error("OpenCV(4.11.0) onnx_importer.cpp:1058: error: ...\n> Node [Concat@ai.onnx]:(x) parse error")

    with monkeypatch.context() as patch:
        patch.setattr(opencv_export, "run_in_opencv", failing)
        assert "cannot do operation Concat" in refused(asked, project, capsys)
    with monkeypatch.context() as patch:
        patch.setattr(opencv_export, "run_in_opencv", lambda *_: np.zeros((1, 2, 64, 64), np.float32))
        assert "off by inf" in refused(asked, project, capsys)


def test_without_opencv_it_says_what_to_install(
    run: Path, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    assert "pip install 'qpkit[qupath]'" in refused((run, "--for", "qupath", project), project, capsys)
    with pytest.raises(MissingExtraError):
        qpkit.export_pixel_classifier(run, project)


def test_models_that_qupath_cannot_feed_are_refused(
    run: Path, make_tiles: MakeTiles, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(make_tiles(context=[4]), tmp_path / "hooknet", tiny_recipe(*HOOKNET))
    assert "sees surroundings" in refused((tmp_path / "hooknet", "--for", "qupath", project), project, capsys)

    sampler = json.loads((run / "run.json").read_text("utf-8"))["recipe"]["sampler"]

    def changed(name: str, **changes: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(run, folder)
        record = json.loads((folder / "run.json").read_text("utf-8"))
        record["recipe"].update(changes.pop("recipe", {}))
        record["recipe"]["model"].update(changes.pop("model", {}))
        (folder / "run.json").write_text(json.dumps(record | changes), "utf-8")
        return folder

    nowhere = changed("nowhere", mpp=None, downsample=None)
    assert "no um/px" in refused((nowhere, "--for", "qupath", project), project, capsys)
    clicks = changed("clicks", model={"click_px": 3}, recipe={"sampler": sampler | {"ratio": [1, 0]}})
    lesions = changed(
        "lesions", model={"architecture": "tile-classifier", "options": {}}, recipe={"positive": ["Lesion"]}
    )
    assert "is a tile classifier" in refused((lesions, "--for", "qupath", project), project, capsys)
    assert "answers clicks" in refused((clicks, "--for", "qupath", project), project, capsys)


def test_copies_of_weights_are_taken_out_of_the_graph() -> None:
    """OpenCV 4.6 fails at them (seen), and torch writes one for every tensor that equals an earlier one."""

    def node(op_type: str, inputs: list[str], output: str) -> SimpleNamespace:
        return SimpleNamespace(op_type=op_type, input=inputs, output=[output])

    nodes = [
        node("Identity", ["w"], "v"),
        node("Conv", ["x", "w"], "y"),
        node("Identity", ["y"], "z"),
        node("Conv", ["z", "v"], "o"),
    ]
    graph = SimpleNamespace(initializer=[SimpleNamespace(name="w")], node=nodes)
    opencv_export._take_out_copies(graph)
    assert [(one.op_type, one.input) for one in graph.node] == [
        ("Conv", ["x", "w"]), ("Identity", ["y"]), ("Conv", ["z", "w"]),
    ]  # fmt: skip
