"""A run's best model as an ONNX file for OpenCV, which QuPath runs networks with: of one size, and compared there.

| QuPath | OpenCV |
|---|---|
| 0.4, 0.5 | 4.6.0 |
| 0.6 | 4.10.0 |
| 0.7 | 4.11.0 |

Source: gradle/libs.versions.toml of QuPath v0.4.0 to v0.7.0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit_train.inference.running.onnx_export import TOLERANCE, libraries, traced, whole_network
from qpkit_train.inference.running.onnx_model import INPUT, OUTPUT
from qpkit_train.models.card import ModelCard, require_no_clicks
from qpkit_train.run_folder.run import Run, load_run

KEY: Final = "qpkit pixel classifier"
"""Of the file's metadata: JSON with the run's id and its recipe's name."""

OPERATIONS_OF_4_6: Final = frozenset(
    [
        "Add", "AveragePool", "BatchNormalization", "Cast", "Concat", "Constant", "ConstantOfShape", "Conv",
        "ConvTranspose", "Div", "Gather", "GlobalAveragePool", "MatMul", "MaxPool", "Mul", "Pad", "Relu",
        "Reshape", "Resize", "Shape", "Sigmoid", "Slice", "Softmax", "Sub", "Transpose", "Unsqueeze",
    ]
)  # fmt: skip
"""Seen to give the same in OpenCV 4.6.0 as in ONNX Runtime, in networks of segmentation-models-pytorch at opset 17.

ReduceSum, LayerNormalization and Clip were seen to fail there, and to work from 4.10.0 on.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCvModel:
    """A network that OpenCV runs.

    Args:
        content: The ONNX file: (1, 3, h, w) float32 RGB in 0..255 in, (1, classes, h, w) float32 probabilities out.
        card: What it is.
        difference: Largest difference of a probability between OpenCV and ONNX Runtime, on pixels made up.
        opencv: Version that it was compared in.
        qupath: Earliest version of QuPath whose OpenCV is known to have every operation: "0.4" or "0.6".
    """

    content: bytes
    card: ModelCard
    difference: float
    opencv: str
    qupath: str

    @property
    def megabytes(self) -> float:
        """Of the file."""
        return round(len(self.content) / 1e6, 1)


def card_for_opencv(run_root: Path) -> ModelCard:
    """What a run is; cheap, for before the network is made.

    Raises:
        FormatError: The run is damaged, not there, or a tile classifier.
        ConfigError: Its model is none that QuPath can give pixels to.
    """
    return _card(load_run(run_root))


def _card(run: Run) -> ModelCard:
    card = run.card()
    require_no_clicks(card)
    if len(card.factors) > 1:
        raise ConfigError(f"{card.where}: the model sees surroundings, which QuPath does not give; use qpkit predict")
    if card.mpp is None and card.downsample is None:
        raise ConfigError(f"{card.where}: its tiles had several downsamples and no um/px; QuPath needs one of the two")
    return card


def export_for_opencv(run_root: Path, input_px: int) -> OpenCvModel:
    """Make the ONNX file of a run's best model, compared in OpenCV.

    Args:
        run_root: What fit() left.
        input_px: Height and width of what it takes, a multiple of the card's stride.

    Raises:
        FormatError: The run is damaged, not there, or a tile classifier.
        MissingExtraError: OpenCV, onnx or onnxruntime is not installed.
        ConfigError: QuPath cannot give the model its pixels, or OpenCV cannot run it, or not to 1e-4.
    """
    cv2 = _opencv()
    onnx, runtime = libraries()
    run = load_run(run_root)
    card = _card(run)
    model = onnx.load_from_string(traced(whole_network(run), run_root, (1, 3, input_px, input_px), fixed=True))
    _take_out_copies(model.graph)
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps({"run": card.run, "name": card.name})
    content = model.SerializeToString()
    difference = max(
        _difference(cv2, runtime, content, pixels, run_root) for pixels in _made_up(input_px, np.random.default_rng(0))
    )
    if not difference <= TOLERANCE:
        raise ConfigError(
            f"{run_root}: in OpenCV {cv2.__version__}, as in QuPath, probabilities are off by {difference:.1e}; "
            "use qpkit predict"
        )
    known = {node.op_type for node in model.graph.node} <= OPERATIONS_OF_4_6
    return OpenCvModel(
        content=content, card=card, difference=difference, opencv=cv2.__version__, qupath="0.4" if known else "0.6"
    )


def _opencv() -> Any:
    with extra("qupath", why="it checks the network as QuPath runs it"):
        import cv2
    return cv2


def _take_out_copies(graph: Any) -> None:
    """Use weights where torch's exporter uses a copy of weights that are equal: OpenCV cannot copy weights.

    Seen with torch 2.13: OpenCV 4.6 fails at each such Identity, 4.10 and 4.11 at those of vision transformers.
    """
    weights = {weight.name for weight in graph.initializer}
    copies = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity" and node.input[0] in weights
    }
    kept = [node for node in graph.node if node.output[0] not in copies]
    for node in kept:
        for i, name in enumerate(node.input):
            node.input[i] = copies.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)


def _made_up(side: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """(side, side, 3) float32 RGB in 0..255: noise, and a picture of large smooth areas."""
    yield rng.integers(0, 256, (side, side, 3)).astype(np.float32)
    rows, cols = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(7 * rows + 3 * cols), np.cos(5 * cols), np.sin(9 * rows * cols)], axis=-1)
    yield np.rint(127.5 + 127.5 * waves).astype(np.float32)


def _difference(cv2: Any, runtime: Any, content: bytes, pixels: NDArray[np.float32], run_root: Path) -> float:
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    expected = session.run([OUTPUT], {INPUT: np.moveaxis(pixels, -1, 0)[np.newaxis]})[0]
    try:
        with _silent(cv2):
            found = run_in_opencv(cv2, content, pixels)
    except cv2.error as err:
        operation = re.search(r"Node \[(\w+)", str(err))
        reason = f"operation {operation[1]}" if operation else "an operation of its"
        raise ConfigError(
            f"{run_root}: OpenCV {cv2.__version__}, as in QuPath, cannot do {reason}; use qpkit predict"
        ) from err
    return float(abs(found - expected).max()) if found.shape == expected.shape else np.inf


def run_in_opencv(cv2: Any, content: bytes, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a network as QuPath does.

    Args:
        cv2: OpenCV.
        content: The ONNX file.
        pixels: (h, w, 3) float32 RGB in 0..255.

    Returns:
        (1, classes, h, w) float32 probabilities.

    Source: qupath.opencv.dnn.OpenCVDnn.OpenCVNetFunction and DnnTools.blobFromImage, v0.4.0 to v0.7.0.
    """
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    network.setInput(cv2.dnn.blobFromImage(pixels))
    (name,) = network.getUnconnectedOutLayersNames()
    found: NDArray[np.float32] = network.forward(name)
    return found


@contextmanager
def _silent(cv2: Any) -> Iterator[None]:
    """Let OpenCV print nothing of its own; what it raises says it, too."""
    logging = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # where OpenCV 4.14 has it
    before = logging.getLogLevel()
    logging.setLogLevel(0)
    try:
        yield
    finally:
        logging.setLogLevel(before)
