"""Somebody else's ONNX model, described in a TOML file: what it says is what is written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from numpy.typing import NDArray
from PIL import Image

from command_line import run
from qpkit.errors import ConfigError, FormatError
from qpkit.predictions import read_predictions
from qpkit.slides import SlideSource
from qpkit_train.inference.predict import predict
from qpkit_train.inference.running.foreign import content_id, files_of, read_description
from qpkit_train.inference.running.opening import card_of, open_one
from qpkit_train.inference.settings import PredictSettings
from shared_data import ROOT

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra: onnx)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")

KEPT = ROOT / "tests/kept"
WEIGHTS = np.array([[3.0, -2.0, 0.5], [-1.0, 2.0, -3.0], [0.5, -0.5, 2.0]], np.float32)
BIAS = np.array([0.1, -0.2, 0.3], np.float32)
MEAN, STD = (0.7, 0.5, 0.6), (0.2, 0.25, 0.15)

TWO_CLASSES = """
[[class]]
name = "Tumor"
[[class]]
name = "Stroma"
value = 7
color = [1, 2, 3]
"""


def write_model(path: Path, *, layout: str = "nchw", shape: tuple[object, ...] = ("n", 3, "h", "w")) -> Path:
    """A convolution of 1 x 1: each pixel's logits are WEIGHTS @ pixel + BIAS."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"])]
    if layout == "nhwc":
        shape = (shape[0], *shape[2:], shape[1])
        nodes = [
            helper.make_node("Transpose", ["rows"], ["x"], perm=[0, 3, 1, 2]),
            *nodes,
            helper.make_node("Transpose", ["y"], ["logits"], perm=[0, 2, 3, 1]),
        ]
    names = ("rows", "logits") if layout == "nhwc" else ("x", "y")
    places = [helper.make_tensor_value_info(name, kinds.FLOAT, shape) for name in names]
    constants = {"w": WEIGHTS.reshape(3, 3, 1, 1), "b": BIAS}
    graph = helper.make_graph(
        nodes, "g", places[:1], places[1:], [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def describe(folder: Path, text: str, classes: str = TWO_CLASSES) -> Path:
    path = folder / "model.toml"
    path.write_text(f'onnx = "m.onnx"\n{text}\n{classes}')
    return path


def normalized(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return (pixels / 255 - MEAN) / STD


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits)
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits))


USUAL = f'downsample = 1.0\nstride = 8\nactivation = "softmax"\nbackground = 2\nmean = {[*MEAN]}\nstd = {[*STD]}'


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (2, 16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("text", "layout", "first"),
    [
        (USUAL, "nchw", "n"),
        (f'{USUAL}\nlayout = "nhwc"\ninput = "rows"\noutput = "logits"', "nhwc", "n"),
        (USUAL, "nchw", 1),
        (USUAL.replace("stride = 8", "input_px = 16"), "nchw", "n"),
        (f"{USUAL}\npixel_max = 255.0".replace(str([*MEAN]), str([255 * m for m in MEAN]))
         .replace(str([*STD]), str([255 * s for s in STD])), "nchw", "n"),
    ],
)  # fmt: skip
def test_probabilities_are_those_of_the_graph(
    text: str, layout: str, first: object, pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    write_model(tmp_path / "m.onnx", layout=layout, shape=(first, 3, "h", "w"))
    model = open_one(describe(tmp_path, text), "cpu", 1)
    expected = softmax(normalized(pixels) @ WEIGHTS.T + BIAS)[..., [2, 0, 1]]
    found = model.levels(pixels) / 65_535
    assert np.abs(np.moveaxis(found, 1, -1) - expected).max() < 1e-4
    answer = model.answer(pixels, halo=4, probabilities=True)
    assert answer.indices.shape == (2, 8, 8)
    assert (answer.indices == expected[:, 4:12, 4:12].argmax(axis=-1)).mean() > 0.99
    assert [(c.name, c.value) for c in model.card.labels.classes] == [("Tumor", 1), ("Stroma", 7)]


def test_channels_bgr_and_a_background_that_is_left_over(pixels: NDArray[np.uint8], tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx")
    text = USUAL.replace("softmax", "sigmoid").replace("background = 2\n", "") + '\nchannels = "bgr"'
    found = open_one(describe(tmp_path, text), "cpu", 1).levels(pixels) / 65_535
    classes = sigmoid(normalized(pixels[..., ::-1]) @ WEIGHTS.T + BIAS)[..., :2]
    expected = np.concatenate([1 - classes.max(axis=-1, keepdims=True), classes], axis=-1)
    assert np.abs(np.moveaxis(found, 1, -1) - expected).max() < 1e-4


def test_an_exported_model_described_by_hand_gives_its_own_rasters(tmp_path: Path) -> None:
    shutil.copy(KEPT / "model.onnx", tmp_path / "m.onnx")
    card = card_of(KEPT / "model.onnx", PredictSettings())
    classes = "".join(
        f'[[class]]\nname = "{c.name}"\nvalue = {c.value}\nchannel = {card.labels.trained_values.index(c.value)}\n'
        for c in card.labels.classes
    )
    text = (
        'mpp = 0.5\nstride = 32\nactivation = "none"\nbackground = 0\npixel_max = 255.0\nmean = [0, 0, 0]\n'
        "std = [1, 1, 1]"
    ).replace("0.5", str(card.mpp))
    described = describe(tmp_path, text, classes)
    slide = SlideSource(name="s", path=KEPT / "slide.tif", mpp=0.5)
    for name, model in (("a", KEPT / "model.onnx"), ("b", described)):
        predict(model, [slide], tmp_path / name, PredictSettings(probabilities=True, tile_px=32, halo_px=32))
    for raster in ("s.labels.tif", "s.probabilities.tif"):
        with rasterio.open(tmp_path / "a" / raster) as one, rasterio.open(tmp_path / "b" / raster) as other:
            assert np.array_equal(one.read(), other.read())
    together = PredictSettings(tile_px=32, halo_px=32, others=(KEPT / "model.onnx",), tta="flips")
    predict(described, [slide], tmp_path / "c", together)
    assert read_predictions(tmp_path / "c").run == f"model-{content_id(described)}"


PREPARATION = f"""
import numpy as np

seen = []

def of_slide(picture):
    seen.append(picture.shape)
    if picture.mean() > 250:
        raise ValueError("nothing but glass")
    return lambda tiles: (tiles / 255 - {MEAN}) / {STD}
"""


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_preparation_sees_each_slide_and_may_refuse_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "m.onnx")
    (tmp_path / "stains.py").write_text(PREPARATION)
    rng = np.random.default_rng(0)
    for name, low in (("a", 0), ("b", 60), ("glass", 255)):
        tifffile.imwrite(tmp_path / f"{name}.tif", rng.integers(low, 256, (96, 80, 3), np.uint8), tile=(32, 32))
    slides = [tmp_path / f"{name}.tif" for name in ("a", "b", "glass")]
    plain = describe(tmp_path, USUAL)
    by_hand = plain.with_name("prepared.toml")
    usual = USUAL.partition("mean =")[0]
    by_hand.write_text(f'onnx = "m.onnx"\n{usual}prepare = "stains:of_slide"\n{TWO_CLASSES}')
    options = ("--probabilities", "--everything", "--tile-size", "32", "--halo", "8")
    assert run("predict", plain, *slides[:2], "-o", tmp_path / "x", *options) == 0
    capsys.readouterr()
    assert run("predict", by_hand, *slides, "-o", tmp_path / "y", *options) == 2
    assert "skipped glass.tif" in (said := capsys.readouterr().err) and "nothing but glass" in said
    for raster in ("a.tif.probabilities.tif", "b.tif.labels.tif"):
        with rasterio.open(tmp_path / "x" / raster) as one, rasterio.open(tmp_path / "y" / raster) as other:
            assert np.abs(one.read().astype(int) - other.read()).max() <= (1 if "prob" in raster else 0)
    assert [file.name for file in files_of(by_hand)] == ["prepared.toml", "m.onnx", "stains.py"]
    before = content_id(by_hand)
    (tmp_path / "stains.py").write_text(PREPARATION + "# changed\n")
    assert content_id(by_hand) != before and read_predictions(tmp_path / "y").run == f"prepared-{before}"


def test_a_model_of_one_size_gets_tiles_of_that_size_and_it_is_said(tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx", shape=(1, 3, 64, 64))
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (150, 170, 3), np.uint8)).save(tmp_path / "s.png")
    slide = SlideSource(name="s", path=tmp_path / "s.png", mpp=0.5)
    described = describe(tmp_path, USUAL.replace("stride = 8", "input_px = 64"))
    report = predict(described, [slide], tmp_path / "out", PredictSettings(only_tissue=False))
    assert (report.tile_px, report.halo_px) == (32, 16)
    assert report.notes == ("the model takes 64 px: tiles are 32 px, with a halo of 16 px",)
    with pytest.raises(ConfigError, match=r"takes any size, .* 64 px"):
        card_of(described, PredictSettings(others=(describe_other(tmp_path),)))


def describe_other(folder: Path) -> Path:
    path = folder / "other.toml"
    path.write_text((folder / "model.toml").read_text().replace("input_px = 64", "stride = 64"))
    return path


def test_the_description_in_the_docs_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(onnx = .*?)```", (ROOT / "docs/training.md").read_text(), re.DOTALL)
    (tmp_path / "model.toml").write_text(text)
    said = read_description(tmp_path / "model.toml")
    assert (said.mpp, said.stride, said.order, said.background) == (0.5, 32, [1], 0)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (USUAL.replace("softmax", "relu"), "activation"),
        (USUAL + "\nlearned = 3", "learned"),
        (USUAL + "\nmpp = 0.5", "mpp or downsample, one of them"),
        (USUAL.replace("stride = 8", ""), "stride or input_px, one of them"),
        (USUAL.replace("stride = 8", "stride = 0"), "above 0"),
        (USUAL.replace("background = 2", "background = 1"), "have to be different"),
        (USUAL.partition("mean")[0], "state mean and std, or prepare"),
        (USUAL + '\nprepare = "a:b"', "takes the place of"),
        (USUAL.replace(str([*STD]), "[1, 0, 1]"), "std above 0"),
        ("downsample = [", "not the description of a model"),
    ],
)
def test_a_description_with_faults_is_one_line(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=fault) as caught:
        read_description(describe(tmp_path, text))
    assert "\n" not in str(caught.value).replace(str(tmp_path), "")


def test_a_graph_that_is_not_as_described_is_one_line(
    pixels: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = describe(tmp_path, USUAL)
    with pytest.raises(FormatError, match="no such model"):
        open_one(described, "cpu", 1)
    write_model(tmp_path / "m.onnx", shape=("n", 3, 64, 64))
    with pytest.raises(ConfigError, match=r"does not take 2 x 3 x 16 x 16; see stride, input_px"):
        open_one(described, "cpu", 1).levels(pixels)
    write_model(tmp_path / "m.onnx")
    with pytest.raises(FormatError, match="has no 'image'; it has x"):
        open_one(describe(tmp_path, USUAL + '\ninput = "image"'), "cpu", 1)
    with pytest.raises(ConfigError, match="not 10 or more channels"):
        open_one(describe(tmp_path, USUAL.replace("background = 2", "background = 9")), "cpu", 1).levels(pixels)
    prepared = USUAL.partition("mean")[0] + 'prepare = "nowhere_to_be:found"'
    with pytest.raises(ConfigError, match="cannot be imported"):
        open_one(describe(tmp_path, prepared), "cpu", 1)
    capsys.readouterr()
    assert run("predict", tmp_path / "m.onnx", KEPT / "slide.tif", "-o", tmp_path / "out") == 1
    assert "describe it in a TOML file" in capsys.readouterr().err
